"""PNG and SVG files of the report's figures: plotly figures drawn again by matplotlib.

Plotly's own export needs a browser. The figures here are made of few kinds of traces, so one small
renderer draws them all, and files and page cannot come apart.
"""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import (
    EngFormatter,
    MaxNLocator,
    MultipleLocator,
    NullFormatter,
    NullLocator,
    ScalarFormatter,
)

from phasewise.figures.style import HEIGHT, LIGHT

#: Inches; one and two columns of a page.
NARROW, WIDE = 5.0, 10.0
DOTS_PER_INCH = 200
_MARKERS = {
    "circle": "o",
    "square": "s",
    "diamond": "D",
    "triangle-up": "^",
    "triangle-down": "v",
    "pentagon": "p",
    "hexagon": "h",
    "cross": "P",
    "x": "X",
    "star": "*",
    "line-ns": "|",
}
#: matplotlib draws a star by its outer circle, plotly by its area.
_STAR = 1.5
_DASHES = {"dot": ":", "dash": "--", "solid": "-"}
_TEXT = LIGHT["layout"]["font"]["color"]
_GRID = LIGHT["layout"]["xaxis"]["gridcolor"]
_AXIS = LIGHT["layout"]["xaxis"]["linecolor"]
_STYLE: Any = {
    "font.size": 9,
    "font.family": "sans-serif",
    "text.color": _TEXT,
    "axes.labelcolor": _TEXT,
    "axes.edgecolor": _AXIS,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _GRID,
    "grid.linewidth": 0.6,
    "xtick.color": _AXIS,
    "xtick.labelcolor": _TEXT,
    "ytick.color": _AXIS,
    "ytick.labelcolor": _TEXT,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "phasewise",  # the same figure gives the same file
}


def write_static(figure: go.Figure, stem: Path, *, title: str, wide: bool = False) -> None:
    """Writes ``<stem>.png`` and ``<stem>.svg`` on a white ground.

    Args:
        figure: Of scatter, heatmap and horizontal bar traces, as this package draws them.
        stem: Path without ending; its folder must exist.
        title: Written above the figure.
        wide: For a whole page instead of a column.
    """
    with rc_context(_STYLE):
        drawn = _draw(figure.to_dict(), title, WIDE if wide else NARROW)
        drawn.savefig(f"{stem}.png", dpi=DOTS_PER_INCH, metadata={"Software": None})
        drawn.set_layout_engine(None)  # the layout is found; finding it again takes as long
        drawn.savefig(f"{stem}.svg", metadata={"Date": None})


def _draw(content: dict[str, Any], title: str, width: float) -> Figure:
    layout = content["layout"]
    height = 3.4 * layout.get("height", HEIGHT) / HEIGHT
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, x=0.01, ha="left", fontsize=10, fontweight="bold")
    panels = _build_panels(figure, content)
    for trace in content["data"]:
        axes, x_axis, y_axis = panels[trace.get("xaxis") or "x", trace.get("yaxis") or "y"]
        if trace["type"] == "heatmap":
            _draw_heatmap(figure, axes, trace)
        elif trace["type"] == "bar":
            _draw_bars(axes, trace, y_axis)
        else:
            _draw_scatter(axes, trace, x_axis, y_axis)
    for axes, x_axis, y_axis in panels.values():
        _finish_axis(axes, "x", x_axis)
        _finish_axis(axes, "y", y_axis)
    _add_legend(figure, width)
    return figure


def _build_panels(
    figure: Figure, content: dict[str, Any]
) -> dict[tuple[str, str], tuple[Axes, dict[str, Any], dict[str, Any]]]:
    """Returns the axes of each pair of plotly axes, laid out in the grid of their domains."""
    layout = content["layout"]

    def axis(name: str) -> dict[str, Any]:
        return dict(layout.get(f"{name[0]}axis{name[1:]}", {}))

    pairs = {(t.get("xaxis") or "x", t.get("yaxis") or "y"): None for t in content["data"]}
    lefts = sorted({tuple(axis(x).get("domain", (0, 1))) for x, _ in pairs})
    tops = sorted({tuple(axis(y).get("domain", (0, 1))) for _, y in pairs}, reverse=True)
    grid = figure.add_gridspec(len(tops), len(lefts))
    panels: dict[tuple[str, str], tuple[Axes, dict[str, Any], dict[str, Any]]] = {}
    firsts: dict[str, Axes] = {}
    for x, y in pairs:
        row = tops.index(tuple(axis(y).get("domain", (0, 1))))
        column = lefts.index(tuple(axis(x).get("domain", (0, 1))))
        axes = figure.add_subplot(grid[row, column], sharey=firsts.get(y))
        if y in firsts:
            axes.tick_params(labelleft=False)
        panels[x, y] = axes, axis(x), {} if y in firsts else axis(y)
        firsts.setdefault(y, axes)
    return panels


def _draw_scatter(
    axes: Axes, trace: dict[str, Any], x_axis: dict[str, Any], y_axis: dict[str, Any]
) -> None:
    x, y = _numbers(trace["x"], x_axis), _numbers(trace["y"], y_axis)
    mode, line, alpha = trace.get("mode", "lines"), trace.get("line") or {}, trace.get("opacity", 1)
    label = trace.get("name") if trace.get("showlegend", True) else None
    if trace.get("fill") == "toself":
        axes.fill(x, y, color=_color(trace["fillcolor"]), linewidth=0, label=label)
        return
    if mode == "text":
        for at, height, text in zip(x, y, trace["text"], strict=True):
            ground = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.8}
            axes.text(at, height, text, va="center", fontsize=8, bbox=ground, zorder=4)
        return
    if "lines" in mode:
        axes.plot(
            x,
            y,
            color=_color(line.get("color", _AXIS)),
            linewidth=0.75 * line.get("width", 2),
            linestyle=_DASHES[line.get("dash", "solid")],
            drawstyle="steps-post" if line.get("shape") == "hv" else "default",
            alpha=alpha,
            label=label,
        )
    if "markers" in mode:
        _draw_markers(axes, trace, x, y, None if "lines" in mode else label)


