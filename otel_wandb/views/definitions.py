"""What users write: metric views as data, the same in code, in YAML and in JSON.

Only msgspec is imported, since an instrumented service imports this. How a view is carried out stands in the
module of its name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Final, Literal, TypeAlias

import msgspec

from otel_wandb.views.reference import Reference

Share: TypeAlias = Annotated[float, msgspec.Meta(gt=0, lt=1)]
Positive: TypeAlias = Annotated[float, msgspec.Meta(gt=0)]
AtLeastOne: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]

MAX_GROUPS: Final = 20
"""Groups of a view that are watched, the first that come; all beyond are counted and not watched."""


class _View(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="view"):
    """What all views have.

    `name` stands in keys (empty: the last two words of the instrument). `where` are attributes that a series
    has to have; a value may have a `*` at its end. With `by`, each value of these attributes is watched by
    itself.
    """

    name: str = ""
    where: Mapping[str, str] = {}
    by: tuple[str, ...] = ()


class Drift(_View, frozen=True, tag="drift"):
    """Whether a distribution has moved away from its reference: see `views.drift`.

    A window closes when it is at least `window_s` long and has at least `window_requests`. Without a
    `reference` the first `learn_requests` are it, and as many as come in the time of two windows. An alarm
    needs evidence, such that the mean number of windows to a false alarm is `windows_to_false_alarm` (None:
    the share of this view in the budget of the system), and an effect: a total variation of `min_effect`.

    With `strata` hours are compared with the same hours alone; a `reference` then has counts of each (`0` to
    `23`, or `167` from Monday on, UTC). With the `unit` interval it has counts of intervals, each with a name
    of its own.
    """

    instrument: str
    reference: Reference | None = None
    order: Literal["ordered", "categories"] = "ordered"
    category: str = ""
    """The attribute whose values are the categories; needed for `categories`, where counts are compared."""
    window_s: Positive = 3600.0
    window_requests: AtLeastOne = 500
    learn_requests: AtLeastOne = 5000
    strata: Literal["none", "hour_of_day", "hour_of_week"] = "none"
    unit: Literal["request", "interval"] = "request"
    windows_to_false_alarm: Annotated[float, msgspec.Meta(gt=1)] | None = None
    min_effect: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.05


class Degradation(_View, frozen=True, tag="degradation"):
    """Whether a score has fallen below its baseline: see `views.degradation`.

    Values lie between `low` and `high` (a ratio: 0 and 1). `baseline_count` is how many evaluations the
    baseline was measured with; None says that it is exact. `tolerance` is a part of the baseline. Two
    counters make a score, too: `eval.correct / eval.total`.
    """

    metric: str
    baseline: float
    score: Literal["values", "success", "within_p95"] = "values"
    """`success`: 1 for each request without `error.type`, else 0. `within_p95`: the baseline is the p95 of
    durations in seconds; 1 for each request that is as quick, or slower by the tolerance at most."""
    tolerance: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.05
    baseline_count: AtLeastOne | None = None
    low: float = 0.0
    high: float = 1.0
    windows_to_false_alarm: Annotated[float, msgspec.Meta(gt=1)] | None = None


class Predictions(_View, frozen=True, tag="predictions"):
    """How confident and how varied predictions are: see `views.predictions`."""

    instrument: str = "prediction.confidence"
    label: str = "prediction.label"
    """The attribute that holds what was predicted."""
    low_confidence: Share = 0.5
    windows_to_false_alarm: Annotated[float, msgspec.Meta(gt=1)] | None = None


class Slo(_View, frozen=True, tag="slo"):
    """How fast the error budget of an objective is spent: see `views.slo`.

    With `threshold_s` a good request is a quick one, else one without `error.type`.
    """

    instrument: str
    objective: Share
    threshold_s: Positive | None = None
    min_bad: AtLeastOne = 5


class Budget(_View, frozen=True, tag="budget"):
    """How much money is spent of what may be: see `views.budget`. Give one of the two amounts."""

    usd_per_day: Positive | None = None
    usd_per_month: Positive | None = None


class Compare(_View, frozen=True, tag="compare"):
    """Whether a new version answers otherwise than the stable one: see `views.compare`.

    `attribute` tells the versions apart; without `stable` the one with most requests so far is it.
    """

    instrument: str
    attribute: str = "service.version"
    stable: str = ""
    alpha: Share = 0.01


View: TypeAlias = Drift | Degradation | Predictions | Slo | Budget | Compare


def name_view(view: View) -> str:
    """The name in keys: as given, else the last two words of the instrument, as `query_length`."""
    if view.name:
        return view.name
    if isinstance(view, Budget):
        return "_".join(re.split(r"[^A-Za-z0-9]+", view.by[0])[-2:]) if view.by else "total"
    instrument = view.metric if isinstance(view, Degradation) else view.instrument
    return "_".join(re.split(r"[^A-Za-z0-9]+", instrument)[-2:])
