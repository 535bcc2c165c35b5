"""Keys of attributes without secrets: where an instrumentation makes them of what users write.

It is done before dialects read them, since those take keys apart at their dots, and half an address is found
by no pattern. Keys recur, so a span costs a look-up for each.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, TypeVar

import msgspec

from otel_wandb.conventions.decoding import encode_text
from otel_wandb.records import Event, LogBatch, LogRecord, Span, SpanBatch
from otel_wandb.redaction import Redactor

_WITHHELD: Final = "withheld"
_MAX_KNOWN: Final = 50_000
_MAX_KNOWN_CHARS: Final = 500
_CONVENTIONAL: Final = re.compile(r"[a-z_]+(?:\.[a-z0-9_]+)*")
"""Such keys stay where the redaction fails: without them not even tokens could be counted."""
_Batch = TypeVar("_Batch", SpanBatch, LogBatch)
_Record = TypeVar("_Record", Span, Event, LogRecord)


class KeyRedactor:
    """Replaces secrets in keys. Not thread-safe."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._known: set[str] = set()
        """Keys without a secret."""

    def clean(self, batch: _Batch) -> _Batch:
        """The batch with each such key as `redactor` has it; the same object where there is none."""
        if isinstance(batch, SpanBatch):
            spans = [self._clean_span(span) for span in batch.spans]
            return batch if _are_same(spans, batch.spans) else msgspec.structs.replace(batch, spans=spans)
        records = [self._clean_record(record) for record in batch.records]
        return batch if _are_same(records, batch.records) else msgspec.structs.replace(batch, records=records)

    def _clean_span(self, span: Span) -> Span:
        if span.events:
            events = [self._clean_record(event) for event in span.events]
            if not _are_same(events, span.events):
                span = msgspec.structs.replace(span, events=events)
        return self._clean_record(span)

    def _clean_record(self, record: _Record) -> _Record:
        attributes = record.attributes
        if self._known.issuperset(attributes):
            return record
        cleaned = {self._clean_key(key): value for key, value in attributes.items()}
        if cleaned.keys() == attributes.keys():
            return record
        return msgspec.structs.replace(record, attributes=cleaned)

    def _clean_key(self, key: str) -> str:
        if key in self._known:
            return key
        redacted = self._redactor.redact(encode_text([key]).encode())
        if redacted.withheld:
            return key if _CONVENTIONAL.fullmatch(key) else _WITHHELD
        cleaned = msgspec.json.decode(redacted.body, type=list[str])[0]
        if cleaned == key and len(key) <= _MAX_KNOWN_CHARS:
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            self._known.add(key)
        return cleaned


def _are_same(some: Sequence[object], others: Sequence[object]) -> bool:
    return all(one is other for one, other in zip(some, others, strict=True))