def _draw_markers(
    axes: Axes, trace: dict[str, Any], x: Sequence[float], y: Sequence[float], label: str | None
) -> None:
    marker = trace.get("marker") or {}
    shape = _MARKERS[marker.get("symbol", "circle")]
    outline = marker.get("line") or {}
    line = trace.get("line") or {}
    color = _color(marker.get("color") or outline.get("color") or line.get("color") or _AXIS)
    for name in ("x", "y"):
        bars = trace.get(f"error_{name}")
        if bars:
            sides = [bars.get("arrayminus", bars["array"]), bars["array"]]
            how: dict[str, Any] = {f"{name}err": sides, "ecolor": color, "capsize": 3}
            axes.errorbar(x, y, fmt="none", elinewidth=0.75 * bars.get("thickness", 2), **how)
    size = 0.6 * np.asarray(marker.get("size", 6), dtype=float) * (_STAR if shape == "*" else 1)
    axes.scatter(
        x,
        y,
        s=size**2,
        marker=shape,
        color=color,
        alpha=trace.get("opacity", 1) * marker.get("opacity", 1),
        linewidths=1.5 if shape == "|" else 0,
        label=label,
        zorder=3,
    )


def _draw_bars(axes: Axes, trace: dict[str, Any], y_axis: dict[str, Any]) -> None:
    """Draws horizontal bars; their errors as lines."""
    places, bars = _numbers(trace["y"], y_axis), trace.get("error_x")
    sides = [bars["arrayminus"], bars["array"]] if bars else None
    color = _color(trace["marker"]["color"])
    axes.barh(places, trace["x"], height=0.6, color=color, xerr=sides, capsize=3)


def _draw_heatmap(figure: Figure, axes: Axes, trace: dict[str, Any]) -> None:
    z = np.array([[math.nan if value is None else value for value in row] for row in trace["z"]])
    colors = LinearSegmentedColormap.from_list("scale", [tuple(c) for c in trace["colorscale"]])
    image = axes.imshow(z, cmap=colors, vmin=trace["zmin"], vmax=trace["zmax"], aspect="auto")
    for (row, column), value in np.ndenumerate(z):
        if not math.isnan(value):
            shown = f"{value:.2f}".replace("-", "−")
            ink = "white" if abs(value) > 0.7 else _TEXT
            axes.text(column, row, shown, ha="center", va="center", color=ink)
    axes.grid(visible=False)
    figure.colorbar(image, ax=axes, fraction=0.05)


def _finish_axis(axes: Axes, name: str, axis: dict[str, Any]) -> None:
    own, log = axes.xaxis if name == "x" else axes.yaxis, axis.get("type") == "log"
    own.set_label_text(((axis.get("title") or {}).get("text") or "").replace("<br>", "\n"))
    if log:
        axes.set(**{f"{name}scale": "log"})
    if "range" in axis:
        low, high = axis["range"]
        axes.set(**{f"{name}lim": (10**low, 10**high) if log else (low, high)})
    low, high = own.get_view_interval()
    if log and high / low < 30:  # too short for powers of ten
        own.set_major_locator(MaxNLocator(3))
        own.set_minor_locator(NullLocator())
        own.set_major_formatter(EngFormatter(sep="") if high >= 1000 else ScalarFormatter())
    elif log:
        own.set_minor_formatter(NullFormatter())
    if "dtick" in axis:
        own.set_major_locator(MultipleLocator(axis["dtick"]))
    if "tickvals" in axis:
        own.set_ticks(axis["tickvals"], axis["ticktext"])
        own.set_minor_locator(NullLocator())
        if "tickangle" in axis:  # plotly's turn the other way round
            own.set_tick_params(rotation=-axis["tickangle"])
    elif axis.get("type") == "category":
        names = axis["categoryarray"]
        own.set_ticks(range(len(names)), names)
        axes.set(**{f"{name}lim": (-0.6, len(names) - 0.4)})
    if axis.get("visible") is False:
        own.set_visible(False)
        axes.spines["left" if name == "y" else "bottom"].set_visible(False)


def _add_legend(figure: Figure, width: float) -> None:
    entries: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    if entries:
        columns = max(1, min(len(entries), int(width / 1.25)))
        handles, labels = list(entries.values()), list(entries)
        figure.legend(handles, labels, loc="outside lower left", ncols=columns, fontsize=8)


def _numbers(values: Sequence[Any], axis: dict[str, Any]) -> list[float]:
    """Returns plotly's values as numbers: places of categories, NaN for gaps."""
    if axis.get("type") == "category":
        names = list(axis["categoryarray"])
        return [names.index(value) for value in values]
    return [math.nan if value is None else value for value in values]


def _color(text: str) -> tuple[float, float, float, float] | str:
    found = re.fullmatch(r"rgba\((\d+),(\d+),(\d+),([\d.]+)\)", text)
    if found is None:
        return text
    red, green, blue, alpha = map(float, found.groups())
    return red / 255, green / 255, blue / 255, alpha
