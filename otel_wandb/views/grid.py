"""Histograms of any kind as counts in the bins of a view: exactly, by giving up edges that don't fit."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from otel_wandb.metrics.buckets import leave_whole
from otel_wandb.metrics.histogram import AnyHistogram
from otel_wandb.statistics.draws import merge_bins

Edges: TypeAlias = tuple[float, ...]


def fit_edges(edges: Edges, histograms: Sequence[AnyHistogram]) -> Edges:
    """The edges that no bucket with values lies across: with these, each value is in its bin for certain.

    Buckets count with the ends of their scale. Narrowed to the smallest and largest value, the same values
    would lie in other bins from interval to interval.
    """
    return leave_whole(edges, (bucket for histogram in histograms for bucket in histogram.list_buckets()))


def count_into(edges: Edges, histograms: Sequence[AnyHistogram]) -> list[int]:
    """How many values lie in each bin, `edges[i-1] < value <= edges[i]`; one bin more than edges.

    A bucket that lies across an edge counts where its upper end is.
    """
    counts = [0] * (len(edges) + 1)
    for histogram in histograms:
        for bucket in histogram.list_buckets():
            counts[bisect_left(edges, bucket.high)] += bucket.size
    return counts


def regroup(counts: Sequence[int], edges: Edges, kept: Edges) -> list[int]:
    """The same counts in the bins of some of the edges."""
    coarse = [0] * (len(kept) + 1)
    for i, count in enumerate(counts):
        coarse[bisect_left(kept, edges[i]) if i < len(edges) else len(kept)] += count
    return coarse


def thin_edges(edges: Edges, counts: Sequence[int], limit: int = 62) -> Edges:
    """At most so many of the edges: bins of about the same counts, and some of their own for the tails."""
    starts = merge_bins(np.asarray(counts, dtype=np.int64), limit + 1)
    return tuple(edges[start - 1] for start in starts[1:])
