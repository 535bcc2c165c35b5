"""Which edges the bins of a view get: ones that later buckets will keep to, at the quantiles that matter.

The buckets of an exponential histogram are as fine as its values allow, another time coarser. So of all edges
of the scale only those of the coarsest one that tells values apart are taken: histograms of that scale, and
of each finer one, are exact with them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

from otel_wandb.metrics.buckets import Bucket
from otel_wandb.metrics.explicit import ExplicitHistogram
from otel_wandb.metrics.exponential import ExponentialHistogram, bound, index_of
from otel_wandb.metrics.histogram import AnyHistogram
from otel_wandb.views.grid import Edges, count_into, fit_edges, thin_edges
from otel_wandb.views.reference import Reference

_COARSEST: Final = -4
_MAX_POINTS: Final = 1000
_TOLD_APART: Final = 0.8
"""So many of the bins that there may be are to hold values, if the scale has them."""


def choose_edges(histograms: Sequence[AnyHistogram], reference: Reference | None, bins: int) -> Edges:
    """At most `bins - 1` edges that the buckets of these histograms, and of later ones like them, keep to.

    Those of explicit buckets are theirs; those of exponential ones reach a few octaves further than the
    values do. `reference`, where there is one, says where most of the mass is.
    """
    reach = 3 if bins > 32 else 1
    bounds = {edge for one in histograms if isinstance(one, ExplicitHistogram) for edge in one.bounds}
    scaled = [one for one in histograms if isinstance(one, ExponentialHistogram) and one.count]
    points: Edges = ()
    if scaled:
        points = _find_points(scaled, reference, round(bins * _TOLD_APART))
    candidates = fit_edges(tuple(sorted({*bounds, *points})), histograms)
    room = bins - 1 - (2 * reach if scaled else 0)
    if len(candidates) > room:
        candidates = thin_edges(candidates, _count(candidates, histograms, reference), room)
    if not scaled:
        return candidates
    scale = min(0, *(one.scale for one in scaled))
    return tuple(sorted({*candidates, *_reach_out(candidates, reach, scale)}))


def place_reference(reference: Reference, edges: Edges) -> dict[str, list[int]]:
    """The counts of each stratum of a numeric reference in the bins between these edges.

    Exact where the edges are among its own. Where one is not, the values of the bucket that it lies in are
    taken to lie evenly there.
    """
    return {stratum: _place(reference.edges, counts, edges) for stratum, counts in reference.counts.items()}


def _place(own: Edges, counts: Sequence[int], edges: Edges) -> list[int]:
    below = [0]
    for count in counts:
        below.append(below[-1] + count)
    ends = [_count_below(own, counts, below, edge) for edge in edges]
    return [later - earlier for earlier, later in zip([0, *ends], [*ends, below[-1]], strict=True)]


def _count_below(own: Edges, counts: Sequence[int], below: Sequence[int], edge: float) -> int:
    at = bisect_left(own, edge)
    if at == len(own):  # beyond all edges; the values of the open end lie just there, as far as is known
        return below[-1]
    if own[at] == edge:
        return below[at + 1]
    if at == 0:
        return 0
    over = Bucket(own[at - 1], own[at], 1).share_over(edge)
    return below[at] + round(counts[at] * (1 - over))


def _find_points(
    histograms: Sequence[ExponentialHistogram], reference: Reference | None, wanted: int
) -> Edges:
    """The edges of the coarsest scale of which so many bins hold values, or of the scale that there is."""
    finest = min(one.scale for one in histograms)
    ends = [end for one in histograms for bucket in one.list_buckets() for end in bucket[:2]]
    ends += reference.edges if reference else ()
    threshold = max(one.zero_threshold for one in histograms)
    middle = {-threshold, threshold} if min(ends) < 0 else {threshold}
    if not min(ends) <= threshold:
        middle = set()
    found: Edges = ()
    for scale in range(min(_COARSEST, finest), finest + 1):
        above = _list_points([end for end in ends if end > threshold], scale, threshold)
        below = _list_points([-end for end in ends if end < -threshold], scale, threshold)
        points = sorted({*above, *middle, *(-point for point in below)})
        if found and len(points) > _MAX_POINTS:
            break
        found = tuple(points)
        if sum(map(bool, _count(found, histograms, reference))) >= wanted:
            break
    return found


def _list_points(ends: Sequence[float], scale: int, threshold: float) -> list[float]:
    if not ends:
        return []
    first, last = index_of(min(ends), scale), index_of(max(ends), scale) + 1
    points = (bound(index, scale) for index in range(first, last + 1))
    return [point for point in points if point > threshold]


def _count(edges: Edges, histograms: Sequence[AnyHistogram], reference: Reference | None) -> list[int]:
    if reference is None:
        return count_into(edges, histograms)
    return [sum(counts) for counts in zip(*place_reference(reference, edges).values(), strict=True)]


def _reach_out(edges: Edges, steps: int, scale: int) -> list[float]:
    """Powers of 2, or of the base where buckets are wider, beyond the outer edges that are above zero."""
    positive = [edge for edge in edges if edge > 0]
    if not positive:
        return []
    first, last = index_of(positive[0], scale), index_of(positive[-1], scale) + 1
    beyond = [bound(last + step, scale) for step in range(steps)]
    if edges[0] <= 0:
        return beyond
    return [bound(first - step, scale) for step in range(steps)] + beyond
