"""Experiments of a suite beside each other: score, memory, time, size, weights; all measured."""

from collections.abc import Callable, Mapping
from typing import Any

import plotly.graph_objects as go

from phasewise.figures.style import NEUTRAL, MethodStyle, assign_styles, new_figure, shorten
from phasewise.recipes.suites.results import Ablation, ExperimentResult
from phasewise.statistics import Interval


def draw_score_and_memory(value: Ablation, *, by_rank: bool) -> go.Figure:
    """Draws score (mean, 95 % interval) and peak memory of each experiment, side by side.

    Args:
        value: The suite's results.
        by_rank: Whether the horizontal axis holds LoRA ranks, else names.
    """
    known = [each for each in value.scored if each.mean is not None]
    x = [str(each.rank) if by_rank else each.name for each in known]
    axis = {
        "title": {"text": "LoRA rank" if by_rank else ""},
        "type": "category",
        "categoryorder": "array",
        "categoryarray": list(dict.fromkeys(x)),
    }
    figure = new_figure(
        "",
        f"{value.metric}, search set",
        xaxis={**axis, "domain": [0.0, 0.44]},
        xaxis2={**axis, "domain": [0.56, 1.0]},
        yaxis2={"title": {"text": "peak memory, MB"}, "anchor": "x2"},
    )
    means = [each.mean or 0.0 for each in known]
    ends = [each.interval or Interval(m, m) for each, m in zip(known, means, strict=True)]
    error = {
        "array": [shorten(end.high - mean) for end, mean in zip(ends, means, strict=True)],
        "arrayminus": [shorten(mean - end.low) for end, mean in zip(ends, means, strict=True)],
    }
    figure.add_scatter(
        x=x,
        y=[shorten(mean) for mean in means],
        error_y={**error, "thickness": 2, "width": 5},
        mode="markers",
        marker={"size": 10, "symbol": "circle", "color": "#1a7fc4"},
        showlegend=False,
        hovertemplate="%{x}: %{y:.4f}<extra></extra>",
    )
    measured = [(at, each.memory_mb) for at, each in zip(x, known, strict=True) if each.memory_mb]
    if not measured:
        return figure
    figure.add_scatter(
        x=[at for at, _ in measured],
        y=[shorten(memory) for _, memory in measured],
        mode="markers",
        marker={"size": 10, "symbol": "square", "color": "#d55e00"},
        showlegend=False,
        xaxis="x2",
        yaxis="y2",
        hovertemplate="%{x}: %{y:.4g} MB<extra></extra>",
    )
    return figure


def draw_frontier(value: Ablation) -> go.Figure:
    """Draws score against peak memory; the line joins experiments that no other beats in both."""
    known = [each for each in value.scored if each.memory_mb is not None]
    sign = 1.0 if value.direction == "maximize" else -1.0
    front = sorted(
        (each for each in known if not _is_beaten(each, known, sign)),
        key=lambda each: each.memory_mb or 0.0,
    )
    figure = new_figure("peak memory, MB", f"{value.metric}, search set")
    figure.add_scatter(
        x=[shorten(each.memory_mb or 0.0) for each in front],
        y=[shorten(each.mean or 0.0) for each in front],
        mode="lines",
        line={"color": NEUTRAL, "dash": "dot"},
        name="not beaten in both",
        hoverinfo="skip",
    )
    styles = assign_styles(each.name for each in known)
    for each in known:
        figure.add_scatter(
            x=[shorten(each.memory_mb or 0.0)],
            y=[shorten(each.mean or 0.0)],
            mode="markers",
            marker=_marker(styles[each.name]),
            name=each.name,
            hovertemplate=f"{each.name}: %{{x:.4g}} MB, %{{y:.4f}}<extra></extra>",
        )
    return figure


def draw_seconds(value: Ablation) -> go.Figure:
    """Draws each experiment's training time as a bar, with the least and the largest run."""
    known = [each for each in value.experiments if each.train_seconds is not None]
    figure = new_figure("training, seconds: median, least and largest", "")
    middles = [each.train_seconds or 0.0 for each in known]
    ends = [
        each.spreads.get("train_seconds", (at, at)) for at, each in zip(middles, known, strict=True)
    ]
    figure.add_bar(
        x=[shorten(at) for at in middles],
        y=[each.name for each in known],
        orientation="h",
        marker={"color": "#1a7fc4"},
        error_x={
            "arrayminus": [shorten(at - end[0]) for at, end in zip(middles, ends, strict=True)],
            "array": [shorten(end[1] - at) for at, end in zip(middles, ends, strict=True)],
        },
        showlegend=False,
        hovertemplate="%{y}: %{x:.4g} s<extra></extra>",
    )
    names = [each.name for each in known]
    figure.update_yaxes(categoryorder="array", categoryarray=names[::-1], type="category")
    figure.update_layout(height=130 + 36 * max(len(names), 1))
    return figure


def draw_costs(
    value: Ablation, title: str, reads: Mapping[str, Callable[[ExperimentResult], float | None]]
) -> go.Figure:
    """Draws one or more amounts of each experiment, a marker each; unknown ones are left out.

    Args:
        value: The suite's results.
        title: Of the horizontal axis, with the unit.
        reads: Label of an amount to how it is read off; on a log axis where there are several.
    """
    figure = new_figure(title, "")
    styles = assign_styles(reads)
    for label, read in reads.items():
        known = [(each.name, amount) for each in value.experiments if (amount := read(each))]
        figure.add_scatter(
            x=[shorten(amount) for _, amount in known],
            y=[name for name, _ in known],
            mode="markers",
            marker=_marker(styles[label]),
            name=label,
            showlegend=len(reads) > 1,
            hovertemplate="%{y}: %{x:.4g}<extra></extra>",
        )
    names = [each.name for each in value.experiments]
    figure.update_yaxes(categoryorder="array", categoryarray=names[::-1], type="category")
    if len(reads) > 1:
        figure.update_xaxes(type="log")
    else:
        figure.update_xaxes(rangemode="tozero")
    figure.update_layout(height=130 + 36 * max(len(names), 1))
    return figure


def _marker(style: MethodStyle) -> dict[str, Any]:
    return {"symbol": style.symbol, "size": 11, "color": style.color}


def _is_beaten(one: ExperimentResult, all_: list[ExperimentResult], sign: float) -> bool:
    score, memory = sign * (one.mean or 0.0), one.memory_mb or 0.0
    return any(
        sign * (other.mean or 0.0) >= score
        and (other.memory_mb or 0.0) <= memory
        and (sign * (other.mean or 0.0) > score or (other.memory_mb or 0.0) < memory)
        for other in all_
    )
