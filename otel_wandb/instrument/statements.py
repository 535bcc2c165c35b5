"""What no instrumentation can know: what a model predicted and how sure it was, and what people think of it.

.. code-block:: python

    otel_wandb.log_prediction("cat", confidence=0.93)
    otel_wandb.record_feedback(True, name="helpful", about=request.headers["traceparent"])

Both are plain OpenTelemetry underneath: attributes and an event of the current span, a histogram that the
view `predictions` reads, and the event `gen_ai.evaluation.result`. Neither raises, whatever it is given, and
without a provider they do nothing. They may be called from any thread.
"""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Mapping
from typing import Final, SupportsFloat

from opentelemetry import _logs, metrics, propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanContext

from otel_wandb.instrument.feedback import RESULT_EVENT, describe_feedback, emit_feedback

SCOPE: Final = "otel_wandb"
CONFIDENCE: Final = "prediction.confidence"
LABEL: Final = "prediction.label"
VALUE: Final = "prediction.value"

Value = str | bool | int | float

_log = logging.getLogger("otel_wandb.sdk")
_MAX_TEXT: Final = 4000
_MAX_LABEL: Final = 64
_SHARES: Final = (*(share / 20 for share in range(1, 20)), 0.99, 1.0)
_confidences = metrics.get_meter(SCOPE).create_histogram(
    CONFIDENCE,
    unit="1",
    description="How sure a model was of what it predicted.",
    explicit_bucket_boundaries_advisory=_SHARES,
)


def log_prediction(
    prediction: object,
    confidence: SupportsFloat | None = None,
    label: str | None = None,
    attributes: Mapping[str, Value] | None = None,
) -> None:
    """Tell what was predicted, on the current span; with a confidence also in `prediction.confidence`.

    Args:
        prediction: what the model said; it is told as text.
        confidence: how sure it was, from 0 to 1. What is no number is left out.
        label: what the prediction counts as: few different ones, since they are names in charts. Without it
            a prediction that is a truth value, an integer or a short word is its own label.
        attributes: what else is known, such as the model; also few different values each.

    The event `prediction` has all of it, since a span may have several predictions; its attributes are those
    of the last. Costs some 10 µs.
    """
    try:
        _tell_prediction(prediction, confidence, label, attributes or {})
    except Exception:  # noqa: BLE001  whatever is wrong with what was given, the caller's work goes on
        _log.warning("A prediction could not be told.", exc_info=sys.exc_info())


def record_feedback(
    score: SupportsFloat | str | None = None,
    *,
    name: str = "feedback",
    label: str | None = None,
    explanation: str | None = None,
    about: SpanContext | str | None = None,
    response_id: str | None = None,
    user_id: str | None = None,
    evaluator: str = "human",
    attributes: Mapping[str, Value] | None = None,
) -> None:
    """Tell what somebody thinks of an answer: Weave shows it as feedback on that call, and charts count it.

    Args:
        score: a number or a truth value; words are the label.
        name: what is judged, such as `helpful`: few different ones.
        label: the verdict as a word.
        explanation: why, in words.
        about: the span that is judged, by its context or its `traceparent`. Without it the current one.
        response_id: the id of the model's answer that is judged, where no span is known; it goes before.
        user_id: who thinks so.
        evaluator: `human`, `llm` or `code`.
        attributes: what else is known.

    Needs a logger provider (`configure` and `otel-wandb run` set one); without one, what is about the
    current span becomes an event of it.
    """
    try:
        more: dict[str, Value] = {**(attributes or {})}
        more |= {"user.id": user_id} if user_id else {}
        more |= {"gen_ai.response.id": response_id} if response_id else {}
        if isinstance(score, str):
            label, score = label or score, None
        value = None if score is None else float(score)
        if value is None and not label and not explanation:
            return
        _tell_feedback(name, _find_span(about), value, label, explanation, evaluator, more)
    except Exception:  # noqa: BLE001  see above
        _log.warning("The feedback %r could not be told.", name, exc_info=sys.exc_info())


def _tell_prediction(
    prediction: object,
    confidence: SupportsFloat | None,
    label: str | None,
    attributes: Mapping[str, Value],
) -> None:
    word = label or _label_of(prediction)
    share = None if confidence is None else float(confidence)
    if share is not None and not math.isfinite(share):
        share = None
    labels: dict[str, Value] = {**attributes, **({LABEL: word} if word else {})}
    span = trace.get_current_span()
    if span.is_recording():
        told = {
            **labels,
            VALUE: str(prediction)[:_MAX_TEXT],
            **({} if share is None else {CONFIDENCE: share}),
        }
        span.set_attributes(told)
        span.add_event("prediction", told)
    if share is not None:
        _confidences.record(share, labels)


def _label_of(prediction: object) -> str | None:
    if not isinstance(prediction, bool | int | str):
        return None
    word = str(prediction).strip()
    return word if 0 < len(word) <= _MAX_LABEL and "\n" not in word else None


def _find_span(about: SpanContext | str | None) -> SpanContext | None:
    """The span that is meant; None for the current one. What is no `traceparent` is an error."""
    if about is None or isinstance(about, SpanContext):
        return about
    found = trace.get_current_span(propagate.extract({"traceparent": about}, Context())).get_span_context()
    if not found.is_valid:
        raise ValueError(f"{about!r} is no traceparent; it looks like 00-TRACE_ID-SPAN_ID-01")
    return found


def _tell_feedback(
    name: str,
    about: SpanContext | None,
    value: float | None,
    label: str | None,
    explanation: str | None,
    evaluator: str,
    more: Mapping[str, Value],
) -> None:
    span = trace.get_current_span()
    is_here = about is None or about.span_id == span.get_span_context().span_id
    if (
        is_here
        and span.is_recording()
        and type(_logs.get_logger_provider()).__name__ == "ProxyLoggerProvider"
    ):
        told = describe_feedback(
            name, value=value, label=label, explanation=explanation, evaluator=evaluator, more=more
        )
        span.add_event(RESULT_EVENT, told)
        return
    emit_feedback(
        name, about=about, value=value, label=label, explanation=explanation, evaluator=evaluator, more=more
    )
