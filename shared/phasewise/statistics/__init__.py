"""Statistics of scores over seeds and tasks: summaries, intervals, power; NumPy and SciPy only.

Its modules ``import scipy`` and write ``scipy.stats.t``: SciPy loads such a part when it is first
used, so that a controller which only takes means does not wait 0.6 s for it.
"""

from phasewise.statistics.bounded import (
    UNBOUNDED,
    Bounds,
    bounded_difference,
    bounded_interval,
    find_bounds,
    mean_interval,
)
from phasewise.statistics.comparison import (
    Comparison,
    bootstrap_crossed,
    compare_crossed,
    compare_seeds,
    correct_holm,
    pool_comparisons,
)
from phasewise.statistics.cost_model import TotalCost, predict_total
from phasewise.statistics.designs import DESIGN_RUNS, balanced_design, smallest_design
from phasewise.statistics.detectable import (
    WORTHWHILE_SEEDS,
    SeedsNeeded,
    detectable_difference,
    estimate_seeds_needed,
    examples_to_resolve,
    planned_detectable,
    seeds_to_resolve,
)
from phasewise.statistics.expected_best import ExpectedBest, expect_best
from phasewise.statistics.importance import (
    TRUSTED_TRIALS,
    ParameterImportance,
    estimate_importance,
)
from phasewise.statistics.part_effects import (
    PartEffect,
    PartEffects,
    estimate_part_effects,
    split_linearly,
)
from phasewise.statistics.power import (
    accuracy_standard_error,
    expected_gap,
    seeds_needed,
    share_standard_error,
    smallest_detectable_difference,
    welch_power,
)
from phasewise.statistics.seeds import (
    LEVEL,
    Interval,
    bootstrap_interval,
    pooled_sd,
    summarize_scores,
)
from phasewise.statistics.superiority import (
    interquartile_mean,
    pool_intervals,
    prob_superiority,
    prob_superiority_interval,
)

__all__ = [
    "DESIGN_RUNS",
    "LEVEL",
    "TRUSTED_TRIALS",
    "UNBOUNDED",
    "WORTHWHILE_SEEDS",
    "Bounds",
    "Comparison",
    "ExpectedBest",
    "Interval",
    "ParameterImportance",
    "PartEffect",
    "PartEffects",
    "SeedsNeeded",
    "TotalCost",
    "accuracy_standard_error",
    "balanced_design",
    "bootstrap_crossed",
    "bootstrap_interval",
    "bounded_difference",
    "bounded_interval",
    "compare_crossed",
    "compare_seeds",
    "correct_holm",
    "detectable_difference",
    "estimate_importance",
    "estimate_part_effects",
    "estimate_seeds_needed",
    "examples_to_resolve",
    "expect_best",
    "expected_gap",
    "find_bounds",
    "interquartile_mean",
    "mean_interval",
    "planned_detectable",
    "pool_comparisons",
    "pool_intervals",
    "pooled_sd",
    "predict_total",
    "prob_superiority",
    "prob_superiority_interval",
    "seeds_needed",
    "seeds_to_resolve",
    "share_standard_error",
    "smallest_design",
    "smallest_detectable_difference",
    "split_linearly",
    "summarize_scores",
    "welch_power",
]
