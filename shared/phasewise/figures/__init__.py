"""Figures: each is computed as a small frozen value, then drawn; two functions."""

from phasewise.figures.correlation import Correlation, compute_correlation, draw_correlation
from phasewise.figures.cost_quality import (
    CostPoint,
    CostQuality,
    compute_cost_quality,
    draw_cost_quality,
)
from phasewise.figures.curves import (
    Curve,
    LearningCurves,
    compute_learning_curves,
    draw_loss_curves,
    draw_search_curves,
)
from phasewise.figures.expected_best import (
    BudgetCurve,
    BudgetCurves,
    compute_budget_curves,
    draw_budget_curves,
)
from phasewise.figures.history import (
    SearchHistory,
    TrialPoint,
    compute_history,
    draw_history,
)
from phasewise.figures.importance import Importance, compute_importance, draw_importance
from phasewise.figures.parallel import Parallel, compute_parallel, draw_parallel
from phasewise.figures.searched import (
    SearchedParameter,
    SearchedTrial,
    SearchedTrials,
    collect_trials,
)
from phasewise.figures.seed_scores import (
    SeedGroup,
    SeedScores,
    compute_seed_scores,
    draw_seed_scores,
)
from phasewise.figures.slices import Slice, Slices, compute_slices, draw_slices
from phasewise.figures.style import DARK, LIGHT, MethodStyle, assign_styles

__all__ = [
    "DARK",
    "LIGHT",
    "BudgetCurve",
    "BudgetCurves",
    "Correlation",
    "CostPoint",
    "CostQuality",
    "Curve",
    "Importance",
    "LearningCurves",
    "MethodStyle",
    "Parallel",
    "SearchHistory",
    "SearchedParameter",
    "SearchedTrial",
    "SearchedTrials",
    "SeedGroup",
    "SeedScores",
    "Slice",
    "Slices",
    "TrialPoint",
    "assign_styles",
    "collect_trials",
    "compute_budget_curves",
    "compute_correlation",
    "compute_cost_quality",
    "compute_history",
    "compute_importance",
    "compute_learning_curves",
    "compute_parallel",
    "compute_seed_scores",
    "compute_slices",
    "draw_budget_curves",
    "draw_correlation",
    "draw_cost_quality",
    "draw_history",
    "draw_importance",
    "draw_loss_curves",
    "draw_parallel",
    "draw_search_curves",
    "draw_seed_scores",
    "draw_slices",
]
