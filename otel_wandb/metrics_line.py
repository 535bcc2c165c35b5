"""The second line of the bridge: data points, and what spans spent, in; rows of W&B runs out. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from otel_wandb import __version__
from otel_wandb.config import Settings
from otel_wandb.marks import FrameRef, Marks
from otel_wandb.metrics.catalogue import TWINS
from otel_wandb.metrics.charts import Charts
from otel_wandb.metrics.closed import ClosedInterval
from otel_wandb.metrics.from_spans import Spend
from otel_wandb.metrics.intervals import SECOND_NS, Calendar
from otel_wandb.metrics.pricing import Prices
from otel_wandb.metrics.runs import RunSeries, describe_run, locate, service_of
from otel_wandb.metrics.streams import StreamLimits, Streams
from otel_wandb.records import Attributes, MetricBatch, Resource
from otel_wandb.store.rows import encode_run, encode_values
from otel_wandb.work import ShapedRow


class MetricsLine:
    """Streams and charts of one directory. Not thread-safe.

    `bridge_id` makes the runs of this bridge its own; on replay it is the same everywhere, so that the same
    files give the same rows.
    """

    def __init__(
        self,
        *,
        marks: Marks,
        settings: Settings,
        settings_of: Callable[[str], Settings],
        bridge_id: str,
        replay: bool,
    ) -> None:
        self.counts: Counter[tuple[str, str, str]] = Counter()
        """What became of points, since the caller last cleared it."""
        self._calendar = Calendar(int(settings.interval_s * SECOND_NS), settings.rotate)
        limits = StreamLimits(self._calendar, int(settings.lateness_s * SECOND_NS))
        self._streams = Streams(limits, marks, twins=TWINS, replay=replay)
        self._charts = Charts()
        self._settings_of = settings_of
        self._bridge_id = bridge_id
        self._prices: dict[str, Prices] = {}

    @property
    def open_points(self) -> int:
        """How many points wait in open intervals."""
        return self._streams.open_points

    @property
    def open_spans(self) -> int:
        """How many spans wait in open intervals, of those that spent something."""
        return self._streams.open_spans

    def prices(self, config: str) -> Prices:
        """The prices under the settings that a frame names."""
        text = self._settings_of(config).prices
        prices = self._prices.get(text)
        if prices is None:
            prices = self._prices[text] = Prices(text)
        return prices

    def restore(self, states: Iterable[tuple[str, bytes]]) -> None:
        """Take up what an earlier bridge had stored."""
        states = list(states)
        self._streams.restore(states)
        self._charts.restore(states)

    def take_states(self) -> list[tuple[str, bytes]]:
        """What `restore` needs; stored in the transaction of the rows."""
        return [*self._streams.take_states(), *self._charts.take_states()]

    def add(self, batch: MetricBatch, *, config: str, frame: FrameRef, written_ns: int, again: bool) -> None:
        """Place the points in their intervals; `again`: they were counted before a restart."""
        series = self._series(batch.resource, config)
        self._streams.add(
            batch, series=series, config=config, frame=frame, written_ns=written_ns, again=again
        )
        self._collect_dropped()

    def add_spends(self, spends: Iterable[Spend], *, resource: Resource, config: str, newest_ns: int) -> None:
        """Count what the spans of a process spent, once; no span's time is ahead of `newest_ns` by much."""
        series = self._series(resource, config)
        self._streams.add_spends(spends, series=series, config=config, resource=resource, newest_ns=newest_ns)

    def add_warnings(self, n: int, end_ns: int, *, resource: Resource, config: str, newest_ns: int) -> None:
        """Count what the dialects warned of a span, once; its time is not ahead of `newest_ns` by much."""
        series = self._series(resource, config)
        self._streams.add_warnings(
            n, end_ns, series=series, config=config, resource=resource, newest_ns=newest_ns
        )

    def see_spans(
        self, event_ns: int, *, resource: Resource, config: str, frame: FrameRef, again: bool
    ) -> None:
        """Note how far the spans of a process have come, where event time is the only clock."""
        self._streams.see_spans(event_ns, series=self._series(resource, config), frame=frame, again=again)

    def due(self, read_until_ns: int) -> list[ShapedRow]:
        """The rows of the intervals that are closed by now."""
        rows = [self._shape(closed) for closed in self._streams.due(read_until_ns)]
        self._collect_dropped()
        return rows

    def finish_all(self) -> list[ShapedRow]:
        """The rows of all that is open: the input has ended."""
        rows = [self._shape(closed) for closed in self._streams.finish_all()]
        self._collect_dropped()
        return rows

    def locate(self, service: str, time_ns: int) -> tuple[str, int]:
        """The run and the step whose charts contain what ended then."""
        return locate(service, self._bridge_id, time_ns, self._calendar)

    def _collect_dropped(self) -> None:
        for (signal, reason), n in self._streams.dropped.items():
            self.counts[signal, "dropped", reason] += n
        self._streams.dropped.clear()

    def _shape(self, closed: ClosedInterval) -> ShapedRow:
        row = self._charts.build_row(closed, self.prices(closed.config).price)
        self.counts["metric_points", "delivered", ""] += closed.delivered
        for reason, n in closed.dropped.items():
            self.counts["metric_points", "dropped", reason] += n
        for warning, n in closed.warnings.items():
            self.counts["metric_points", "warned", warning] += n
        description = describe_run(
            row.run,
            bridge_id=self._bridge_id,
            calendar=self._calendar,
            resources=row.resources,
            facts={
                "otel_wandb_version": __version__,
                "histogram_relative_error": row.relative_error,
                "keys": dict(self._charts.legend(closed.series)),
            },
        )
        return ShapedRow(
            config=row.config,
            entity=closed.series.entity,
            project=closed.series.project,
            server=closed.series.server,
            run_id=description.id,
            spec=encode_run(description),
            step=row.step,
            timestamp_s=row.timestamp_s,
            values=encode_values(row.values),
        )

    def _series(self, resource: Resource, config: str) -> RunSeries:
        settings = self._settings_of(config)
        entity, project = project_of(resource.attributes, settings)
        return RunSeries(settings.base_url, entity, project, service_of(resource.attributes))


def project_of(attributes: Attributes, settings: Settings) -> tuple[str, str]:
    """Entity and project: what the resource names goes before the settings."""
    entity, project = attributes.get("wandb.entity"), attributes.get("wandb.project")
    return (
        entity if isinstance(entity, str) and entity else settings.entity,
        project if isinstance(project, str) and project else settings.project,
    )
