"""Span events and log records: content that a span does not carry itself, and what went wrong in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from otel_wandb.conventions.decoding import code_of, parse
from otel_wandb.conventions.facts import GROUPS, Facts, Fault, Json
from otel_wandb.conventions.reader import Reader
from otel_wandb.conventions.table import Moment, ReadMoment
from otel_wandb.conventions.times import iso_time
from otel_wandb.records import STATUS_ERROR, LogRecord, Scope, Span

_EXCEPTIONS: Final = frozenset(("exception", "gen_ai.client.operation.exception"))
_MAX_KEPT: Final = 1000  # events, and log records, of one span; that there were more is a warning


def read_moments(reader: Reader, facts: Facts, span: Span, scope: Scope, logs: Sequence[LogRecord]) -> None:
    """Adds to the facts what the span's events and log records say and the span itself does not."""
    exceptions: list[Moment] = []
    for moment in _moments(span, logs):
        if moment.name in reader.details:
            plan = reader.plan(moment.attributes, scope.name)
            _fill(facts, reader.read(moment.attributes, plan), span)
        elif moment.name in reader.moments:
            _read(reader.moments[moment.name], moment, facts)
        elif moment.name in _EXCEPTIONS:
            exceptions.append(moment)
        else:
            keep_moment(facts, moment)
    if exceptions and span.status_code == STATUS_ERROR:
        facts.fault = fault_of(exceptions.pop().attributes)  # the last one is what the span failed of
    for moment in exceptions:
        keep_moment(facts, moment)
    if facts.messages is None:
        facts.messages = facts.said_messages
    if facts.choices is None:
        facts.choices = facts.said_choices


def keep_moment(facts: Facts, moment: Moment) -> None:
    """Keeps an event or a log record that nobody understood, or what of it was not."""
    kept = facts.events if moment.record is None else facts.logs
    if kept is not None and len(kept) >= _MAX_KEPT:
        facts.warn("too_many_events" if moment.record is None else "too_many_logs")
        return
    entry: Json = {"name": moment.name} if moment.name else {}
    entry["time"] = iso_time(moment.time_ns)
    if moment.record is not None:
        if severity := moment.record.severity_text or moment.record.severity_number:
            entry["severity"] = severity
        if moment.record.body is not None:
            entry["body"] = parse(moment.record.body)
    if moment.attributes:
        entry["attributes"] = moment.attributes
    if kept is not None:
        kept.append(entry)
    elif moment.record is None:
        facts.events = [entry]
    else:
        facts.logs = [entry]


def _moments(span: Span, logs: Sequence[LogRecord]) -> Iterator[Moment]:
    for event in span.events:
        yield Moment(event.name, event.time_ns, event.attributes)
    for log in logs:
        name = log.event_name or log.attributes.get("event.name")
        yield Moment(
            name if isinstance(name, str) else "", log.time_ns or log.observed_ns, log.attributes, log
        )


def _read(read: ReadMoment, moment: Moment, facts: Facts) -> None:
    try:
        read(moment, facts)
    except Exception as error:  # noqa: BLE001  what cannot be read is kept, and costs no more than that
        facts.warn(code_of(error), moment.name)
        keep_moment(facts, moment)


def _fill(facts: Facts, other: Facts, span: Span) -> None:
    """Takes over what the span itself did not say."""
    for name in Facts.__struct_fields__:
        theirs = getattr(other, name)
        if theirs is None or name in ("rest", "warnings"):
            continue
        ours = getattr(facts, name)
        if ours is None:
            setattr(facts, name, theirs)
        elif name in GROUPS:
            setattr(facts, name, {**theirs, **ours})
    for key, value in (other.rest or {}).items():
        if key not in span.attributes:
            facts.keep(key, value)
    for warning in other.warnings or ():
        facts.warn(warning)


def fault_of(attributes: object) -> Fault:
    """The exception that these attributes of an event tell of."""
    known = attributes if isinstance(attributes, Mapping) else {}
    told = (known.get(f"exception.{name}") for name in ("type", "message", "stacktrace"))
    return Fault(*("" if value is None else str(value) for value in told))
