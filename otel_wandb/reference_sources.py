"""Where references are from: OTLP files, rows of the store, files of samples, and artifacts of W&B."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Final, NamedTuple

from otel_wandb.config import Settings
from otel_wandb.datadir import DataDir
from otel_wandb.delivery.wandb_host import read_spec
from otel_wandb.errors import ConfigError, InputError
from otel_wandb.journal import Codec, Frame
from otel_wandb.marks import Marks
from otel_wandb.metrics.explicit import ExplicitHistogram
from otel_wandb.metrics.histogram import merge_all
from otel_wandb.metrics.intervals import SECOND_NS, Calendar, Interval
from otel_wandb.pipeline import Pipeline
from otel_wandb.replay import merge_requests
from otel_wandb.store import Store
from otel_wandb.store.rows import Bins, decode_values
from otel_wandb.views.followed import read_names, read_values
from otel_wandb.views.machine import Look, select
from otel_wandb.views.reference import Reference
from otel_wandb.views.reference_check import Taken, create_reference
from otel_wandb.views.samples import read_cells, to_names, to_numbers
from otel_wandb.views.strata import Strata, stratum_of

_MILLISECONDS: Final = "latency/"
_INTERVAL_SAMPLES: Final = 50


class Span(NamedTuple):
    """A range of time: after `since_ns`, and up to `until_ns`."""

    since_ns: int = 0
    until_ns: int = 2**63

    def holds(self, interval: Interval) -> bool:
        """Whether the interval ends in it."""
        return self.since_ns < interval.end_ns <= self.until_ns


EVER: Final = Span()


@dataclass(frozen=True)
class Chosen:
    """Which data are meant: as in a view. With `category` the shares of its values, else values."""

    instrument: str
    where: Mapping[str, str] = field(default_factory=dict)
    service: str = ""
    category: str = ""
    span: Span = EVER


class Names(NamedTuple):
    """How often names came in an interval."""

    interval: Interval
    counts: Mapping[str, int]


def read_time(text: str) -> int:
    """Unix time in ns of an ISO date or time; UTC where it tells no zone. Raises ConfigError."""
    try:
        told = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{text!r} is no time such as 2026-11-30T14:00") from None
    told = told if told.tzinfo else told.replace(tzinfo=UTC)
    return round(told.timestamp()) * SECOND_NS


def gather_values(paths: Sequence[Path], chosen: Chosen, settings: Settings) -> list[Taken]:
    """The values of an instrument in OTLP files, by interval, as a view would see them.

    Raises InputError: a file cannot be read, or none has such values.
    """
    taken = []
    for look in _replay(paths, chosen, settings):
        series = [
            one for part in select(look.series, chosen.instrument, chosen.where, ()).values() for one in part
        ]
        histograms = read_values(series)
        if histograms:
            taken.append(Taken(look.closed.interval, merge_all(histograms)))
    if not taken:
        raise InputError(f"no file has values of {chosen.instrument} in histograms")
    return sorted(taken, key=lambda one: one.interval)


def gather_names(paths: Sequence[Path], chosen: Chosen, settings: Settings) -> list[Names]:
    """How often the values of the attribute `category` came in OTLP files. Raises as `gather_values` does."""
    found = []
    for look in _replay(paths, chosen, settings):
        series = [
            one for part in select(look.series, chosen.instrument, chosen.where, ()).values() for one in part
        ]
        counts = read_names(series, chosen.category)
        if counts:
            found.append(Names(look.closed.interval, counts))
    if not found:
        raise InputError(f"no file has counts of {chosen.instrument}")
    return sorted(found, key=lambda one: one.interval)


def gather_rows(data_dir: DataDir, key: str, *, service: str = "", span: Span = EVER) -> list[Taken]:
    """The histograms under a key of the stored rows, such as `latency/POST_chat_histogram`, in seconds there.

    Every tenth row has one. Raises ConfigError with the keys that there are, where no row has it.
    """
    taken: list[Taken] = []
    known: set[str] = set()
    if data_dir.store.exists():
        with closing(Store.open_for_reading(data_dir.store)) as reader:
            for run in reader.runs():
                spec = read_spec(run)
                if service not in ("", spec.group):
                    continue
                calendar = _read_calendar(spec.config)
                for row in reader.rows(run.id):
                    values = decode_values(row.values)
                    known.update(name for name, value in values.items() if isinstance(value, Bins))
                    bins = values.get(key)
                    interval = calendar.interval_at(round(row.timestamp_s * SECOND_NS))
                    if isinstance(bins, Bins) and span.holds(interval):
                        taken.append(Taken(interval, _read_bins(key, bins)))
    if taken:
        return sorted(taken, key=lambda one: one.interval)
    there = f"histograms are under: {', '.join(sorted(known))}" if known else "no row has a histogram"
    raise ConfigError(f"no stored row of that time has a histogram under {key!r}; {there}")


def make_reference(
    taken: Sequence[Taken], *, strata: Strata = "none", by_interval: bool = False, source: str
) -> Reference:
    """The reference of these intervals, by strata, or each by itself. Raises ValueError."""
    if by_interval:
        parts = {f"{i:06d}": one.histogram for i, one in enumerate(taken)}
        return Reference.from_histograms(parts, source=source)
    return create_reference(taken, strata=strata, source=source)


def make_names(
    found: Sequence[Names], *, strata: Strata = "none", by_interval: bool = False, source: str
) -> Reference:
    """The same of names."""
    counts: dict[str, Counter[str]] = {}
    for i, one in enumerate(found):
        part = f"{i:06d}" if by_interval else stratum_of(one.interval, strata)
        counts.setdefault(part, Counter()).update(one.counts)
    names = sorted({name for part in counts.values() for name in part})
    told = {part: tuple(count[name] for name in names) for part, count in sorted(counts.items())}
    return Reference(told, names=tuple(names), source=source)


def read_samples(name: str, content: bytes, *, column: str, categories: bool, source: str) -> Reference:
    """The reference of a file of samples; one that is a reference already is it. Raises InputError."""
    if name.endswith(".json") and not column and b'"counts"' in content:
        try:
            return Reference.from_json(content)
        except ValueError as error:
            raise InputError(f"{name}: {error}") from None
    cells = read_cells(name, content, column=column)
    try:
        if categories:
            return Reference.from_categories(to_names(cells), source=source)
        return Reference.from_samples(to_numbers(cells), source=source)
    except ValueError as error:
        raise InputError(f"{name}: {error}") from None


def take_samples(name: str, content: bytes, *, column: str) -> list[Taken]:
    """The numbers of a file in their order, as if 50 came a minute. Raises InputError."""
    from otel_wandb.metrics.observed import count_values

    numbers = to_numbers(read_cells(name, content, column=column))
    parts = [numbers[at : at + _INTERVAL_SAMPLES] for at in range(0, len(numbers), _INTERVAL_SAMPLES)]
    calendar = Calendar()
    return [
        Taken(calendar.interval_at((i + 1) * 60 * SECOND_NS), count_values(part).to_histogram())
        for i, part in enumerate(parts)
    ]


def _replay(paths: Sequence[Path], chosen: Chosen, settings: Settings) -> Iterator[Look]:
    """The intervals of the files as views see them; nothing is stored."""
    looks: list[Look] = []
    pipeline = Pipeline(
        marks=Marks(), settings=settings, settings_of=lambda _: settings, bridge_id="", replay=True
    )
    pipeline.metrics.views.on_look = looks.append
    for i, request in enumerate(merge_requests(paths)):
        frame = Frame(
            "replay-00000000.seg", i, i + 1, request.kind, Codec.PLAIN, request.items, "", 0, request.payload
        )
        pipeline.take_frame(frame, 0)
        pipeline.tick(0, 0)
        pipeline.take_work()
        yield from _choose(looks, chosen)
        looks.clear()
    pipeline.finish()
    pipeline.take_work()
    yield from _choose(looks, chosen)


def _choose(looks: Sequence[Look], chosen: Chosen) -> Iterator[Look]:
    for look in looks:
        if chosen.service in ("", look.service) and chosen.span.holds(look.closed.interval):
            yield look


def _read_calendar(config: Mapping[str, object]) -> Calendar:
    interval_s = config.get("interval_s")
    seconds = interval_s if isinstance(interval_s, int | float) and interval_s > 0 else 60
    return Calendar(round(seconds * SECOND_NS))


def _read_bins(key: str, bins: Bins) -> ExplicitHistogram:
    counts = tuple(round(count) for count in bins.counts)
    histogram = ExplicitHistogram(
        sum(counts), None, None, None, False, tuple(map(float, bins.edges)), (0, *counts, 0)
    )
    # Charts of durations are in milliseconds, instruments in seconds.
    return histogram.scaled(Fraction(1, 1000)) if key.startswith(_MILLISECONDS) else histogram
