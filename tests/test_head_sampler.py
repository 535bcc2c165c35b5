"""The sampler at the head keeps its ratio, says what it did, and charts count right with it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState, set_span_in_context

from otel_wandb.ingest.head_sampler import ConsistentSampler, make_sampler, round_threshold
from otel_wandb.records import Span
from otel_wandb.traces.weights import read_probability, weigh

ROOT = Context()


def parent(*, sampled: bool) -> Context:
    flags = TraceFlags(TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT)
    state = TraceState([("ot", "th:8"), ("other", "1")])
    return set_span_in_context(NonRecordingSpan(SpanContext(7, 8, True, flags, state)))


def stored(trace_state: str, number: int = 1) -> Span:
    return Span(f"{number:032x}", "00000000000000aa", "", "s", 1, 1, 2, trace_state=trace_state)


@pytest.mark.parametrize(
    ("ratio", "told"), [(1, "th:0"), (0.5, "th:8"), (0.25, "th:c"), (0.1, "th:e666"), (1e-6, "th:ffffef39")]
)
def test_a_root_says_how_much_it_stands_for(ratio: float, told: str) -> None:
    sampler = ConsistentSampler(ratio)
    kept = sampler.should_sample(ROOT, (1 << 128) - 1, "s", trace_state=TraceState([("a", "b")]))
    assert kept.decision is Decision.RECORD_AND_SAMPLE
    assert dict(kept.trace_state or {}) == {"ot": told, "a": "b"}
    assert read_probability(stored(f"ot={told}")) == pytest.approx(ratio, rel=1e-4)
    if ratio < 1:
        dropped = sampler.should_sample(ROOT, 5, "s")
        assert dropped.decision is Decision.DROP


def test_what_others_say_in_the_trace_state_stays() -> None:
    state = TraceState([("ot", "rv:ffffffffffffff;th:4;x:1"), ("a", "b")])
    kept = ConsistentSampler(0.5).should_sample(ROOT, (1 << 128) - 1, "s", trace_state=state)
    assert dict(kept.trace_state or {}) == {"ot": "th:8;rv:ffffffffffffff;x:1", "a": "b"}


@pytest.mark.parametrize("sampled", [True, False])
def test_the_caller_has_decided_already(sampled: bool) -> None:
    result = ConsistentSampler(1e-6 if sampled else 1).should_sample(parent(sampled=sampled), 7, "s")
    assert (result.decision is Decision.RECORD_AND_SAMPLE) is sampled
    assert dict(result.trace_state or {}) == {"ot": "th:8", "other": "1"}


@given(st.floats(1e-12, 1))
def test_thresholds_are_met_and_never_leave_nothing(ratio: float) -> None:
    threshold = round_threshold(ratio)
    assert 0 <= threshold < 1 << 56
    assert 1 - threshold / 2**56 == pytest.approx(ratio, rel=1e-3)


@pytest.mark.parametrize("argument", ["half", "0", "-1", "2", "nan"])
def test_what_is_no_ratio_keeps_every_trace_and_is_told(
    argument: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert make_sampler(argument).get_description() == "ConsistentSampler{1.0}"
    assert f"OTEL_TRACES_SAMPLER_ARG is '{argument}'" in caplog.text


def test_weights_of_what_is_kept_add_up_to_all() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler=ConsistentSampler(0.2), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("tests")
    for _ in range(5000):
        with tracer.start_as_current_span("request", context=ROOT):
            pass
    kept = exporter.get_finished_spans()
    spans = [
        stored(span.context.trace_state.to_header(), span.context.trace_id) for span in kept if span.context
    ]
    assert len(spans) == pytest.approx(1000, rel=0.2)
    assert sum(map(weigh, spans)) == pytest.approx(5000, rel=0.2)


def test_it_is_found_by_its_name() -> None:
    code = (
        "from opentelemetry.sdk.trace import TracerProvider\n"
        "from opentelemetry.sdk._configuration import _import_sampler\n"
        "print(_import_sampler('otel_wandb').get_description())"
    )
    environ = {**os.environ, "OTEL_TRACES_SAMPLER_ARG": "0.25"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "ConsistentSampler{0.25}"
