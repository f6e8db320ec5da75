"""The figures of one task: seeds, expected best against budget, cost against quality."""

from collections.abc import Mapping

from phasewise.figures import (
    MethodStyle,
    compute_budget_curves,
    compute_cost_quality,
    compute_seed_scores,
    draw_budget_curves,
    draw_cost_quality,
    draw_seed_scores,
)
from phasewise.report.drawing import Drawing
from phasewise.report.evidence import TaskEvidence
from phasewise.report.formatting import join_words, show_score


def draw_task(task: TaskEvidence, styles: Mapping[str, MethodStyle]) -> tuple[Drawing, ...]:
    """Returns the figures of a task; those that have nothing to show are left out."""
    drawings = [_draw_seeds(task, styles), *_draw_budgets(task, styles), _draw_cost(task, styles)]
    return tuple(drawing for drawing in drawings if drawing is not None)


def _draw_budgets(task: TaskEvidence, styles: Mapping[str, MethodStyle]) -> list[Drawing]:
    curves = compute_budget_curves({unit.method: unit.trials for unit in task.units})
    if not curves.curves:
        return []
    ends = ", ".join(
        f"{curve.method} {show_score(curve.values[-1])} after {len(curve.values)} trials"
        for curve in curves.curves
    )
    words = f"{task.task}: expected best score of a search against its budget: {ends}."
    drawings = [
        Drawing(
            f"budget-trials-{task.task}",
            "Expected best at equal trials (their order ignored)",
            words,
            draw_budget_curves(curves, styles, "trials"),
            main=True,
        )
    ]
    if any(curve.seconds is not None for curve in curves.curves):
        figure = draw_budget_curves(curves, styles, "seconds")
        title = "Expected best at equal seconds (order of trials ignored)"
        drawings.append(Drawing(f"budget-seconds-{task.task}", title, words, figure))
    return drawings


def _draw_cost(task: TaskEvidence, styles: Mapping[str, MethodStyle]) -> Drawing | None:
    runs = {unit.method: list(unit.seed_runs().values()) for unit in task.units}
    value = compute_cost_quality(runs)
    if not value.panels:
        return None
    fronts = "; ".join(
        f"{name}: {join_words([point.method for point in points if point.on_front])}"
        for name, points in value.panels.items()
    )
    words = f"{task.task}: score against cost; not outdone in {fronts}."
    figure = draw_cost_quality(value, styles)
    return Drawing(f"cost-{task.task}", "Cost against quality", words, figure, wide=True, main=True)


def _draw_seeds(task: TaskEvidence, styles: Mapping[str, MethodStyle]) -> Drawing | None:
    scores = {unit.method: unit.validation.scores for unit in task.units}
    defaults = {unit.method: unit.default_report.mean for unit in task.units}
    computed = compute_seed_scores(task.metric, scores, defaults)
    if not computed.groups:
        return None
    means = ", ".join(f"{group.method} {show_score(group.mean)}" for group in computed.groups)
    words = f"{task.task}: mean {task.metric} over seeds on the report set: {means}."
    figure = draw_seed_scores(computed, styles)
    return Drawing(f"seeds-{task.task}", "Phase 2, seed by seed", words, figure, main=True)
