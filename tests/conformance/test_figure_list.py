"""What every figure of the report's list must do; a new row is tested without a line here."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest

from phasewise.figures.static import write_static
from phasewise.figures.style import assign_styles
from phasewise.report.drawing import Drawing, Figure, UnitSource, draw_figures
from phasewise.report.evidence import gather_evidence
from phasewise.report.figure_list import TASK_FIGURES, UNIT_FIGURES
from phasewise.settings import Study
from synthetic import UnitWriter

TASK, METHODS = "rotten_tomatoes", ("lora", "dora")
FIGURES = (*TASK_FIGURES, *UNIT_FIGURES)


@pytest.fixture
def study(write_study: Callable[..., Study]) -> Study:
    return write_study(
        methods={name: {} for name in METHODS}, search={"trials": 12, "space": "demo"}
    )


def _draw(study: Study, figure: Figure[Any, Any]) -> tuple[Drawing, ...]:
    (task,) = gather_evidence(study, study.units_of("all"))
    styles = assign_styles(METHODS)
    if figure in TASK_FIGURES:
        return draw_figures([figure], task, styles, (TASK,))
    source = UnitSource(study, task.units[0])
    return draw_figures([figure], source, styles["lora"], (TASK, "lora"))


def _fill(study: Study) -> None:
    for method in METHODS:
        unit = UnitWriter(study, TASK, method)
        unit.phase0([0.60, 0.62, 0.61], [0.61, 0.60, 0.62])
        unit.phase1([0.6 + 0.01 * (i * 7 % 12) for i in range(12)])
        unit.phase2([0.71, 0.73, 0.72])


def test_every_name_is_of_one_figure() -> None:
    assert len({figure.name for figure in FIGURES}) == len(FIGURES)


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.name)
def test_figure_is_drawn_said_and_written(
    study: Study, tmp_path: Path, figure: Figure[Any, Any]
) -> None:
    _fill(study)
    (drawing,) = _draw(study, figure)
    assert drawing.key.startswith(f"{figure.name}-{TASK}")
    assert drawing.alternative.startswith(TASK)
    assert drawing.alternative.endswith(".")
    assert drawing.figure.data
    for axis, values in _axes(drawing.figure):
        # Words, such as methods, say by themselves what they are.
        worded = axis.ticktext or all(isinstance(value, str) for value in values)
        assert axis.title.text or worded, axis
    write_static(drawing.figure, tmp_path / "drawn", title=drawing.title, wide=drawing.wide)
    assert (tmp_path / "drawn.svg").stat().st_size > 1000


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.name)
def test_figure_without_anything_to_show_is_left_out(
    study: Study, figure: Figure[Any, Any]
) -> None:
    assert _draw(study, figure) == ()
    UnitWriter(study, TASK, "lora").run("trial-000", None, status="failed", message="no memory")
    drawn = _draw(study, figure)
    # A failed run has a training loss all the same.
    assert [each.key for each in drawn] in ([], [f"loss-{TASK}-lora"])


def _axes(figure: go.Figure) -> Iterator[tuple[Any, list[Any]]]:
    """Yields every visible axis that a trace is drawn on, with all values on it."""
    for name in figure.layout:
        letter, _, number = name.partition("axis")
        if letter in {"x", "y"} and figure.layout[name].visible is not False:
            own = [t for t in figure.data if (t[f"{letter}axis"] or letter) == letter + number]
            if own:
                yield figure.layout[name], [value for trace in own for value in trace[letter]]
