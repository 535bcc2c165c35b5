"""The second line of the bridge: data points, and what spans tell, in; rows of W&B runs out. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

from otel_wandb import __version__
from otel_wandb.alert_line import AlertLine
from otel_wandb.alerts.engine import Moment
from otel_wandb.boundary import Boundaries
from otel_wandb.config import Settings
from otel_wandb.marks import FrameRef, Marks
from otel_wandb.metrics.axes import place_on_axes
from otel_wandb.metrics.catalogue import TWINS
from otel_wandb.metrics.charts import Charts, Row
from otel_wandb.metrics.closed import ClosedInterval
from otel_wandb.metrics.exemplars import Exemplars
from otel_wandb.metrics.from_spans import Told
from otel_wandb.metrics.intervals import HOUR_NS, SECOND_NS, Calendar, Interval
from otel_wandb.metrics.points import Shown
from otel_wandb.metrics.pricing import PriceLists
from otel_wandb.metrics.runs import RunSeries, describe_run, locate, service_of
from otel_wandb.metrics.sorting import find_measure
from otel_wandb.metrics.streams import StreamLimits, Streams
from otel_wandb.records import Attributes, MetricBatch, Resource
from otel_wandb.store.rows import encode_run, encode_values
from otel_wandb.tables.examples import IntervalExamples
from otel_wandb.tables.hours import Tables
from otel_wandb.tables.nearest import IsKept, keep_all
from otel_wandb.tables.points import find_points
from otel_wandb.view_line import ViewLine
from otel_wandb.work import ShapedRow

_MAX_LOCATED: Final = 1000


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
        alerts: AlertLine,
        boundaries: Boundaries,
        is_kept: IsKept = keep_all,
    ) -> None:
        self.counts: Counter[tuple[str, str, str]] = Counter()
        """What became of points, since the caller last cleared it."""
        self.tables = Tables(is_kept)
        """The requests that rows take along."""
        self._calendar = Calendar(int(settings.interval_s * SECOND_NS), settings.rotate)
        limits = StreamLimits(self._calendar, int(settings.lateness_s * SECOND_NS))
        self._streams = Streams(limits, marks, twins=TWINS, measure_of=find_measure, replay=replay)
        self._charts = Charts()
        self._exemplars = Exemplars(self._calendar)
        self.views = ViewLine(settings_of=settings_of)
        self._alerts = alerts
        self._boundaries = boundaries
        alerts.on_firing = self.flush_table
        self._settings_of = settings_of
        self._bridge_id = bridge_id
        self.price_lists = PriceLists()
        self._last: tuple[Resource, str, RunSeries] | None = None
        self._located: dict[str, tuple[Interval, str]] = {}
        """Of each service the interval that was last asked for, and its run: most spans lie in the same."""

    @property
    def open_points(self) -> int:
        """How many points wait in open intervals."""
        return self._streams.open_points

    @property
    def open_spans(self) -> int:
        """How many spans wait in open intervals, of those that tell something of charts."""
        return self._streams.open_spans

    def restore(self, states: Iterable[tuple[str, bytes]]) -> None:
        """Take up what an earlier bridge had stored."""
        states = list(states)
        self._streams.restore(states)
        self._charts.restore(states)
        self.views.restore(states)
        for series, end_ns in self.tables.restore(states):
            self._streams.want_row(series, end_ns)

    def take_states(self) -> list[tuple[str, bytes]]:
        """What `restore` needs; stored in the transaction of the rows."""
        return [
            *self._streams.take_states(),
            *self._charts.take_states(),
            *self.views.take_states(),
            *self.tables.take_states(),
        ]

    def add(self, batch: MetricBatch, *, config: str, frame: FrameRef, written_ns: int, again: bool) -> None:
        """Place the points in their intervals; `again`: they were counted before a restart."""
        boundary = self._boundaries.of(config)
        resource = boundary.clean_resource(batch.resource)
        series = self.series_of(resource, config)
        if self._settings_of(config).views:
            self._exemplars.add(batch.metrics, series, boundary.clean)
        self._streams.add(
            batch,
            series=series,
            config=config,
            frame=frame,
            written_ns=written_ns,
            again=again,
            shown=Shown(resource.attributes, boundary.clean),
        )
        self._collect_dropped()

    def add_spans(self, told: Iterable[Told], *, resource: Resource, config: str, newest_ns: int) -> None:
        """Count what the spans of a process told, once; no time is ahead of `newest_ns` by much."""
        series = self.series_of(resource, config)
        self._streams.add_spans(told, series=series, config=config, resource=resource, newest_ns=newest_ns)

    def see_spans(
        self, event_ns: int, *, resource: Resource, config: str, frame: FrameRef, again: bool
    ) -> None:
        """Note how far the spans of a process have come, where event time is the only clock."""
        self._streams.see_spans(event_ns, series=self.series_of(resource, config), frame=frame, again=again)

    def due(self, read_until_ns: int) -> list[ShapedRow]:
        """The rows of the intervals that are closed by now."""
        rows = [self._shape(closed) for closed in self._streams.due(read_until_ns)]
        self._collect_dropped()
        return rows

    def finish_all(self) -> list[ShapedRow]:
        """The rows of all that is open: the input has ended."""
        closed = self._streams.finish_all()
        last = {one.series: one.interval for one in closed}
        rows = [self._shape(one, last=last[one.series] == one.interval) for one in closed]
        self._collect_dropped()
        return rows

    def locate(self, service: str, time_ns: int) -> tuple[str, int]:
        """The run and the step whose charts contain what ended then."""
        last = self._located.get(service)
        if last is not None and last[0].start_ns < time_ns <= last[0].end_ns:
            return last[1], last[0].step
        run, step = locate(service, self._bridge_id, time_ns, self._calendar)
        if len(self._located) >= _MAX_LOCATED:
            self._located.clear()
        self._located[service] = self._calendar.interval_at(time_ns), run
        return run, step

    def place_request(
        self, resource: Resource, *, config: str, end_ns: int, newest_ns: int
    ) -> tuple[RunSeries, Interval]:
        """Whose a request is that ended then, and the interval in which it counts.

        A time that is none, or ahead of all by too much, counts as `newest_ns`. A row will come for it.
        """
        time_ns = end_ns if 0 < end_ns <= newest_ns + HOUR_NS else max(newest_ns, 1)
        return self._streams.want_row(self.series_of(resource, config), time_ns)

    def flush_table(self, series: RunSeries) -> None:
        """Let the row that is being made, or else the next one, take the requests of the hour so far."""
        self.tables.flush(series)

    def series_of(self, resource: Resource, config: str) -> RunSeries:
        """Whose data it is that comes from the process."""
        last = self._last
        if last is None or last[0] is not resource or last[1] != config:
            settings = self._settings_of(config)
            entity, project = project_of(resource.attributes, settings)
            series = RunSeries(settings.base_url, entity, project, service_of(resource.attributes))
            last = self._last = resource, config, series
        return last[2]

    def _collect_dropped(self) -> None:
        for (signal, reason), n in self._streams.dropped.items():
            self.counts[signal, "dropped", reason] += n
        self._streams.dropped.clear()

    def _shape(self, closed: ClosedInterval, *, last: bool = False) -> ShapedRow:
        source = self._settings_of(closed.config).source
        prices = self.price_lists.find(self._settings_of(closed.config).prices)
        row = self._charts.build_row(closed, prices.price, source)
        legend = self._charts.legend(closed.series)
        axes = place_on_axes(closed.interval, self._calendar.rotation)
        self.counts["metric_points", "delivered", ""] += closed.delivered
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
                "keys": dict(legend),
            },
        )
        moment = Moment(closed.series.service, description.id, row.step, row.timestamp_s)
        watched = self._watch(closed, row, description.id)
        values = self._alerts.mark({**row.values, **watched}, moment, series=closed.series, config=row.config)
        points = find_points(row.values, legend)
        tables = self.tables.close(closed.series, closed.interval, points, last=last)
        return ShapedRow(
            config=row.config,
            entity=closed.series.entity,
            project=closed.series.project,
            server=closed.series.server,
            run_id=description.id,
            spec=encode_run(description),
            step=row.step,
            timestamp_s=row.timestamp_s,
            values=encode_values({**values, **axes}),
            tables=tuple(tables),
        )

    def _watch(self, closed: ClosedInterval, row: Row, run: str) -> dict[str, float]:
        """What the views add to the row; what they have found is handed on."""
        usd = row.values.get("cost/total_usd", 0.0)
        counted, has_views = self._charts.counted(closed), bool(self._settings_of(closed.config).views)
        watched = self.views.watch(
            closed,
            series=counted,
            versions=self._charts.counted_by_version(closed) if has_views else {},
            run=run,
            examples=IntervalExamples(
                self._exemplars.close(closed.series, closed.interval.end_ns),
                counted,
                lambda latency_ns: self.tables.find_request(closed.series, closed.interval, latency_ns),
                self.tables.is_kept,
            ),
            total_usd=float(usd) if isinstance(usd, int | float) else 0.0,
        )
        self._alerts.take(watched.findings, series=closed.series, config=row.config)
        return dict(watched.values)


def project_of(attributes: Attributes, settings: Settings) -> tuple[str, str]:
    """Entity and project: what the resource names goes before the settings."""
    entity, project = attributes.get("wandb.entity"), attributes.get("wandb.project")
    return (
        entity if isinstance(entity, str) and entity else settings.entity,
        project if isinstance(project, str) and project else settings.project,
    )
