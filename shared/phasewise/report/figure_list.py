"""The figures of the report, one row each, in the order of the page."""

from collections.abc import Sequence

from phasewise.figures import (
    correlation,
    cost_quality,
    curves,
    expected_best,
    history,
    importance,
    overview,
    parallel,
    seed_scores,
    set_agreement,
    slices,
)
from phasewise.figures.style import MethodStyle
from phasewise.learning import find_floor
from phasewise.live import LiveRun
from phasewise.records import RunRecord
from phasewise.report.drawing import Figure, Styles, UnitSource
from phasewise.report.evidence import TaskEvidence
from phasewise.report.gains import find_strongest
from phasewise.report.learning import find_learned
from phasewise.settings import is_pooled


def _compute_overview(tasks: Sequence[TaskEvidence]) -> overview.Overview:
    """Tasks of one scale share an axis; where there are none the first task stands alone."""
    chosen = [task for task in tasks if is_pooled(task.metric)] or list(tasks[:1])
    rows = []
    for task in chosen:
        floor = find_floor(task.baselines) if task.baselines else None
        best = find_strongest(task)
        above = best if best and floor and best.name != floor.name else None
        learned = {unit.method for unit in find_learned(task)}
        rows += [
            overview.OverviewRow(
                task.task,
                unit.method,
                unit.validation.mean,
                unit.interval[0],
                floor.report_score if floor else None,
                unit.method in learned,
                above.report_score if above else None,
            )
            for unit in task.units
            if unit.validation.mean is not None
        ]
    return overview.Overview(overview.join_metrics([t.metric for t in chosen]), tuple(rows))


#: Of the study: what answers first.
STUDY_FIGURES: tuple[Figure[Sequence[TaskEvidence], Styles], ...] = (
    Figure(
        name="answer",
        title="Phase 2: mean and 95 % interval beside what needs no training",
        compute=_compute_overview,
        needs=lambda found: found.rows,
        draw=overview.draw_overview,
        describe=overview.describe_overview,
        note=lambda found: (
            "" if all(row.learned for row in found.rows) else "Pale: has not learned."
        ),
        wide=True,
        main=True,
    ),
)
#: Of each task.
TASK_FIGURES: tuple[Figure[TaskEvidence, Styles], ...] = (
    Figure(
        name="seeds",
        title="Phase 2, seed by seed",
        compute=lambda task: seed_scores.compute_seed_scores(
            task.metric,
            {unit.method: unit.validation.scores for unit in task.units},
            {unit.method: unit.default_report.mean for unit in task.units},
            {unit.method: unit.interval[0] for unit in task.units},
        ),
        needs=lambda seeds: seeds.groups,
        draw=seed_scores.draw_seed_scores,
        describe=seed_scores.describe_seed_scores,
        main=True,
    ),
    Figure(
        name="budget-trials",
        title="Expected best at equal trials (their order ignored)",
        compute=lambda task: expected_best.compute_budget_curves(
            {unit.method: unit.trials for unit in task.units}
        ),
        needs=lambda budgets: budgets.curves,
        draw=lambda budgets, styles: expected_best.draw_budget_curves(budgets, styles, "trials"),
        describe=expected_best.describe_budget_curves,
        main=True,
    ),
    Figure(
        name="budget-seconds",
        title="Expected best at equal seconds (order of trials ignored)",
        compute=lambda task: expected_best.compute_budget_curves(
            {unit.method: unit.trials for unit in task.units}
        ),
        needs=lambda budgets: any(curve.seconds is not None for curve in budgets.curves),
        draw=lambda budgets, styles: expected_best.draw_budget_curves(budgets, styles, "seconds"),
        describe=expected_best.describe_budget_curves,
    ),
    Figure(
        name="cost",
        title="Cost against quality",
        compute=lambda task: cost_quality.compute_cost_quality(
            {unit.method: list(unit.seed_runs().values()) for unit in task.units}
        ),
        needs=lambda costs: costs.panels,
        draw=cost_quality.draw_cost_quality,
        describe=cost_quality.describe_cost_quality,
        wide=True,
        main=True,
    ),
    Figure(
        name="sets",
        title="Report score against search score",
        compute=lambda task: set_agreement.compute_set_agreement(
            task.metric,
            {
                unit.method: [*unit.records["phase0"], *unit.records["phase2"]]
                for unit in task.units
            },
        ),
        needs=lambda agreement: agreement.scores,
        draw=set_agreement.draw_set_agreement,
        describe=set_agreement.describe_set_agreement,
        note=lambda _: "Runs of Phase 0 and 2. Off the line, the sets differ in difficulty.",
    ),
)

#: Of runs under way, with those of their phase that have ended: the live page and a run's page.
LIVE_FIGURES: tuple[Figure[Sequence[RunRecord | LiveRun], MethodStyle], ...] = (
    Figure(
        name="live-curves",
        title="Search-set score",
        compute=curves.compute_learning_curves,
        needs=lambda found: found.search,
        draw=curves.draw_search_curves,
        describe=curves.describe_search_curves,
    ),
    Figure(
        name="live-loss",
        title="Training loss",
        compute=curves.compute_learning_curves,
        needs=lambda found: found.loss,
        draw=curves.draw_loss_curves,
        describe=curves.describe_loss_curves,
    ),
)

#: Of each unit: its search, what it says about the parameters, its learning curves.
UNIT_FIGURES: tuple[Figure[UnitSource, MethodStyle], ...] = (
    Figure(
        name="history",
        title="Optimization history",
        compute=lambda source: history.compute_history(source.unit.trials),
        needs=lambda found: found.points,
        draw=history.draw_history,
        describe=history.describe_history,
    ),
    Figure(
        name="importance",
        title="Importance of hyperparameters",
        compute=lambda source: importance.compute_importance(source.trials),
        needs=lambda found: found.parameters,
        draw=importance.draw_importance,
        describe=importance.describe_importance,
        note=lambda found: found.warning,
    ),
    Figure(
        name="correlation",
        title="Correlation of hyperparameters",
        compute=lambda source: correlation.compute_correlation(source.trials),
        needs=lambda found: found.strongest(),
        draw=lambda found, _: correlation.draw_correlation(found),
        describe=correlation.describe_correlation,
        note=correlation.note_correlation,
    ),
    Figure(
        name="slices",
        title="Score against each hyperparameter",
        compute=lambda source: slices.compute_slices(
            source.trials, source.unit.optimum.range_flags if source.unit.optimum else ()
        ),
        needs=lambda found: found.panels and found.scored,
        draw=slices.draw_slices,
        describe=slices.describe_slices,
        note=lambda found: "The star is the best trial." if found.trials.best is not None else "",
        wide=True,
    ),
    Figure(
        name="parallel",
        title="Parallel coordinates",
        compute=lambda source: parallel.compute_parallel(source.trials),
        needs=lambda found: found.lines and len(found.axes) > 2,  # one is the score
        draw=parallel.draw_parallel,
        describe=parallel.describe_parallel,
        wide=True,
    ),
    Figure(
        name="curves",
        title="Search-set score",
        compute=lambda source: curves.compute_learning_curves(source.unit.trials, source.best),
        needs=lambda found: found.search,
        draw=curves.draw_search_curves,
        describe=curves.describe_search_curves,
    ),
    Figure(
        name="loss",
        title="Training loss",
        compute=lambda source: curves.compute_learning_curves(source.unit.trials, source.best),
        needs=lambda found: found.loss,
        draw=curves.draw_loss_curves,
        describe=curves.describe_loss_curves,
    ),
)
