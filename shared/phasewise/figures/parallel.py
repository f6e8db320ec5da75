"""Parallel coordinates: which combinations of values the good trials have in common."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import plotly.graph_objects as go

from phasewise.figures.searched import SearchedParameter, SearchedTrials
from phasewise.figures.style import NEUTRAL, MethodStyle, new_figure, shorten

Group = Literal["best trial", "best quarter", "other trial", "pruned"]


@dataclass(frozen=True)
class Axis:
    """One vertical axis; ticks are (place between 0 and 1, label)."""

    title: str
    ticks: tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class TrialLine:
    """One trial across the axes; NaN where a parameter was not active."""

    number: int
    group: Group
    heights: tuple[float, ...]  # one per axis, 0 to 1
    words: tuple[str, ...]  # the values at them


@dataclass(frozen=True)
class Parallel:
    """The scored trials of a unit; the last axis is the score, better upwards."""

    axes: tuple[Axis, ...]
    lines: tuple[TrialLine, ...]


def compute_parallel(trials: SearchedTrials) -> Parallel:
    """Computes every scored trial's place on each parameter's axis and on the score's.

    The best quarter is that of the finished trials, ties in. Without two different scores there
    is nothing to compare: no lines.
    """
    scores = [trial.score for trial in trials.trials if trial.score is not None]
    if not scores or min(scores) == max(scores):
        return Parallel((), ())
    worst, best = (min(scores), max(scores)) if trials.maximize else (max(scores), min(scores))
    groups = _group(trials)
    lines = []
    for index, trial in enumerate(trials.trials):
        if trial.score is None:
            continue
        places = [(each, each.places[index]) for each in trials.parameters]
        heights = [p.relative(at) if not math.isnan(at) else math.nan for p, at in places]
        heights.append((trial.score - worst) / (best - worst))
        words = [f"{p.name} {p.describe(at)}" for p, at in places]
        words.append(f"{trials.metric} {trial.score:.4f}")
        lines.append(TrialLine(trial.number, groups[index], tuple(heights), tuple(words)))
    score = Axis(trials.metric, ((0.0, f"{worst:.3g}"), (1.0, f"{best:.3g}")))
    return Parallel((*map(_axis, trials.parameters), score), tuple(lines))


def draw_parallel(parallel: Parallel, style: MethodStyle) -> go.Figure:
    """Draws the trials as lines, better groups over worse ones; labels stand at the axes."""
    figure = new_figure("", "")
    looks: dict[Group, dict[str, Any]] = {
        "pruned": {"line": {"color": NEUTRAL, "width": 1, "dash": "dot"}, "opacity": 0.5},
        "other trial": {"line": {"color": NEUTRAL, "width": 1}, "opacity": 0.55},
        "best quarter": {"line": {"color": style.color, "width": 1.5}, "opacity": 0.75},
        "best trial": {"line": {"color": style.color, "width": 4}},
    }
    for group, look in looks.items():
        lines = [line for line in parallel.lines if line.group == group]
        if lines:
            figure.add_trace(_trace(lines, group, look))
    figure.add_scatter(
        x=[index for index, axis in enumerate(parallel.axes) for _ in axis.ticks],
        y=[at for axis in parallel.axes for at, _ in axis.ticks],
        text=[f" {label}" for axis in parallel.axes for _, label in axis.ticks],
        mode="text",
        textposition="middle right",
        textfont={"size": 11},
        hoverinfo="skip",
        showlegend=False,
    )
    last = len(parallel.axes) - 1
    titles = [axis.title for axis in parallel.axes]
    ticks = {"tickvals": list(range(last + 1)), "ticktext": titles}
    figure.update_xaxes(range=[-0.4, last + 0.4], gridwidth=2, **ticks)
    heights = [at for line in parallel.lines for at in line.heights if not math.isnan(at)]
    # A published default may lie beyond its range.
    low, high = min(0.0, *heights) - 0.06, max(1.0, *heights) + 0.06
    figure.update_yaxes(visible=False, range=[shorten(low), shorten(high)])
    return figure


def describe_parallel(parallel: Parallel) -> str:
    """Returns what is shown."""
    return (
        f"the values of {len(parallel.lines)} trials side by side, the best trial and the best "
        "quarter brought out."
    )


def _group(trials: SearchedTrials) -> list[Group]:
    finished = trials.finished()
    scores = [trials.trials[index].score or 0.0 for index in finished]
    ranked = sorted(scores, reverse=trials.maximize)
    bar = ranked[math.ceil(len(ranked) / 4) - 1] if ranked else 0.0
    groups: list[Group] = []
    for index, trial in enumerate(trials.trials):
        good = trial.score is not None and (
            trial.score >= bar if trials.maximize else trial.score <= bar
        )
        if index == trials.best:
            groups.append("best trial")
        elif trial.status == "pruned":
            groups.append("pruned")
        else:
            groups.append("best quarter" if good else "other trial")
    return groups


def _axis(parameter: SearchedParameter) -> Axis:
    places: list[float] = [parameter.low, parameter.high]
    if parameter.choices:
        places = [float(place) for place in range(len(parameter.choices))]
    ticks = tuple((parameter.relative(at), parameter.describe(at)) for at in places)
    return Axis(parameter.name, ticks)


def _trace(lines: Sequence[TrialLine], group: Group, look: dict[str, Any]) -> dict[str, Any]:
    """All lines of a group as one trace, with a gap after each."""
    x: list[float | None] = []
    y: list[float | None] = []
    words: list[str] = []
    for line in lines:
        x += [*range(len(line.heights)), None]
        y += [None if math.isnan(height) else shorten(height) for height in line.heights]
        y.append(None)
        words += [f"trial {line.number}: {word}" for word in line.words] + [""]
    hover = "%{text}<extra></extra>"
    shown = {"type": "scatter", "mode": "lines", "name": group, "hovertemplate": hover}
    return {**shown, **look, "x": x, "y": y, "text": words}
