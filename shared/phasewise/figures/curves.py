"""Learning curves of one unit's runs: search-set score by epoch, training loss by step."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import plotly.graph_objects as go

from phasewise.figures.style import NEUTRAL, MethodStyle, new_figure, shorten
from phasewise.live import LiveRun
from phasewise.records import RunRecord, RunStatus

#: Points of a loss curve that are drawn; more cannot be told apart in a third of a screen.
LOSS_POINTS = 60


@dataclass(frozen=True)
class Curve:
    """One run's curve; ``x`` and ``y`` have the same length."""

    name: str
    status: RunStatus | Literal["running"]
    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True)
class LearningCurves:
    """All curves of a set of runs; a run that never got to a point has none."""

    metric: str
    search: tuple[Curve, ...]  # x: epochs, y: the task's metric on the search set
    loss: tuple[Curve, ...]  # x: optimizer steps, y: training loss, averaged in bins
    highlighted: str | None  # name of the run to bring out


def compute_learning_curves(
    records: Sequence[RunRecord | LiveRun], highlighted: str | None = None
) -> LearningCurves:
    """Computes the learning curves of runs of one unit.

    Args:
        records: In the order of the legend; runs of any status.
        highlighted: Name of the run that is drawn bold, such as the best trial's.
    """
    metric = records[0].config.unit_config.task.metric if records else ""
    search = [_search_curve(record, metric) for record in records]
    loss = [_loss_curve(record) for record in records]
    return LearningCurves(
        metric=metric,
        search=tuple(curve for curve in search if curve.x),
        loss=tuple(curve for curve in loss if curve.x),
        highlighted=highlighted,
    )


def draw_search_curves(curves: LearningCurves, style: MethodStyle) -> go.Figure:
    """Draws the search-set score by epoch; pruned runs are dotted and end in a cross."""
    figure = new_figure("epoch", f"{curves.metric}, search set")
    return _draw(figure, curves.search, curves.highlighted, style)


def draw_loss_curves(curves: LearningCurves, style: MethodStyle) -> go.Figure:
    """Draws the training loss by optimizer step."""
    figure = new_figure("optimizer step", "training loss")
    return _draw(figure, curves.loss, curves.highlighted, style)


def describe_search_curves(curves: LearningCurves) -> str:
    """Returns what is shown."""
    return f"{curves.metric} on the search set by epoch, {len(curves.search)} trials."


def describe_loss_curves(curves: LearningCurves) -> str:
    """Returns what is shown."""
    return f"training loss by step, {len(curves.loss)} trials."


def _search_curve(record: RunRecord | LiveRun, metric: str) -> Curve:
    points = [(e.epoch, e.metrics[metric]) for e in record.evaluations if metric in e.metrics]
    x, y = tuple(x for x, _ in points), tuple(y for _, y in points)
    return Curve(record.config.name, record.status, x, y)


def _loss_curve(record: RunRecord | LiveRun) -> Curve:
    steps = np.array([point.step for point in record.train_points], dtype=float)
    losses = np.array([point.loss for point in record.train_points])
    bins = min(LOSS_POINTS, len(steps))
    parts = zip(np.array_split(steps, bins or 1), np.array_split(losses, bins or 1), strict=True)
    means = [(float(s.mean()), float(y.mean())) for s, y in parts if len(s)]
    x, y = tuple(x for x, _ in means), tuple(y for _, y in means)
    return Curve(record.config.name, record.status, x, y)


def _draw(
    figure: go.Figure, curves: Sequence[Curve], highlighted: str | None, style: MethodStyle
) -> go.Figure:
    shown: set[str] = set()
    last = lambda each: (each.status == "running", each.name == highlighted)  # noqa: E731
    for curve in sorted(curves, key=last):
        kind = _kind(curve, highlighted)
        bold = kind in {"best trial", "running"} or len(curves) == 1
        pruned = curve.status == "pruned"
        figure.add_scatter(
            x=[shorten(x) for x in curve.x],
            y=[shorten(y) for y in curve.y],
            mode="lines+markers" if len(curve.x) < 2 or pruned or kind == "running" else "lines",
            line={
                "color": style.color if bold or kind == "trial" else NEUTRAL,
                "width": 3 if bold else 1.5,
                "dash": "dot" if pruned else "solid",
            },
            marker={
                "symbol": "circle" if kind == "running" else "x",
                "size": [0] * (len(curve.x) - 1) + [7],
            },
            opacity=1.0 if bold else 0.5,
            name=kind,
            legendgroup=kind,
            showlegend=kind not in shown,
            hovertemplate=f"{curve.name}: %{{y:.4f}} at %{{x}}<extra></extra>",
        )
        shown.add(kind)
    return figure


def _kind(curve: Curve, highlighted: str | None) -> str:
    if curve.name == highlighted:
        return "best trial"
    return "trial" if curve.status == "finished" else curve.status
