"""Cost beside quality: which methods are best for what they cost."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

import plotly.graph_objects as go

from phasewise.figures.style import NEUTRAL, MethodStyle, new_figure, shorten
from phasewise.formatting import join_words, show_count
from phasewise.records import RunCost, RunRecord

#: What a run costs, less is better, and how it is read off.
_COSTS: dict[str, Callable[[RunCost], float | None]] = {
    "seconds per run": lambda cost: cost.total_seconds,
    "peak MB": lambda cost: cost.peak_memory_mb,
    "trainable parameters": lambda cost: cost.trainable_parameters,
    "saved MB": lambda cost: None if cost.adapter_bytes is None else cost.adapter_bytes / 1e6,
    "s per 1 k tokens": lambda cost: (
        1000 * cost.train_seconds / cost.train_tokens if cost.train_tokens else None
    ),
}
#: By so much an axis goes on beyond the cheapest and the dearest method, as a factor.
_ROOM = 1.25


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
    """Draws one panel per cost, on a logarithmic axis; the line joins the methods on the front."""
    axes = {
        _axis(number).replace("x", "xaxis"): _lay_out(name, points, number - 1, len(value.panels))
        for number, (name, points) in enumerate(value.panels.items(), start=1)
    }
    figure = new_figure("", f"{value.metric}, report set", **axes)
    traces: list[dict[str, Any]] = []
    for number, (name, points) in enumerate(value.panels.items(), start=1):
        front = sorted((p for p in points if p.on_front), key=lambda point: point.cost)
        traces.append(
            {
                "type": "scatter",
                "x": [shorten(point.cost) for point in front],
                "y": [shorten(point.score) for point in front],
                "mode": "lines",
                "line": {"color": NEUTRAL, "dash": "dot"},
                "hoverinfo": "skip",
                "showlegend": False,
                "xaxis": _axis(number),
            }
        )
        traces += [_place_point(p, styles[p.method], number, name) for p in points]
    figure.add_traces(traces)
    return figure


def describe_cost_quality(value: CostQuality) -> str:
    """Returns the methods on the front of each cost."""
    fronts = "; ".join(
        f"{name}: {join_words([point.method for point in points if point.on_front])}"
        for name, points in value.panels.items()
    )
    return f"score against cost; not outdone in {fronts}."


def _lay_out(name: str, points: Sequence[CostPoint], index: int, panels: int) -> dict[str, Any]:
    """Returns the horizontal axis of one of so many panels side by side."""
    axis = {
        "title": {"text": name},
        "domain": [(index + 0.04) / panels, (index + 0.96) / panels],
    }
    low, high = min(point.cost for point in points), max(point.cost for point in points)
    if low <= 0:  # a logarithm needs something above zero; a frozen model trains no parameter
        return {**axis, "type": "linear", "nticks": 3, "rangemode": "tozero"}
    low, high = low / _ROOM, high * _ROOM
    ticks = place_ticks(low, high)
    return {
        **axis,
        "type": "log",
        "range": [shorten(math.log10(low)), shorten(math.log10(high))],
        "tickvals": list(ticks),
        "ticktext": [show_count(tick) for tick in ticks],
    }


def place_ticks(low: float, high: float) -> tuple[float, ...]:
    """Returns up to three round numbers that are spread over a range of a logarithmic axis.

    Args:
        low: Above zero.
        high: Above ``low``.
    """
    for steps in ((1,), (1, 3), (1, 2, 5), tuple(range(1, 10)), tuple(range(10, 100))):
        scale = 10 if len(steps) > 9 else 1
        decades = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
        found = [step / scale * 10.0**decade for decade in decades for step in steps]
        inside = [tick for each in found if low <= (tick := float(f"{each:.3g}")) <= high]
        if len(inside) > 1:
            last = len(inside) - 1
            return tuple(dict.fromkeys(inside[at] for at in (0, round(last / 2), last)))
    return (float(f"{math.sqrt(low * high):.3g}"),)


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


def _place_point(point: CostPoint, style: MethodStyle, panel: int, name: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "x": [shorten(point.cost)],
        "y": [shorten(point.score)],
        "mode": "markers",
        "marker": {"symbol": style.symbol, "size": 11, "color": style.color},
        "name": point.method,
        "legendgroup": point.method,
        "showlegend": panel == 1,
        "hovertemplate": f"{point.method}<br>{name} %{{x:.4g}}<br>%{{y:.4f}}<extra></extra>",
        "xaxis": _axis(panel),
    }


def _axis(panel: int) -> str:
    return "x" if panel == 1 else f"x{panel}"
