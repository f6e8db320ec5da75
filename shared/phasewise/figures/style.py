"""One look for all figures: a color and a marker a method, a light and a dark ground."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import plotly.graph_objects as go

from phasewise.statistics import Interval

HEIGHT = 320
#: Letters of a line along a vertical axis: the axis has some 180 pixels of the height.
_LINE = 24
#: Gray that stands out from both grounds: what belongs to no method.
NEUTRAL = "#7f8790"


class MethodStyle(NamedTuple):
    """How a method looks in every figure and table."""

    color: str
    symbol: str


# Okabe and Ito's color-blind-safe set (2008) without its yellow and black, which vanish on a
# white or a dark ground; the others are shifted so that they stand out from both. The marker
# tells apart what the color does not, in gray prints too.
_STYLES = (
    MethodStyle("#1a7fc4", "circle"),
    MethodStyle("#d55e00", "square"),
    MethodStyle("#009e73", "diamond"),
    MethodStyle("#cc79a7", "triangle-up"),
    MethodStyle("#c98a00", "triangle-down"),
    MethodStyle("#3b9fd6", "pentagon"),
    MethodStyle("#8c6bb1", "hexagon"),
    MethodStyle("#7f8790", "cross"),
)
#: Fixed, so that a method has its color in every study.
_KNOWN = (
    "full_finetune",
    "lora",
    "dora",
    "rslora",
    "loraplus",
    "qlora",
    "int8_lora",
    "frozen_probe",
)


def assign_styles(methods: Iterable[str]) -> dict[str, MethodStyle]:
    """Returns each method's color and marker.

    Known methods have the same ones in every study; others take what is left in the given order,
    and above eight methods repeat.
    """
    names = list(methods)
    taken = {name: _STYLES[_KNOWN.index(name)] for name in names if name in _KNOWN}
    free = [style for style in _STYLES if style not in taken.values()] or list(_STYLES)
    others = [name for name in names if name not in _KNOWN]
    extra = {name: free[index % len(free)] for index, name in enumerate(others)}
    return {name: taken.get(name) or extra[name] for name in names}


def _template(text: str, grid: str, axis: str) -> dict[str, Any]:
    line = {
        "gridcolor": grid,
        "linecolor": axis,
        "zeroline": False,
        "ticks": "outside",
        "tickcolor": axis,
        "automargin": True,
    }
    return {
        "layout": {
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "font": {"family": "system-ui, sans-serif", "size": 13, "color": text},
            "xaxis": {**line, "title": {"font": {"size": 12}}},
            "yaxis": {**line, "title": {"font": {"size": 12}}},
            "hoverlabel": {"align": "left"},
            "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": axis, "activecolor": text},
        }
    }


LIGHT = _template("#1f2430", "#e3e6ea", "#9aa2ab")
DARK = _template("#e4e7eb", "#2f353d", "#6b747e")


def new_figure(x_title: str, y_title: str, **axes: dict[str, Any]) -> go.Figure:
    """Returns an empty figure in the shared look, on the light ground.

    Args:
        x_title: Of the horizontal axis.
        y_title: Of the vertical axis.
        axes: Layouts of further axes, or of the first ones instead of the titles.
    """
    # In one go: plotly checks the whole layout again at every update.
    return go.Figure(
        layout={
            "template": LIGHT,
            "height": HEIGHT,
            "margin": {"l": 8, "r": 20, "t": 32, "b": 8},
            "legend": {
                "orientation": "h",
                "x": 0,
                "y": 0,
                "yref": "container",
                "yanchor": "bottom",
                "font": {"size": 12},
            },
            "hovermode": "closest",
            "xaxis": {"title": {"text": x_title}},
            "yaxis": {"title": {"text": _break_line(y_title)}},
            **axes,
        }
    )


def _break_line(title: str) -> str:
    """A title along a vertical axis is cut where it is longer than the axis."""
    if len(title) <= _LINE:
        return title
    at = title.rfind(" ", 0, _LINE) if " " in title[:_LINE] else title.find(" ")
    return title if at < 0 else f"{title[:at]}<br>{title[at + 1 :]}"


def shorten(value: float) -> float:
    """Returns a number with five digits: more than a screen shows, a third of the file size."""
    return float(f"{value:.5g}")


def add_band(
    figure: go.Figure, x: Sequence[float], intervals: Sequence[Interval], color: str
) -> None:
    """Adds the band between the ends of intervals, in a pale shade of a color."""
    red, green, blue = (int(color[start : start + 2], 16) for start in (1, 3, 5))
    edge = [shorten(each.low) for each in intervals]
    edge += [shorten(each.high) for each in reversed(intervals)]
    figure.add_scatter(
        x=[*x, *reversed(x)],
        y=edge,
        fill="toself",
        fillcolor=f"rgba({red},{green},{blue},0.13)",
        line={"width": 0},
        mode="lines",
        hoverinfo="skip",
        showlegend=False,
    )
