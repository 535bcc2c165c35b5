"""Tests, detectors and intervals: pure functions of counts. NumPy and SciPy, no I/O, no clock.

Every public function names its null hypothesis, what it guarantees under it, and where that is from.
"""

from otel_wandb.statistics.comparison import Comparison
from otel_wandb.statistics.concentration import EntropyChange, compare_entropy
from otel_wandb.statistics.detector import DriftDetector, Verdict, split_reference
from otel_wandb.statistics.discoveries import discover, q_values
from otel_wandb.statistics.means import FallDetector, mean_sequence
from otel_wandb.statistics.proportions import Interval, burn_rate, compare_proportions, newcombe, wilson
from otel_wandb.statistics.two_sample import Distance, TwoSample, two_sample, two_sample_strata

__all__ = [
    "Comparison",
    "Distance",
    "DriftDetector",
    "EntropyChange",
    "FallDetector",
    "Interval",
    "TwoSample",
    "Verdict",
    "burn_rate",
    "compare_entropy",
    "compare_proportions",
    "discover",
    "mean_sequence",
    "newcombe",
    "q_values",
    "split_reference",
    "two_sample",
    "two_sample_strata",
    "wilson",
]
