"""The panels of a dashboard as data: which keys stand together, from the catalogue and from what was seen.

Panels of all subjects of a kind select their keys by a pattern, so that one which comes later is in them.
Where a store tells what there is, operations and other instruments get panels of their own as well.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from otel_wandb.metrics.axes import axes_of
from otel_wandb.metrics.catalogue import CHARTS, VERSION, Chart
from otel_wandb.metrics.patterns import label_prefix, make_pattern, match
from otel_wandb.metrics.units import AS_MEASURED, unit_of

TIME: Final = "_timestamp"
_MOST_SUBJECTS: Final = 60
"""Operations, or instruments, with panels of their own; the others are in the panels of all of them."""


class Panel(NamedTuple):
    """Lines over one axis, of the keys or of those that the pattern matches; or a table."""

    title: str
    keys: tuple[str, ...] = ()
    pattern: str = ""
    unit: str = ""
    stacked: bool = False
    """As areas that stand on each other: they are parts of one sum."""
    axis: str = TIME
    """Over another axis than time each run has lines of its own, else those of a service are one."""
    selects: str = ""
    """What the pattern selects, for people."""
    table: str = ""
    """The key of a table, of which the last one is shown, instead of lines."""

    def shows(self, keys: Iterable[str]) -> bool:
        """Whether one of these keys is in it."""
        return bool(match(self.pattern, keys) if self.pattern else {*self.keys, self.table} & set(keys))


class Section(NamedTuple):
    """Panels under one heading, which is open or not when the dashboard is opened."""

    title: str
    panels: tuple[Panel, ...]
    open: bool = False


class Seen(NamedTuple):
    """What a service had in its rows: their keys, and what names in them stand for where that differs."""

    keys: frozenset[str]
    names: Mapping[str, str]


class _Sheet(NamedTuple):
    """A panel to be: keys of the catalogue, or one with `{}`, or where it knows none yet a pattern."""

    title: str
    keys: tuple[str, ...] = ()
    pattern: str = ""
    stacked: bool = False
    unit: str = ""


class _Chapter(NamedTuple):
    """A section to be, and the first parts of the keys that belong there."""

    title: str
    parts: tuple[str, ...]
    sheets: tuple[_Sheet, ...]
    open: bool = False


def _alike(begin: str, *ends: str) -> tuple[str, ...]:
    return tuple(f"{begin}{end}" for end in ends)


_PERCENTILES: Final = ("p50", "p90", "p95", "p99")
_CHAPTERS: Final = (
    _Chapter(
        "Latency",
        ("latency",),
        (
            _Sheet("Percentiles", tuple(f"latency/{name}_ms" for name in _PERCENTILES)),
            _Sheet("Mean and extremes", _alike("latency/", "mean_ms", "std_ms", "min_ms", "max_ms")),
            _Sheet("Distribution", ("latency/histogram",)),
            _Sheet("p50 by operation", ("latency/{}_p50_ms",)),
            _Sheet("p95 by operation", ("latency/{}_p95_ms",)),
            _Sheet("p99 by operation", ("latency/{}_p99_ms",)),
            _Sheet("Measured requests", ("latency/count",)),
        ),
        open=True,
    ),
    _Chapter(
        "Errors",
        ("errors",),
        (
            _Sheet("Failed of 100 requests", ("errors/total_rate_percent",)),
            _Sheet("Failed of 100, by operation and type", ("errors/{}_rate_percent",)),
            _Sheet("By type", ("errors/{}_count",)),
            _Sheet("Requests and failures", _alike("errors/", "request_count", "total_count")),
        ),
        open=True,
    ),
    _Chapter(
        "Throughput",
        ("throughput",),
        (
            _Sheet("Requests a second", ("throughput/requests_per_second",)),
            _Sheet("By operation", ("throughput/{}_requests_per_second",)),
            _Sheet("Being worked on", ("throughput/active_requests",)),
        ),
        open=True,
    ),
    _Chapter(
        "Tokens and cost",
        ("tokens", "cost"),
        (
            _Sheet("Tokens", _alike("tokens/", "input", "output")),
            _Sheet("Cached and reasoning", _alike("tokens/", "cache_read", "cache_write", "reasoning")),
            _Sheet("p95 of the tokens of a call", ("tokens/per_request_p95",)),
            _Sheet("Input by model", ("tokens/{}_input",), stacked=True),
            _Sheet("Output by model", ("tokens/{}_output",), stacked=True),
            _Sheet("Cost", ("cost/total_usd",)),
            _Sheet("Cost by model", ("cost/{}_usd",), stacked=True),
            _Sheet("Cost of a call", ("cost/avg_cost_per_request_usd",)),
            _Sheet("Tokens without a price", ("cost/unpriced_tokens_percent",)),
            _Sheet("Cost since midnight", ("cost/daily_total_usd",)),
            _Sheet("Tokens since midnight", _alike("cost/daily_", "input_tokens", "output_tokens")),
            _Sheet("Model calls since midnight", ("cost/daily_requests",)),
        ),
        open=True,
    ),
    _Chapter(
        "Versions of the service",
        (VERSION,),
        (
            _Sheet("p50 of the latency", ("latency/{}_p50_ms",)),
            _Sheet("p95 of the latency", ("latency/{}_p95_ms",)),
            _Sheet("Failed of 100 requests", ("errors/{}_rate_percent",)),
            _Sheet("Requests a second", ("throughput/{}_requests_per_second",), stacked=True),
            _Sheet("Input tokens", ("tokens/{}_input",), stacked=True),
            _Sheet("Output tokens", ("tokens/{}_output",), stacked=True),
            _Sheet("Cost", ("cost/{}_usd",), stacked=True),
        ),
    ),
    _Chapter(
        "Safety",
        ("safety",),
        (
            _Sheet("Blocked of 100, by guardrail", pattern="^safety/.+_blocked_percent$", unit="%"),
            _Sheet("Refused of 100 answers", pattern="^safety/refusal_rate_percent$", unit="%"),
        ),
    ),
    _Chapter(
        "Drift",
        ("drift",),
        (
            _Sheet("Drift detected", pattern="^drift/.+_drift_detected$"),
            _Sheet("Evidence", pattern="^drift/.+_evidence$"),
            _Sheet("p-values", pattern="^drift/.+_p_value$"),
            _Sheet("Findings that stand together", pattern="^drift/discoveries$"),
            _Sheet("Rate of false findings (e-BH)", pattern="^(drift|performance|predictions)/.+_q_value$"),
            _Sheet("Distance", pattern="^drift/.+_(ks_statistic|psi|total_variation)$"),
            _Sheet("Wasserstein distance", pattern="^drift/.+_wasserstein$"),
            _Sheet("Means", pattern="^drift/.+_mean$"),
            _Sheet("Standard deviations", pattern="^drift/.+_std$"),
        ),
    ),
    _Chapter(
        "Quality",
        ("performance", "predictions", "slo", "budget"),
        (
            _Sheet("Performance", pattern="^performance/"),
            _Sheet("Predictions", pattern="^predictions/"),
            _Sheet("Objectives", pattern="^slo/"),
            _Sheet("Budgets", pattern="^budget/"),
        ),
    ),
    _Chapter("Alerts", ("alerts",), (_Sheet("Alerts", pattern="^alerts/"),)),
    _Chapter(
        "Bridge",
        ("bridge",),
        (
            _Sheet("Too late for their row", _alike("bridge/", "late_spans", "late_points")),
            _Sheet("Warnings of dialects", ("bridge/mapping_warnings",)),
        ),
    ),
)
_TABLES: Final = Section(
    "Requests",
    (Panel("A sample of requests", table="requests"), Panel("Slow requests", table="slow_requests")),
    open=True,
)
_ELSEWHERE: Final = "Other keys"
_OWN_METRICS: Final = "metrics"
_VERSION: Final = f"{VERSION}_"

_WITHOUT_PANEL: Final = frozenset(
    {
        *(f"latency/{{}}_{name}_ms" for name in ("p90", "mean", "std", "min", "max")),
        *_alike("latency/{}_", "count", "histogram"),
        *_alike("tokens/{}_", "cache_read", "cache_write", "reasoning"),
    }
)
"""One panel for all operations or models would say little. W&B's own workspace has one for each key."""

