"""Slices: the score of every trial against each searched parameter, with the range's edges."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from phasewise.figures.searched import SearchedParameter, SearchedTrials
from phasewise.figures.style import HEIGHT, NEUTRAL, MethodStyle, new_figure, shorten
from phasewise.summaries import RangeFlag

#: Panels side by side; more would squeeze their ticks.
COLUMNS = 4
_WIDER = "rgba(201,138,0,0.22)"


@dataclass(frozen=True)
class Slice:
    """One parameter; ``wider`` is the part that the range should get, if it was flagged."""

    parameter: SearchedParameter
    wider: tuple[float, float] | None  # in the parameter's places: from the edge outwards
    wider_label: str  # the proposed end as text


@dataclass(frozen=True)
class Slices:
    """All slices of a unit."""

    trials: SearchedTrials
    panels: tuple[Slice, ...]

    @property
    def scored(self) -> bool:
        """Whether any trial has a score, without which there is nothing to show."""
        return any(trial.score is not None for trial in self.trials.trials)


def compute_slices(trials: SearchedTrials, flags: Sequence[RangeFlag] = ()) -> Slices:
    """Pairs each searched parameter with its range flag, if it has one."""
    flagged = {flag.parameter: flag for flag in flags}
    panels = [_slice(each, flagged.get(each.name)) for each in trials.parameters]
    return Slices(trials, tuple(panels))


def draw_slices(slices: Slices, style: MethodStyle) -> go.Figure:
    """Draws one panel per parameter: finished trials, pruned and unscored ones apart, the best."""
    rows = math.ceil(len(slices.panels) / COLUMNS)
    low, high = _score_range(slices.trials)
    axes = {}
    for index, panel in enumerate(slices.panels):
        axes[f"xaxis{index + 1 if index else ''}"] = _lay_out(panel, index, rows)
    for row in range(rows):
        axes[f"yaxis{row + 1 if row else ''}"] = {
            "title": {"text": slices.trials.metric},
            "range": [low, high],
            "domain": [1 - (row + 0.74) / rows, 1 - row / rows] if rows > 1 else [0, 1],
            "anchor": f"x{row * COLUMNS + 1 if row else ''}",
        }
    figure = new_figure("", "", **axes)
    traces: list[dict[str, Any]] = []
    for index, panel in enumerate(slices.panels):
        row = index // COLUMNS
        at = {"xaxis": f"x{index + 1 if index else ''}", "yaxis": f"y{row + 1 if row else ''}"}
        traces += [{**trace, **at} for trace in _draw_panel(slices, panel, style, (low, high))]
    _show_once(traces)
    figure.add_traces(traces)
    figure.update_layout(height=HEIGHT * rows)
    return figure


def describe_slices(slices: Slices) -> str:
    """Returns what is shown, and which parameters have their best at an edge."""
    flagged = [panel.parameter.name for panel in slices.panels if panel.wider]
    edges = f"; the best lies at an edge of {', '.join(flagged)}" if flagged else ""
    names = ", ".join(panel.parameter.name for panel in slices.panels)
    return f"{slices.trials.metric} of each trial against {names}{edges}."


def _slice(parameter: SearchedParameter, flag: RangeFlag | None) -> Slice:
    if flag is None:
        return Slice(parameter, None, "")
    end = flag.proposed[1 if flag.edge == "max" else 0]
    label = f"{end:.3g}"
    if parameter.choices:  # the list's next place
        end = parameter.high + 1 if flag.edge == "max" else parameter.low - 1
    start = parameter.high if flag.edge == "max" else parameter.low
    return Slice(parameter, (min(start, end), max(start, end)), label)


def _score_range(trials: SearchedTrials) -> tuple[float, float]:
    """The scores with room below for the trials that have none."""
    scores = [trial.score for trial in trials.trials if trial.score is not None]
    low, high = (min(scores), max(scores)) if scores else (0.0, 1.0)
    room = (high - low or 0.1) * 0.08
    unscored = len(scores) < len(trials.trials)
    return shorten(low - room * (2.5 if unscored else 1)), shorten(high + room)


def _draw_panel(
    slices: Slices, panel: Slice, style: MethodStyle, span: tuple[float, float]
) -> list[dict[str, Any]]:
    trials, traces = slices.trials, list[dict[str, Any]]()
    if panel.wider:
        left, right = map(shorten, panel.wider)
        low, high = span
        traces.append(
            {
                "type": "scatter",
                "x": [left, right, right, left],
                "y": [low, low, high, high],
                "fill": "toself",
                "fillcolor": _WIDER,
                "line": {"width": 0},
                "mode": "lines",
                "name": "wider range to search",
                "hoverinfo": "skip",
            }
        )
    finished = [index for index in trials.finished() if index != trials.best]
    pruned = [
        i for i, t in enumerate(trials.trials) if t.status == "pruned" and t.score is not None
    ]
    unscored = [i for i, trial in enumerate(trials.trials) if trial.score is None]
    floor = span[0] + (span[1] - span[0]) * 0.04
    best = [] if trials.best is None else [trials.best]
    groups = [
        (pruned, "pruned", {"symbol": "x", "size": 8, "color": NEUTRAL}),
        (unscored, "no score", {"symbol": "triangle-down", "size": 8, "color": NEUTRAL}),
        (finished, "trial", {"symbol": style.symbol, "size": 8, "color": style.color}),
        (best, "best trial", {"symbol": "star", "size": 15, "color": style.color}),
    ]
    traces += [_scatter(slices, panel, group, name, mark, floor) for group, name, mark in groups]
    return [trace for trace in traces if trace["x"]]


def _scatter(
    slices: Slices,
    panel: Slice,
    indices: list[int],
    name: str,
    marker: dict[str, Any],
    floor: float,
) -> dict[str, Any]:
    trials, places = slices.trials.trials, panel.parameter.places
    active = [index for index in indices if not math.isnan(places[index])]
    scores = [trials[index].score for index in active]
    words = [
        f"trial {trials[i].number}: {panel.parameter.name} {panel.parameter.describe(places[i])}"
        + ("" if trials[i].score is None else f"<br>{trials[i].score:.4f}")
        for i in active
    ]
    return {
        "type": "scatter",
        "x": [shorten(places[index]) for index in active],
        "y": [shorten(floor if score is None else score) for score in scores],
        "mode": "markers",
        "marker": marker,
        "opacity": 1.0 if name == "best trial" else 0.75,
        "text": words,
        "name": name,
        "hovertemplate": "%{text}<extra></extra>",
    }


def _lay_out(panel: Slice, index: int, rows: int) -> dict[str, Any]:
    """Returns the horizontal axis of one panel: log where the space is, a list place by place."""
    parameter = panel.parameter
    row, column = divmod(index, COLUMNS)
    ends = [parameter.low, parameter.high, *(panel.wider or ())]
    ends += [place for place in parameter.places if not math.isnan(place)]
    low, high = min(ends), max(ends)
    axis: dict[str, Any] = {
        "title": {"text": parameter.name},
        "domain": [(column + 0.03) / COLUMNS, (column + 0.97) / COLUMNS],
        "anchor": f"y{row + 1 if row else ''}",
        "nticks": 5,
    }
    if parameter.choices:
        places = list(range(len(parameter.choices)))
        labels = [str(choice) for choice in parameter.choices]
        if panel.wider:
            places.append(int(high if panel.wider[1] > parameter.high else low))
            labels.append(panel.wider_label)
        return {**axis, "tickvals": places, "ticktext": labels, "range": [low - 0.4, high + 0.4]}
    if parameter.scale == "log":
        low, high = math.log10(low), math.log10(high)
        axis |= {"type": "log", "dtick": 1, "exponentformat": "power"}
    room = 0.05 * (high - low)
    return {**axis, "range": [shorten(low - room), shorten(high + room)]}


def _show_once(traces: list[dict[str, Any]]) -> None:
    """Gives each name one entry in the legend."""
    seen: set[str] = set()
    for trace in traces:
        trace |= {"showlegend": trace["name"] not in seen, "legendgroup": trace["name"]}
        seen.add(trace["name"])
