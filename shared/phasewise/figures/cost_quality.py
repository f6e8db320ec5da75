"""Cost beside quality: which methods are best for what they cost."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from phasewise.figures.style import NEUTRAL, MethodStyle, new_figure, shorten
from phasewise.records import RunCost, RunRecord

#: What a run costs, less is better, and how it is read off.
_COSTS: dict[str, Callable[[RunCost], float | None]] = {
    "seconds": lambda cost: cost.total_seconds,
    "peak MB": lambda cost: cost.peak_memory_mb,
    "trainable": lambda cost: cost.trainable_parameters,
    "saved MB": lambda cost: None if cost.adapter_bytes is None else cost.adapter_bytes / 1e6,
    "s per 1 k tokens": lambda cost: (
        1000 * cost.train_seconds / cost.train_tokens if cost.train_tokens else None
    ),
}


@dataclass(frozen=True)
class CostPoint:
    """One method's mean score and median cost over its runs."""

    method: str
    cost: float
    score: float
    on_front: bool  # no other method is at least as good and as cheap, and better in one


@dataclass(frozen=True)
class CostQuality:
    """For each cost that was measured, the methods that have it."""

    metric: str
    panels: Mapping[str, tuple[CostPoint, ...]]


def compute_cost_quality(runs: Mapping[str, Sequence[RunRecord]]) -> CostQuality:
    """Computes score on the report set against every cost, with the Pareto front of each.

    Args:
        runs: Method to its runs of Phase 2; those without a score or a cost count for nothing.
    """
    known = {
        method: [r for r in records if r.report_score is not None and r.cost is not None]
        for method, records in runs.items()
    }
    known = {method: records for method, records in known.items() if records}
    if not known:
        return CostQuality("", {})
    task = next(iter(known.values()))[0].config.unit_config.task
    sign = 1 if task.direction == "maximize" else -1
    scores = {m: fmean(r.report_score or 0.0 for r in records) for m, records in known.items()}
    panels = {}
    for name, read in _COSTS.items():
        costs = {}
        for method, records in known.items():
            values = [v for r in records if r.cost is not None and (v := read(r.cost)) is not None]
            if values:
                costs[method] = float(median(values))
        if costs:
            panels[name] = _find_front(costs, scores, sign)
    return CostQuality(task.metric, panels)


def draw_cost_quality(value: CostQuality, styles: Mapping[str, MethodStyle]) -> go.Figure:
    """Draws a panel a cost, on a logarithmic axis; the line joins the methods on the front."""
    names = list(value.panels)
    figure = make_subplots(rows=1, cols=max(len(names), 1), shared_yaxes=True)
    figure.update_layout(new_figure("", "").layout)
    for column, name in enumerate(names, start=1):
        points = value.panels[name]
        front = sorted((p for p in points if p.on_front), key=lambda point: point.cost)
        figure.add_scatter(
            x=[shorten(point.cost) for point in front],
            y=[shorten(point.score) for point in front],
            mode="lines",
            line={"color": NEUTRAL, "dash": "dot"},
            hoverinfo="skip",
            showlegend=False,
            row=1,
            col=column,
        )
        for point in points:
            _add_point(figure, point, styles[point.method], column, name)
        # A logarithm needs something above zero; a frozen model trains no parameter.
        scale = "log" if all(point.cost > 0 for point in points) else "linear"
        figure.update_xaxes(title_text=name, type=scale, nticks=4, row=1, col=column)
    figure.update_yaxes(title_text=f"{value.metric}, report set", row=1, col=1)
    return figure


def _find_front(
    costs: Mapping[str, float], scores: Mapping[str, float], sign: int
) -> tuple[CostPoint, ...]:
    def beaten(method: str) -> bool:
        cost, score = costs[method], sign * scores[method]
        return any(
            other_cost <= cost
            and sign * scores[other] >= score
            and (other_cost < cost or sign * scores[other] > score)
            for other, other_cost in costs.items()
        )

    return tuple(
        CostPoint(method, cost, scores[method], not beaten(method))
        for method, cost in costs.items()
    )


def _add_point(
    figure: go.Figure, point: CostPoint, style: MethodStyle, column: int, name: str
) -> None:
    figure.add_scatter(
        x=[shorten(point.cost)],
        y=[shorten(point.score)],
        mode="markers",
        marker={"symbol": style.symbol, "size": 11, "color": style.colour},
        name=point.method,
        legendgroup=point.method,
        showlegend=column == 1,
        hovertemplate=f"{point.method}<br>{name} %{{x:.4g}}<br>%{{y:.4f}}<extra></extra>",
        row=1,
        col=column,
    )