_OVER_EACH_OTHER: Final = (
    _Sheet("p95 of the latency", ("latency/p95_ms",)),
    _Sheet("Requests a second", ("throughput/requests_per_second",)),
    _Sheet("Failed of 100 requests", ("errors/total_rate_percent",)),
    _Sheet("Cost", ("cost/total_usd",)),
)
"""Of these the days of a service are shown over each other."""


def lay_out(
    seen: Seen | None = None,
    *,
    cost_by: Sequence[str] = (),
    rotation: str = "day",
    charts: Sequence[Chart] = CHARTS,
) -> tuple[Section, ...]:
    """The sections of the dashboard of a service, the same for the same arguments.

    Args:
        seen: what is known of its rows; None: nothing, and it has the sections that most services need open.
        cost_by: the attributes by which cost is charted.
        rotation: how long its runs are, `day` or `week`.
        charts: the catalogue. A chart of which no panel is known gets one to itself.
    """
    whole = tuple(chart.key for chart in charts if "{}" not in chart.key)
    chapters = [
        Section(chapter.title, tuple(_draw_chapter(chapter, charts, whole, cost_by)), chapter.open)
        for chapter in _CHAPTERS
    ]
    others = [*_draw_rest(charts, whole), *_draw_instruments(seen, charts)]
    operations = tuple(_draw_operations(seen, whole))
    placed = [
        chapters[0],
        Section("Latency of each operation", operations),
        *chapters[1:3],
        _TABLES,
        *chapters[3:],
        Section(_ELSEWHERE, tuple(others)),
        _draw_overlay(rotation),
    ]
    return tuple(_settle(section, seen) for section in placed if section.panels)


