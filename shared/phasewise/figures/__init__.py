"""Figures: each is computed as a small frozen value, then drawn; two functions."""

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
from phasewise.figures.seed_scores import (
    SeedGroup,
    SeedScores,
    compute_seed_scores,
    draw_seed_scores,
)
from phasewise.figures.style import DARK, LIGHT, MethodStyle, assign_styles

__all__ = [
    "DARK",
    "LIGHT",
    "BudgetCurve",
    "BudgetCurves",
    "CostPoint",
    "CostQuality",
    "Curve",
    "LearningCurves",
    "MethodStyle",
    "SearchHistory",
    "SeedGroup",
    "SeedScores",
    "TrialPoint",
    "assign_styles",
    "compute_budget_curves",
    "compute_cost_quality",
    "compute_history",
    "compute_learning_curves",
    "compute_seed_scores",
    "draw_budget_curves",
    "draw_cost_quality",
    "draw_history",
    "draw_loss_curves",
    "draw_search_curves",
    "draw_seed_scores",
]
