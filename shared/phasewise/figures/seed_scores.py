"""Phase 2 of one task: every seed's score on the report set, with mean and interval."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from phasewise.figures.style import NEUTRAL, MethodStyle, new_figure, shorten
from phasewise.formatting import show_score
from phasewise.statistics import Interval, find_bounds, mean_interval, summarize_scores


@dataclass(frozen=True)
class SeedGroup:
    """One method's seeds."""

    method: str
    scores: tuple[float, ...]
    mean: float
    interval: Interval | None  # 95 %; None with a single seed
    default_mean: float | None  # the published default on the same report set, from Phase 0


@dataclass(frozen=True)
class SeedScores:
    """All methods of a task that have a score, in the order given."""

    metric: str
    groups: tuple[SeedGroup, ...]


def compute_seed_scores(
    metric: str,
    scores: Mapping[str, Sequence[float]],
    default_means: Mapping[str, float | None] | None = None,
    intervals: Mapping[str, Interval | None] | None = None,
) -> SeedScores:
    """Computes mean and interval of each method; methods without a score are left out.

    Args:
        metric: Of the task.
        scores: Method to one score per seed.
        default_means: Method to the mean of its published default, where there is one.
        intervals: Method to the interval of its mean; None: over the seeds alone.
    """
    groups = []
    for method, values in scores.items():
        summary = summarize_scores(values)
        if summary.mean is not None:
            default = (default_means or {}).get(method)
            alone = mean_interval(values, find_bounds(metric))
            interval = alone if intervals is None else intervals[method]
            group = SeedGroup(method, summary.scores, summary.mean, interval, default)
            groups.append(group)
    return SeedScores(metric, tuple(groups))


def draw_seed_scores(seeds: SeedScores, styles: Mapping[str, MethodStyle]) -> go.Figure:
    """Draws one dot per seed, the mean with its 95 % interval, and the published default's mean."""
    figure = new_figure(f"{seeds.metric}, report set", "")
    for group in seeds.groups:
        style = styles[group.method]
        _add_dots(figure, group, style)
        _add_mean(figure, group, style)
    defaults = [group for group in seeds.groups if group.default_mean is not None]
    if defaults:
        figure.add_scatter(
            x=[shorten(group.default_mean or 0.0) for group in defaults],
            y=[group.method for group in defaults],
            mode="markers",
            marker={"symbol": "line-ns", "size": 18, "line": {"width": 2, "color": NEUTRAL}},
            name="published default, mean",
            hovertemplate="published default: %{x:.4f}<extra></extra>",
        )
    names = [group.method for group in seeds.groups]
    figure.update_yaxes(categoryorder="array", categoryarray=names[::-1], type="category")
    figure.update_layout(height=130 + 52 * max(len(names), 1))
    return figure


def describe_seed_scores(seeds: SeedScores) -> str:
    """Returns the mean of each method."""
    means = ", ".join(f"{group.method} {show_score(group.mean)}" for group in seeds.groups)
    return f"mean {seeds.metric} over seeds on the report set: {means}."


def _add_dots(figure: go.Figure, group: SeedGroup, style: MethodStyle) -> None:
    figure.add_scatter(
        x=[shorten(score) for score in group.scores],
        y=[group.method] * len(group.scores),
        mode="markers",
        marker={"symbol": style.symbol, "size": 9, "color": style.color, "opacity": 0.6},
        showlegend=False,
        hovertemplate="one seed: %{x:.4f}<extra></extra>",
    )


def _add_mean(figure: go.Figure, group: SeedGroup, style: MethodStyle) -> None:
    bars: dict[str, Any] = {}
    if group.interval is not None:
        above, below = group.interval.high - group.mean, group.mean - group.interval.low
        bars = {"array": [shorten(above)], "arrayminus": [shorten(below)]}
    figure.add_scatter(
        x=[shorten(group.mean)],
        y=[group.method],
        mode="markers",
        marker={"symbol": style.symbol, "size": 14, "color": style.color},
        error_x={**bars, "thickness": 2.5, "width": 7} if bars else None,
        showlegend=False,
        hovertemplate=f"mean of {len(group.scores)}: %{{x:.4f}}<extra></extra>",
    )
