"""PNG and SVG files: every kind of figure is drawn with what the page shows."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import plotly.graph_objects as go
import pytest
from PIL import Image

from phasewise.figures.static import DOTS_PER_INCH, NARROW, WIDE, write_static
from phasewise.figures.style import new_figure


def _texts(svg: Path) -> list[str]:
    root = ElementTree.parse(svg).getroot()
    return ["".join(each.itertext()).strip() for each in root.iter() if each.tag.endswith("text")]


def _colors(png: Path) -> set[tuple[int, ...]]:
    return set(map(tuple, np.asarray(Image.open(png).convert("RGB")).reshape(-1, 3).tolist()))


def _scatter() -> go.Figure:
    figure = new_figure("epoch", "accuracy")
    figure.add_scatter(x=[1, 2], y=[0.5, 0.7], mode="lines", line={"color": "#1a7fc4"}, name="lora")
    figure.add_scatter(
        x=[1],
        y=[0.6],
        mode="markers",
        error_y={"array": [0.05]},
        marker={"symbol": "square", "size": 12, "color": "#d55e00"},
        name="dora",
    )
    figure.add_scatter(x=[1], y=[0.4], mode="markers", name="hidden", showlegend=False)
    return figure


def test_axes_title_and_legend_are_written(tmp_path: Path) -> None:
    write_static(_scatter(), tmp_path / "a", title="Curves")
    texts = _texts(tmp_path / "a.svg")
    assert {"Curves", "epoch", "accuracy", "lora", "dora"} <= set(texts)
    assert "hidden" not in texts
    assert {(0x1A, 0x7F, 0xC4), (0xD5, 0x5E, 0x00)} <= _colors(tmp_path / "a.png")


def test_width_is_that_of_a_column_or_a_page(tmp_path: Path) -> None:
    for wide, inches in ((False, NARROW), (True, WIDE)):
        write_static(_scatter(), tmp_path / "a", title="", wide=wide)
        assert Image.open(tmp_path / "a.png").width == round(inches * DOTS_PER_INCH)


def test_same_figure_same_files(tmp_path: Path) -> None:
    contents = []
    for _ in range(2):
        write_static(_scatter(), tmp_path / "a", title="x")
        contents.append([(tmp_path / f"a.{end}").read_bytes() for end in ("png", "svg")])
    assert contents[0] == contents[1]


def test_heatmap_writes_its_numbers(tmp_path: Path) -> None:
    figure = new_figure("", "")
    figure.add_heatmap(
        z=[[0.25, None], [-0.5, 1.0]],
        x=["a", "b"],
        y=["c", "d"],
        colorscale=[[0, "#000000"], [1, "#ffffff"]],
        zmin=-1,
        zmax=1,
    )
    figure.update_xaxes(tickvals=[0, 1], ticktext=["a", "b"])
    figure.update_yaxes(tickvals=[0, 1], ticktext=["c", "d"])
    write_static(figure, tmp_path / "a", title="")
    assert {"0.25", "−0.50", "a", "d"} <= set(_texts(tmp_path / "a.svg"))


def test_categories_keep_their_order_and_logs_their_range(tmp_path: Path) -> None:
    figure = new_figure("seconds", "")
    figure.add_scatter(x=[10, 1000], y=["lora", "dora"], mode="markers")
    figure.update_xaxes(type="log", range=[0, 4])
    figure.update_yaxes(type="category", categoryarray=["dora", "lora"])
    write_static(figure, tmp_path / "a", title="")
    texts = _texts(tmp_path / "a.svg")
    assert texts.index("dora") < texts.index("lora")


def test_an_unknown_marker_is_no_silent_circle(tmp_path: Path) -> None:
    figure = new_figure("", "")
    figure.add_scatter(x=[1], y=[1], mode="markers", marker={"symbol": "hourglass"})
    with pytest.raises(KeyError, match="hourglass"):
        write_static(figure, tmp_path / "a", title="")


def test_bars_have_their_errors_and_an_axis_its_whole_ticks(tmp_path: Path) -> None:
    figure = new_figure("trial", "", yaxis={"type": "category", "categoryarray": ["a", "b"]})
    figure.add_bar(
        x=[1, 2],
        y=["a", "b"],
        orientation="h",
        marker={"color": "#1a7fc4"},
        error_x={"array": [0.5, 0.5], "arrayminus": [0.5, 0.5]},
    )
    figure.update_xaxes(dtick=1)
    write_static(figure, tmp_path / "a", title="")
    assert {"a", "b", "0", "1", "2"} <= set(_texts(tmp_path / "a.svg"))
    assert "0.5" not in _texts(tmp_path / "a.svg")
    assert (0x1A, 0x7F, 0xC4) in _colors(tmp_path / "a.png")