def _draw_chapter(
    chapter: _Chapter, charts: Sequence[Chart], whole: Collection[str], cost_by: Sequence[str]
) -> Iterator[Panel]:
    labels = [label_prefix(name) for name in cost_by]
    begins = _VERSION if VERSION in chapter.parts else ""
    for sheet in chapter.sheets:
        others = labels if sheet.keys == ("cost/{}_usd",) else []
        yield _draw(sheet, whole, begins=begins, not_begins=[] if begins else [*others, _VERSION])
    if "cost" in chapter.parts:
        for name, prefix in zip(cost_by, labels, strict=True):
            longer = [other.removeprefix(prefix) for other in labels if other.startswith(prefix)]
            not_begins = [rest for rest in longer if rest]
            pattern = make_pattern("cost/{}_usd", begins=prefix, not_begins=not_begins)
            selects = f"cost/{prefix}*_usd"
            yield Panel(f"Cost by {name}", pattern=pattern, unit="USD", stacked=True, selects=selects)
    known = {key for sheet in chapter.sheets for key in sheet.keys} | _WITHOUT_PANEL
    drawn = [sheet.pattern for sheet in chapter.sheets if sheet.pattern]
    for key in _unique(charts, chapter.parts):
        if key not in known and not any(match(pattern, [key.replace("{}", "x")]) for pattern in drawn):
            yield _draw(_Sheet(_selects(key), (key,)), whole)


