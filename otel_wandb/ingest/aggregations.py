"""How our reader aggregates the histograms of the SDK: exponential buckets, and the edges that views need.

This is what an OpenTelemetry `View` says, but for our reader alone: a provider has its views from the
beginning and for all readers, and is the service's. So what else the service exports stays as it is, and a
`View` of its own that names an aggregation for an instrument goes before ours.

`Aggregation._create_aggregation` is how the SDK asks an aggregation of whatever kind; its own
`DefaultAggregation` chooses by the instrument there, as ours does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.sdk.metrics import Histogram
from opentelemetry.sdk.metrics.view import (
    Aggregation,
    ExplicitBucketHistogramAggregation,
    ExponentialBucketHistogramAggregation,
    View,
)

if TYPE_CHECKING:
    from otel_wandb.views.definitions import View as MetricView

_BUCKETS: Final = 320
"""Twice the SDK's default: percentiles of heavy tails stay within about 1 % of the raw values."""


class ByInstrument(Aggregation):
    """Explicit buckets where a metric view needs edges of its own, else exponential ones."""

    def __init__(self, views: str) -> None:
        self._views = views
        self._otherwise = ExponentialBucketHistogramAggregation(_BUCKETS)

    def _create_aggregation(self, instrument: Any, *arguments: Any, **named: Any) -> Any:
        edges = _list_edges(self._views, instrument.name, instrument.unit or "")
        chosen = ExplicitBucketHistogramAggregation(edges) if edges else self._otherwise
        return chosen._create_aggregation(instrument, *arguments, **named)


def make_sdk_views(views: Sequence[MetricView] | str | object) -> list[View]:
    """The views of the SDK for the edges that these metric views need, for a `MeterProvider` of one's own.

    All readers of that provider then have them. Our exporter needs none, and wildcards give none: their
    instruments are not known beforehand. `views` are as in `configure`; raises ValueError.
    """
    from otel_wandb.view_settings import parse_views, read_views
    from otel_wandb.views.definitions import Degradation, Drift, Predictions, Slo

    told = read_views(views)
    named = [
        view.metric if isinstance(view, Degradation) else view.instrument
        for view in parse_views(told)
        if isinstance(view, Degradation | Drift | Predictions | Slo)
    ]
    found: list[View] = []
    for instrument in dict.fromkeys(name for name in named if not name.endswith("*")):
        edges = _list_edges(told, instrument, "s")
        if edges:
            aggregation = ExplicitBucketHistogramAggregation(edges)
            found.append(View(instrument_type=Histogram, instrument_name=instrument, aggregation=aggregation))
    return found


def _list_edges(views: str, instrument: str, unit: str) -> tuple[float, ...]:
    if not views:
        return ()
    from otel_wandb.view_settings import parse_views
    from otel_wandb.views.edges import list_edges

    return list_edges(parse_views(views), instrument, unit)
