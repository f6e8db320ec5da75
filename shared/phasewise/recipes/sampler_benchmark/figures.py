"""Best score so far of search algorithms against their trials, over repeated searches."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import plotly.graph_objects as go

from phasewise.figures.style import MethodStyle, add_band, new_figure, shorten
from phasewise.statistics import Interval, find_bounds, mean_interval


@dataclass(frozen=True)
class AnytimeCurve:
    """One algorithm; the k-th value is the mean over searches of the best of k + 1 trials."""

    name: str
    values: tuple[float, ...]
    intervals: tuple[Interval, ...]  # 95 % of the mean, over searches


@dataclass(frozen=True)
class AnytimeCurves:
    """All algorithms, in the order given."""

    metric: str
    curves: tuple[AnytimeCurve, ...]


def compute_anytime(
    metric: str, searches: Mapping[str, Sequence[Sequence[float]]]
) -> AnytimeCurves:
    """Computes each algorithm's mean best score so far, with the 95 % interval of the mean.

    Args:
        metric: Name of the score.
        searches: Algorithm to the best so far after each trial: (searches, trials), two or more
            searches of one length.
    """
    curves = []
    for name, rows in searches.items():
        columns = list(zip(*rows, strict=True))  # (trials, searches)
        intervals = [mean_interval(column, find_bounds(metric)) for column in columns]
        known = tuple(each for each in intervals if each is not None)
        curves.append(AnytimeCurve(name, tuple(fmean(column) for column in columns), known))
    return AnytimeCurves(metric, tuple(curves))


def draw_anytime(curves: AnytimeCurves, styles: Mapping[str, MethodStyle]) -> go.Figure:
    """Draws the means with their 95 % bands."""
    figure = new_figure("trials of a search", f"best {curves.metric} so far")
    seen: set[MethodStyle] = set()
    for curve in curves.curves:
        x = list(range(1, len(curve.values) + 1))
        style = styles[curve.name]
        if curve.intervals:
            add_band(figure, x, curve.intervals, style.color)
        figure.add_scatter(
            x=x,
            y=[shorten(value) for value in curve.values],
            mode="lines+markers",
            line={"color": style.color, "width": 2, "dash": "dot" if style in seen else "solid"},
            marker={"symbol": style.symbol, "size": 5, "color": style.color},
            name=curve.name,
            hovertemplate=f"{curve.name}, %{{x}} trials: %{{y:.4f}}<extra></extra>",
        )
        seen.add(style)  # there are eight styles; a ninth algorithm is dotted
    return figure
