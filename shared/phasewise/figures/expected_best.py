"""Expected best score of a search against its budget, in trials and in seconds, per method."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

import plotly.graph_objects as go

from phasewise.figures.history import last_score
from phasewise.figures.style import MethodStyle, add_band, new_figure, shorten
from phasewise.formatting import show_score
from phasewise.records import RunRecord
from phasewise.statistics import Interval, expect_best


@dataclass(frozen=True)
class BudgetCurve:
    """One method's search; the k-th value is the expected best of k + 1 trials."""

    method: str
    values: tuple[float, ...]
    intervals: tuple[Interval, ...]
    seconds: float | None  # mean per trial; None if no trial has a cost
    without_score: int  # trials that failed; they count with the worst score seen


@dataclass(frozen=True)
class BudgetCurves:
    """All methods of a task that have a scored trial, in the order given."""

    metric: str
    curves: tuple[BudgetCurve, ...]


def compute_budget_curves(trials: Mapping[str, Sequence[RunRecord]]) -> BudgetCurves:
    """Computes each method's expected best value for every budget up to the one it spent.

    Trials are taken in any order, as if all were drawn alike; where a model proposed the later
    ones, small budgets look better than they are.

    Args:
        trials: Method to the records of its trials; a pruned one counts with its last score.
    """
    curves, metric = [], ""
    for method, records in trials.items():
        scores = [score for record in records if (score := last_score(record)) is not None]
        if not scores:
            continue
        task = records[0].config.unit_config.task
        metric, maximize = task.metric, task.direction == "maximize"
        lost = len(records) - len(scores)
        worst = min(scores) if maximize else max(scores)
        best = expect_best([*scores, *[worst] * lost], maximize=maximize)
        costs = [record.cost.total_seconds for record in records if record.cost is not None]
        seconds = fmean(costs) if costs else None
        curves.append(BudgetCurve(method, best.values, best.intervals, seconds, lost))
    return BudgetCurves(metric, tuple(curves))


def draw_budget_curves(
    curves: BudgetCurves, styles: Mapping[str, MethodStyle], budget: Literal["trials", "seconds"]
) -> go.Figure:
    """Draws the curves with their 95 % bands; in seconds, methods without a cost are left out."""
    figure = new_figure(f"{budget} of search", f"expected best {curves.metric}")
    for curve in curves.curves:
        step = 1.0 if budget == "trials" else curve.seconds
        if step is None:
            continue
        x = [shorten(step * count) for count in range(1, len(curve.values) + 1)]
        color = styles[curve.method].color
        add_band(figure, x, curve.intervals, color)
        figure.add_scatter(
            x=x,
            y=[shorten(value) for value in curve.values],
            mode="lines+markers",
            line={"color": color, "width": 2},
            marker={"symbol": styles[curve.method].symbol, "size": 6, "color": color},
            name=curve.method,
            hovertemplate=f"{curve.method}, %{{x}} {budget}: %{{y:.4f}}<extra></extra>",
        )
    return figure


def describe_budget_curves(curves: BudgetCurves) -> str:
    """Returns where each method's curve ends."""
    ends = ", ".join(
        f"{curve.method} {show_score(curve.values[-1])} after {len(curve.values)} trials"
        for curve in curves.curves
    )
    return f"expected best score of a search against its budget: {ends}."
