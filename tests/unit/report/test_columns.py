"""A column is declared once; every renderer of the report shows it."""

import csv
import io
from dataclasses import dataclass

import pytest

from phasewise.formatting import MISSING
from phasewise.report.columns import Column, Table, render_csv, render_markdown_table
from phasewise.report.latex import render_latex
from phasewise.report.noise_table import NOISE_COLUMNS
from phasewise.report.unit_table import UNIT_COLUMNS
from phasewise.report.verdict_table import VERDICT_COLUMNS
from phasewise.statistics import Interval


@dataclass(frozen=True)
class Row:
    task: str
    score: float | None
    interval: Interval | None = None


COLUMNS: tuple[Column[Row], ...] = (
    Column(
        "task", lambda row: row.task, {"task": lambda row: row.task}, latex_heading="t", words=True
    ),
    Column(
        "score",
        lambda row: MISSING if row.score is None else f"{row.score:.1f} %",
        {"score": lambda row: row.score, "score_interval": lambda row: row.interval},
        lambda row: f"records.{row.task}",
        latex_heading="$s$",
    ),
    Column(csv={"hidden": lambda row: 1}),
)
ROWS = (Row("a|b", 1 / 3, Interval(0.1, 0.9)), Row("a|b", None), Row("c", 2.0))


def test_one_column_is_shown_by_every_renderer() -> None:
    table = Table(COLUMNS, ROWS, grouped=True)
    assert render_markdown_table(table).splitlines() == [
        "| task | score |",
        "| --- | ---: |",
        "| a\\|b | 0.3 % |",
        "| a\\|b | – |",
        "| c | 2.0 % |",
    ]
    latex = render_latex(table, caption="All", label="x-all")
    assert "t & $s$ \\\\" in latex
    assert "\\begin{tabular}{lr}" in latex
    assert "a|b & -- \\\\\n\\midrule\nc & 2.0 \\% \\\\" in latex
    first, second, _ = csv.DictReader(io.StringIO(render_csv(COLUMNS, ROWS)))
    assert float(first["score"]) == 1 / 3
    assert (first["score_interval_low"], second["score_interval_low"], first["hidden"]) == (
        "0.1",
        "",
        "1",
    )


def test_cells_link_to_their_records_and_missing_ones_do_not() -> None:
    groups = Table(COLUMNS, ROWS, grouped=True).groups()
    assert [(name, len(lines)) for name, lines in groups] == [("a|b", 2), ("c", 1)]
    links = [line.cells[1][1] for _, lines in groups for line in lines]
    assert links == ["#records.a|b", "", "#records.c"]


def test_background_opens_its_group_and_lacks_the_other_cells() -> None:
    background = {"c": [{"task": ("c", "")}]}
    lines = Table(COLUMNS, ROWS, background=background).lines
    assert [line.muted for line in lines] == [False, False, True, False]
    assert lines[2].cells == [("c", ""), (MISSING, "")]


@pytest.mark.parametrize("columns", [UNIT_COLUMNS, NOISE_COLUMNS, VERDICT_COLUMNS])
def test_every_column_is_shown_somewhere(columns: tuple[Column[object], ...]) -> None:
    assert all(column.heading or column.csv or column.latex_heading for column in columns)
    names = [name for column in columns for name in column.csv]
    assert len(set(names)) == len(names)
