"""The page of keys says what the catalogue says."""

from __future__ import annotations

import re
from typing import get_args

from otel_wandb.charts_page import SOURCES, render_page
from otel_wandb.metrics.catalogue import CHARTS, DURATIONS, TOKENS, Feed
from tests.peers.environments import CHECKOUT


def test_the_page_is_up_to_date() -> None:
    assert (CHECKOUT / "docs" / "charts.md").read_text() == render_page(), "make docs"


def test_every_feed_is_explained() -> None:
    assert set(SOURCES) == set(get_args(Feed))


def test_every_key_and_instrument_is_on_it() -> None:
    rows = re.findall(r"^\| `([^`]+)` \|", render_page(), re.MULTILINE)
    for key in {chart.key for chart in CHARTS}:
        assert rows.count(key) == sum(chart.key == key for chart in CHARTS), key
    assert {one.instrument for one in DURATIONS} | {one.instrument for one in TOKENS} <= set(rows)


def test_tables_have_as_many_cells_as_heads() -> None:
    for table in re.findall(r"(?:^\|.*\n)+", render_page(), re.MULTILINE):
        assert len({line.count("|") for line in table.splitlines()}) == 1, table
