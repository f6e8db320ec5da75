"""Optimization history of one unit: every trial's score and the best so far."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from phasewise.figures.style import NEUTRAL, MethodStyle, new_figure, shorten
from phasewise.formatting import show_score
from phasewise.records import RunRecord, RunStatus

#: Up to so many trials each has its own tick.
_FEW = 10
#: How a record says that its trial was drawn, to words and a mark.
_ORIGIN_NAMES: dict[str, tuple[str, str]] = {
    "default": ("published default", "square"),
    "earlier": ("best of the earlier search", "square"),
    "sobol": ("quasi-random", "circle"),
    "grid": ("grid", "circle"),
    "random": ("random", "circle"),
    "model": ("model-based", "diamond"),
    "unknown": ("trial", "circle"),
}


@dataclass(frozen=True)
class TrialPoint:
    """One trial that has a score."""

    number: int
    score: float
    status: RunStatus
    origin: str
    changed: str  # the hyperparameters that differ between the trials, for people


@dataclass(frozen=True)
class SearchHistory:
    """The trials of a unit in order."""

    metric: str
    points: tuple[TrialPoint, ...]
    best: tuple[float, ...]  # one per point: the best finished score up to it; NaN before one
    without_score: int  # trials that failed, diverged or did not fit


def compute_history(trials: Sequence[RunRecord]) -> SearchHistory:
    """Computes the history of a search.

    Args:
        trials: Records of one unit's trials, in any order; not its confirmations.

    Returns:
        Pruned trials have the score of their last evaluation and never become the best. Equal
        scores keep the earlier trial as best.
    """
    ordered = sorted(trials, key=lambda record: record.config.index)
    scored = [(record, score) for record in ordered if (score := last_score(record)) is not None]
    if not scored:
        return SearchHistory("", (), (), len(ordered))
    task = scored[0][0].config.unit_config.task
    varied = _varied_names(ordered)
    points = tuple(
        TrialPoint(
            number=record.config.index,
            score=score,
            status=record.status,
            origin=record.config.origin or "unknown",
            changed=_describe(record, varied),
        )
        for record, score in scored
    )
    best = _best_so_far(points, maximize=task.direction == "maximize")
    return SearchHistory(task.metric, points, best, len(ordered) - len(points))


def draw_history(history: SearchHistory, style: MethodStyle) -> go.Figure:
    """Draws a history: the best so far as steps, pruned trials as crosses."""
    figure = new_figure("trial", history.metric)
    figure.add_scatter(
        x=[point.number for point in history.points],
        y=[None if best != best else shorten(best) for best in history.best],
        mode="lines",
        line={"shape": "hv", "color": style.color, "width": 2},
        name="best so far",
        hoverinfo="skip",
    )
    ended = [point for point in history.points if point.status != "pruned"]
    for origin, (name, symbol) in _ORIGIN_NAMES.items():
        chosen = [point for point in ended if point.origin == origin]
        marker = {"symbol": symbol, "size": 10, "color": style.color}
        _add_points(figure, chosen, name, marker)
    if max((point.number for point in history.points), default=0) < _FEW:
        figure.update_xaxes(dtick=1)  # else trials are counted in halves
    pruned = [point for point in history.points if point.status == "pruned"]
    _add_points(figure, pruned, "pruned", {"symbol": "x", "size": 8, "color": NEUTRAL})
    return figure


def describe_history(history: SearchHistory) -> str:
    """Returns how many trials who proposed, and where the best so far ends."""
    ending = [best for best in history.best if best == best]
    reached = f", best so far ends at {show_score(ending[-1])}" if ending else ""
    counts = Counter(point.origin for point in history.points)
    words = ", ".join(f"{count} {origin}" for origin, count in counts.items())
    return f"score of {len(history.points)} trials ({words}){reached}."


def last_score(record: RunRecord) -> float | None:
    """Returns the score at the end of a run, or of its last evaluation if it was cut short."""
    if record.status not in {"finished", "pruned"}:
        return None
    if record.search_score is not None or not record.evaluations:
        return record.search_score
    return record.evaluations[-1].metrics.get(record.config.unit_config.task.metric)


def _best_so_far(points: Sequence[TrialPoint], *, maximize: bool) -> tuple[float, ...]:
    best, values = float("nan"), []
    for point in points:
        better = best != best or (point.score > best if maximize else point.score < best)
        if point.status == "finished" and better:
            best = point.score
        values.append(best)
    return tuple(values)


def _varied_names(records: Sequence[RunRecord]) -> list[str]:
    rows = [record.config.hyperparameters.model_dump() for record in records]
    return [name for name in rows[0] if len({row[name] for row in rows}) > 1]


def _describe(record: RunRecord, names: Sequence[str]) -> str:
    values = record.config.hyperparameters.model_dump()
    return "<br>".join(f"{name} {_show(values[name])}" for name in names)


def _show(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _add_points(
    figure: go.Figure, points: Sequence[TrialPoint], name: str, marker: dict[str, Any]
) -> None:
    if not points:
        return
    figure.add_scatter(
        x=[point.number for point in points],
        y=[shorten(point.score) for point in points],
        text=[point.changed for point in points],
        mode="markers",
        marker=marker,
        name=name,
        hovertemplate="trial %{x}: %{y:.4f}<br>%{text}<extra></extra>",
    )
