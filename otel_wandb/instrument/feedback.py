"""Feedback as OpenTelemetry has it: `gen_ai.evaluation.result` events about a span.

https://github.com/open-telemetry/semantic-conventions-genai: the event belongs to the span that is judged, so
its log record carries the ids of that one, which may have ended long ago.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Final

from opentelemetry import _logs, trace
from opentelemetry.context import Context

RESULT_EVENT: Final = "gen_ai.evaluation.result"

Value = str | bool | int | float


def describe_feedback(
    name: str,
    *,
    value: float | None = None,
    label: str | None = None,
    explanation: str | None = None,
    evaluator: str = "human",
    more: Mapping[str, Value] | None = None,
) -> dict[str, Value]:
    """The attributes of the event."""
    told: dict[str, Value] = {
        "gen_ai.evaluation.name": name,
        "gen_ai.evaluation.evaluator.type": evaluator,
    }
    if value is not None and math.isfinite(value):
        told["gen_ai.evaluation.score.value"] = float(value)
    if label:
        told["gen_ai.evaluation.score.label"] = label
    if explanation:
        told["gen_ai.evaluation.explanation"] = explanation
    return told | dict(more or {})


def emit_feedback(
    name: str,
    *,
    about: trace.SpanContext | None = None,
    value: float | None = None,
    label: str | None = None,
    explanation: str | None = None,
    evaluator: str = "human",
    more: Mapping[str, Value] | None = None,
    scope: str = "otel_wandb",
    logger_provider: _logs.LoggerProvider | None = None,
) -> None:
    """Emit one judgement of the span `about`, or of the current one."""
    told = describe_feedback(
        name, value=value, label=label, explanation=explanation, evaluator=evaluator, more=more
    )
    context: Context | None = None
    if about is not None and about.is_valid:
        context = trace.set_span_in_context(trace.NonRecordingSpan(about), Context())
    logger = _logs.get_logger(scope, logger_provider=logger_provider)
    logger.emit(timestamp=time.time_ns(), context=context, attributes={**told}, event_name=RESULT_EVENT)
