"""What the tables show: their columns, and how long a cell may be.

A table is kept as JSON, `{"columns": [[name, kind], ...], "rows": [[cell, ...], ...]}`. The kind says what
the delivery makes of a cell: `text`, `number`, `image` (a data URI) or `call` (the id of a span, which
becomes the address of its call where W&B has one). A cell is null where nothing is told.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final, Literal, NamedTuple, TypeAlias

import msgspec

from otel_wandb.conventions.times import iso_time
from otel_wandb.metrics.rates import to_usd
from otel_wandb.redaction import Redacted
from otel_wandb.traces.request_samples import RequestSample
from otel_wandb.traces.request_texts import RequestText

REQUESTS: Final = "requests"
SLOW_REQUESTS: Final = "slow_requests"
"""The names of the tables, which are keys of the row."""

MAX_TABLE_BYTES: Final = 8 << 20
"""A larger table loses its images, and if that is not enough the ends of its texts."""

MAX_CELL_CHARS: Final = 4_000
"""Question and answer are cut to so many characters."""

_MAX_WORDS_CHARS: Final = 500
_SHORT_CHARS: Final = 500
_CUT: Final = re.compile(r"… \[cut from (\d+) characters\]\Z")
_WITHHELD: Final = "withheld: the redaction of this request failed"

ColumnKind: TypeAlias = Literal["text", "number", "image", "call"]
Cell: TypeAlias = str | int | float | None


class Column(NamedTuple):
    """A column of a table."""

    name: str
    kind: ColumnKind


REQUEST_COLUMNS: Final = (
    Column("time", "text"),
    Column("operation", "text"),
    Column("query", "text"),
    Column("image", "image"),
    Column("image_note", "text"),
    Column("answer", "text"),
    Column("confidence", "number"),
    Column("scores", "text"),
    Column("tokens_in", "number"),
    Column("tokens_out", "number"),
    Column("cost_usd", "number"),
    Column("latency_ms", "number"),
    Column("status", "text"),
    Column("error", "text"),
    Column("weight", "number"),
    Column("trace_id", "text"),
    Column("trace", "call"),
    Column("user", "text"),
    Column("session", "text"),
)
"""`weight` is the number of requests that the row stands for: a sum over a column, each cell times its
weight, estimates the sum over all requests without bias."""

SLOW_COLUMNS: Final = (
    Column("time", "text"),
    Column("operation", "text"),
    Column("point", "text"),
    Column("chart_ms", "number"),
    Column("latency_ms", "number"),
    Column("trace_id", "text"),
    Column("trace", "call"),
)
"""`time` is the end of the interval whose row has the point; no operation stands for all of them together."""


class Table(NamedTuple):
    """A table as it is stored."""

    name: str
    body: bytes


class RequestRow(msgspec.Struct, array_like=True, gc=False):
    """The cells of a request, but for image and weight."""

    time: str
    operation: str
    query: str | None
    image_note: str | None
    answer: str | None
    confidence: float | None
    scores: str | None
    tokens_in: int
    tokens_out: int
    cost_usd: float | None
    latency_ms: float
    status: str
    error: str | None
    trace_id: str
    call: str
    user: str | None
    session: str | None


encode_row = msgspec.json.Encoder().encode
decode_row = msgspec.json.Decoder(RequestRow).decode


def make_row(request: RequestSample, text: RequestText) -> RequestRow:
    """The cells of a request, cut to their length but for what `redact_row` is to see whole.

    The texts are redacted already.
    """
    return RequestRow(
        iso_time(request.end_ns),
        request.operation,
        cut(text.question, MAX_CELL_CHARS),
        cut(text.image_note, _MAX_WORDS_CHARS),
        cut(text.answer, MAX_CELL_CHARS),
        request.confidence,
        "; ".join(request.scores) or None,
        request.tokens_in,
        request.tokens_out,
        None if request.units is None else to_usd(request.units),
        request.latency_ns / 1e6,
        "error" if request.failed else "ok",
        cut(text.error, _MAX_WORDS_CHARS),
        request.trace_id,
        request.span_id,
        cut(text.user, _MAX_WORDS_CHARS),
        cut(text.session, _MAX_WORDS_CHARS),
    )


def redact_row(row: RequestRow, redact: Callable[[bytes], Redacted] | None) -> tuple[bytes, bool]:
    """The encoded row without what looks like a secret, and whether its texts had to be withheld for it.

    Without `redact` only what is left to be cut is cut.
    """
    redacted = None if redact is None else redact(encode_row(row))
    if redacted is None or not redacted.withheld:
        cleaned = row if redacted is None else decode_row(redacted.body)
        cleaned.trace_id, cleaned.call = row.trace_id, row.call  # ids of digits may look like anything
        cleaned.scores = cut(cleaned.scores or "", _MAX_WORDS_CHARS)
        return encode_row(cleaned), False
    row.query, row.operation = _WITHHELD, "withheld"
    row.image_note = row.answer = row.scores = row.error = row.user = row.session = None
    return encode_row(row), True


def cut(text: str, most: int) -> str | None:
    """The text, or its beginning and how long it was; None for none."""
    if len(text) <= most:
        return text or None
    known = _CUT.search(text)
    if known is not None and known.start() <= most:
        return text
    return f"{text[:most]}… [cut from {known[1] if known else len(text)} characters]"


def encode_requests(rows: Sequence[tuple[RequestRow, str, float]]) -> Table:
    """The table of requests: of each the cells, the image and the weight. It is not larger than it may be."""
    table = _encode(REQUESTS, REQUEST_COLUMNS, [_to_cells(*row) for row in rows])
    for shorten in (_drop_image, _shorten_texts):
        if len(table.body) <= MAX_TABLE_BYTES:
            break
        rows = [shorten(*row) for row in rows]
        table = _encode(REQUESTS, REQUEST_COLUMNS, [_to_cells(*row) for row in rows])
    return table


def encode_points(rows: Sequence[Sequence[Cell]]) -> Table:
    """The table of the traces behind points of charts."""
    return _encode(SLOW_REQUESTS, SLOW_COLUMNS, rows)


def _to_cells(row: RequestRow, image: str, weight: float) -> list[Cell]:
    cells: dict[str, Cell] = {name: getattr(row, name) for name in row.__struct_fields__}
    cells |= {"image": image or None, "weight": weight, "trace": row.call}
    return [cells[column.name] for column in REQUEST_COLUMNS]


def _drop_image(row: RequestRow, image: str, weight: float) -> tuple[RequestRow, str, float]:
    return row, "", weight


def _shorten_texts(row: RequestRow, image: str, weight: float) -> tuple[RequestRow, str, float]:
    row.query, row.answer = cut(row.query or "", _SHORT_CHARS), cut(row.answer or "", _SHORT_CHARS)
    return row, image, weight


def _encode(name: str, columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> Table:
    return Table(name, msgspec.json.encode({"columns": columns, "rows": rows}))
