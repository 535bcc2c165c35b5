"""Rows on their way to a run, with the tables that they take along."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import quote

import msgspec

from otel_wandb.delivery.credentials import WeaveTarget, app_url
from otel_wandb.delivery.wandb_api import Place
from otel_wandb.delivery.wandb_host import LoggedRow
from otel_wandb.store import QueuedRow

Tables = Mapping[int, Mapping[str, bytes]]
"""The tables of rows, by steps and names."""


def split_rows(rows: Sequence[QueuedRow], tables: Tables) -> Iterator[Sequence[QueuedRow]]:
    """The rows in pieces of which only the last row has tables, which take a second to upload."""
    start = 0
    for end, row in enumerate(rows, 1):
        if row.step in tables:
            yield rows[start:end]
            start = end
    if start < len(rows):
        yield rows[start:]


def pack_rows(
    rows: Sequence[QueuedRow], tables: Tables, *, next_step: int, target: WeaveTarget, place: Place
) -> list[LoggedRow]:
    """The rows as they are logged to a run that takes steps from `next_step` on.

    What is behind is there already, or never comes in any more: of these only the tables are sent again.
    """
    page = f"{app_url(target.base_url)}/{place.entity}/{quote(place.project)}/r/call/"
    packed = []
    for row in rows:
        own = {name: msgspec.Raw(body) for name, body in tables.get(row.step, {}).items()}
        again = row.step < next_step
        if own or not again:
            packed.append(LoggedRow(row.step, row.timestamp_s, msgspec.Raw(row.values), own, page, again))
    return packed
