"""Weave's own conversion of the same spans, run in an environment of its own; `conversion.py` starts it.

Takes the name of a file with an `ExportTraceServiceRequest`. For every line on stdin it converts all spans of
it once (`Span.from_proto` and `to_call`) and writes the microseconds of CPU a span; imports nothing of ours.
"""

from __future__ import annotations

import sys
import time
from importlib.metadata import version
from pathlib import Path

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from weave.trace_server.opentelemetry.python_spans import Resource, Span


def convert(request: ExportTraceServiceRequest) -> int:
    """The number of spans converted."""
    spans = 0
    for resource_spans in request.resource_spans:
        resource = Resource.from_proto(resource_spans.resource)
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                Span.from_proto(span, resource).to_call("team/rag")
                spans += 1
    return spans


def main() -> None:
    request = ExportTraceServiceRequest.FromString(Path(sys.argv[1]).read_bytes())
    convert(request)
    print(version("weave"), flush=True)
    for _ in sys.stdin:
        begin = time.thread_time()
        spans = convert(request)
        print((time.thread_time() - begin) * 1e6 / spans, flush=True)


if __name__ == "__main__":
    main()