def _draw(
    sheet: _Sheet, whole: Collection[str], *, begins: str = "", not_begins: Collection[str] = ()
) -> Panel:
    first = next(iter(sheet.keys), "")
    unit = sheet.unit or _shown_unit(first)
    if "{}" in first:
        pattern = make_pattern(first, whole, begins=begins, not_begins=not_begins)
        selects = _selects(first.replace("{}", f"{begins}{{}}"))
        return Panel(sheet.title, pattern=pattern, unit=unit, stacked=sheet.stacked, selects=selects)
    selects = sheet.pattern.strip("^$").replace(".+", "*")
    return Panel(sheet.title, sheet.keys, sheet.pattern, unit, sheet.stacked, selects=selects)


def _draw_rest(charts: Sequence[Chart], whole: Collection[str]) -> Iterator[Panel]:
    """Charts of a part that no chapter knows."""
    parts = {part for chapter in _CHAPTERS for part in chapter.parts} | {_OWN_METRICS}
    for part in sorted({chart.key.partition("/")[0] for chart in charts} - parts):
        for key in _unique(charts, (part,)):
            yield _draw(_Sheet(_selects(key), (key,)), whole)


def _draw_operations(seen: Seen | None, whole: Collection[str]) -> Iterator[Panel]:
    """The percentiles of each operation that was seen, as one plot."""
    if seen is None:
        return
    ends = [f"_{name}_ms" for name in _PERCENTILES]
    keys = sorted(seen.keys - set(whole))
    found = match(make_pattern("latency/{}_p95_ms", whole, not_begins=[_VERSION]), keys)
    for key in found[:_MOST_SUBJECTS]:
        begin = key.removesuffix("_p95_ms")
        lines = tuple(begin + end for end in ends if begin + end in seen.keys)
        yield Panel(_title(begin, seen), lines, unit="ms")


def _draw_instruments(seen: Seen | None, charts: Sequence[Chart]) -> Iterator[Panel]:
    """Other instruments: of each that was seen what is typical of it, else one panel of all."""
    if seen is None:
        key = "metrics/{}_p95"
        yield Panel("p95 of all other histograms", pattern=make_pattern(key), selects=_selects(key))
        return
    mine = [chart.key for chart in charts if chart.key.startswith(f"{_OWN_METRICS}/")]
    fields = sorted({key.partition("{}")[2] for key in mine} - {""}, key=lambda end: (-len(end), end))
    found: defaultdict[str, set[str]] = defaultdict(set)
    for key in seen.keys:
        if key.startswith(f"{_OWN_METRICS}/"):
            end = next((end for end in fields if key.endswith(end)), "")
            found[key.removesuffix(end)].add(end)
    for begin in sorted(found)[:_MOST_SUBJECTS]:
        ends = found[begin]
        quantiles = [f"_{name}" for name in _PERCENTILES if f"_{name}" in ends]
        shown = quantiles or [end for end in ("", "_min", "_max") if end in ends] or sorted(ends)
        yield Panel(_title(begin, seen), tuple(begin + end for end in shown))


def _draw_overlay(rotation: str) -> Section:
    axis = axes_of(rotation)[0]
    panels = (_draw(sheet, ())._replace(axis=axis) for sheet in _OVER_EACH_OTHER)
    return Section(f"{'Weeks' if rotation == 'week' else 'Days'} over each other", tuple(panels))


def _settle(section: Section, seen: Seen | None) -> Section:
    """Open it where there is something to be seen in it; those of other keys stay as they are."""
    if seen is None or not any(section.title == chapter.title for chapter in _CHAPTERS):
        return section
    wanted = section.title != "Bridge"
    return section._replace(open=wanted and any(panel.shows(seen.keys) for panel in section.panels))


def _title(begin: str, seen: Seen) -> str:
    name = begin.partition("/")[2]
    return seen.names.get(name, name)


def _selects(key: str) -> str:
    return key.replace("{}", "*")


def _unique(charts: Sequence[Chart], parts: Collection[str]) -> list[str]:
    return list(dict.fromkeys(chart.key for chart in charts if chart.key.partition("/")[0] in parts))


def _shown_unit(key: str) -> str:
    unit = unit_of(key)
    return "" if unit == AS_MEASURED else unit
