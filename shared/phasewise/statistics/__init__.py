"""Statistics of scores over seeds and tasks: summaries, intervals, power; NumPy and SciPy only."""

from phasewise.statistics.power import (
    accuracy_standard_error,
    expected_gap,
    seeds_needed,
    smallest_detectable_difference,
    welch_power,
)
from phasewise.statistics.seeds import (
    Interval,
    PairedDifference,
    bootstrap_interval,
    compare_paired,
    pooled_sd,
    summarise_scores,
    t_interval,
)

__all__ = [
    "Interval",
    "PairedDifference",
    "accuracy_standard_error",
    "bootstrap_interval",
    "compare_paired",
    "expected_gap",
    "pooled_sd",
    "seeds_needed",
    "smallest_detectable_difference",
    "summarise_scores",
    "t_interval",
    "welch_power",
]
