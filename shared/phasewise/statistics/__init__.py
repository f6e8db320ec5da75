"""Statistics of scores over seeds and tasks: summaries, intervals, power; NumPy and SciPy only."""

from phasewise.statistics.seeds import (
    Interval,
    PairedDifference,
    bootstrap_interval,
    compare_paired,
    summarise_scores,
    t_interval,
)

__all__ = [
    "Interval",
    "PairedDifference",
    "bootstrap_interval",
    "compare_paired",
    "summarise_scores",
    "t_interval",
]
