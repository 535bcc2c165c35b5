"""Reads recorded OTLP/JSON without any code of the package under test: spans, and all that they say."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Json = dict[str, Any]
Said = tuple[str, Any]
"""A path and the value there that is no container."""

_MAX_OPENED = 5


@dataclass(frozen=True)
class RecordedSpan:
    """One span, its events, and the log records with its id, as leaves."""

    id: str
    trace: str
    parent: str
    name: str
    start_ns: int
    end_ns: int
    failed: bool
    says: list[Said] = field(default_factory=list, repr=False)

    def texts(self, path: str = "") -> list[str]:
        """All strings whose path matches."""
        return [v for p, v in self.says if isinstance(v, str) and re.search(path, p, re.IGNORECASE)]

    def numbers(self, path: str) -> set[float]:
        """All numbers, also in strings, whose path matches."""
        found = set()
        for where, value in self.says:
            if not isinstance(value, bool) and re.search(path, where, re.IGNORECASE):
                text = str(value)
                if re.fullmatch(r"-?\d+(\.\d+)?", text):
                    found.add(float(text))
        return found

    def holds(self, text: str) -> bool:
        """Whether the text stands somewhere, but for white space and escapes."""
        wanted = {
            _squeeze(text),
            _squeeze(json.dumps(text)[1:-1]),
            _squeeze(json.dumps(text, ensure_ascii=False)[1:-1]),
        }
        blob = "\0".join(_squeeze(t) for t in self.texts())
        return any(w in blob for w in wanted)


def _squeeze(text: str) -> str:
    return " ".join(text.split()).casefold()


def read_lines(path: Path) -> list[Json]:
    """The requests of a file, one a line; none where there is no file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def read_spans(traces: Iterable[Json], logs: Iterable[Json] = ()) -> dict[str, RecordedSpan]:
    """All spans by id, in the order of the requests."""
    spans: dict[str, RecordedSpan] = {}
    for resource_spans in _each(traces, "resourceSpans"):
        about = list(leaves("resource", attributes(resource_spans.get("resource", {}).get("attributes"))))
        for scope_spans in resource_spans.get("scopeSpans", []):
            scope = scope_spans.get("scope", {}).get("name", "")
            for span in scope_spans.get("spans", []):
                spans[span["spanId"]] = _read_span(span, [("scope", scope), *about])
    for resource_logs in _each(logs, "resourceLogs"):
        for record in (r for scope in resource_logs["scopeLogs"] for r in scope.get("logRecords", [])):
            if found := spans.get(record.get("spanId", "")):
                found.says.extend(leaves("log", attributes(record.get("attributes"))))
                found.says.extend(leaves("log.body", any_value(record.get("body"))))
    return spans


def _each(requests: Iterable[Json], name: str) -> Iterator[Json]:
    for request in requests:
        yield from request.get(name, [])


def _read_span(span: Json, says: list[Said]) -> RecordedSpan:
    says = [*says, ("name", span["name"]), *leaves("", attributes(span.get("attributes")))]
    for event in span.get("events", []):
        says += leaves(f"events.{event['name']}", attributes(event.get("attributes")))
    status = span.get("status") or {}
    says.append(("status", status.get("message") or ""))
    return RecordedSpan(
        id=span["spanId"],
        trace=span["traceId"],
        parent=(span.get("parentSpanId") or "").strip("0") and span["parentSpanId"],
        name=span["name"],
        start_ns=int(span["startTimeUnixNano"]),
        end_ns=int(span["endTimeUnixNano"]),
        failed=status.get("code") in (2, "STATUS_CODE_ERROR"),
        says=says,
    )


def any_value(value: Json | None) -> Any:
    """An AnyValue as a Python value."""
    if not value:
        return None
    if "arrayValue" in value:
        return [any_value(item) for item in value["arrayValue"].get("values", [])]
    if "kvlistValue" in value:
        return attributes(value["kvlistValue"].get("values"))
    for kind, inner in value.items():
        return int(inner) if kind == "intValue" else inner
    return None


def attributes(pairs: list[Json] | None) -> Json:
    """A list of keys and AnyValues as a dict."""
    return {pair["key"]: any_value(pair.get("value")) for pair in pairs or []}


def opened(text: object) -> Any:
    """What a string of JSON or of a Python literal holds, else None."""
    if isinstance(text, str) and text.strip()[:1] in ("{", "[", '"', "'", "("):
        for parse in (json.loads, ast.literal_eval):
            try:
                return parse(text)
            except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
                continue
    return None


def leaves(path: str, value: Any, depth: int = 0) -> Iterator[Said]:
    """Every leaf with its path, and the leaves of the strings that hold JSON or Python literals."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(f"{path}.{key}", inner, depth)
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from leaves(f"{path}[{number}]", inner, depth)
    else:
        yield path, value
        inside = opened(value) if depth < _MAX_OPENED else None
        if inside is not None and inside != value:
            yield from leaves(path, inside, depth + 1)
