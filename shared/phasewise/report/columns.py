"""Tables of the report: a column is declared once, and shown as HTML, Markdown, LaTeX and CSV."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from phasewise.formatting import MISSING, guard_cell
from phasewise.statistics import Interval
from phasewise.summaries import ScoreSummary

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Row = TypeVar("Row")
#: A cell's text and its link, empty without one.
Cell = tuple[str, str]


@dataclass(frozen=True)
class Column(Generic[Row]):
    """One column of a table, wherever the table is shown."""

    heading: str = ""  # in HTML and Markdown; empty: it is not shown there
    show: Callable[[Row], str] = str
    csv: Mapping[str, Callable[[Row], object]] = field(default_factory=dict)  # in full precision
    anchor: Callable[[Row], str] | None = None  # in the page, of what a cell was worked out from
    href: Callable[[Row], str] | None = None  # of a file, from the page's folder
    latex_heading: str = ""  # LaTeX already; empty: it is not in the table for papers
    latex: Callable[[Row], str] | None = None  # cell as LaTeX; None: as it is shown
    words: bool = False  # it holds words, the others numbers


class TextLine(NamedTuple):
    """One line of a table's text."""

    muted: bool  # background to what follows
    cells: list[Cell]
    anchor: str = ""  # its own, in the page


@dataclass(frozen=True)
class Table(Generic[Row]):
    """Rows under their columns."""

    columns: tuple[Column[Row], ...]
    rows: tuple[Row, ...]
    anchor: Callable[[Row], str] = lambda row: ""  # a row's own, in the page
    grouped: bool = False  # rows with the same first cell belong together
    #: First cell of a group to the rows that open it as its background, heading to cell.
    background: Mapping[str, Sequence[Mapping[str, Cell]]] = field(default_factory=dict)

    @cached_property
    def shown(self) -> list[Column[Row]]:
        """The columns of HTML and Markdown."""
        return [column for column in self.columns if column.heading]

    @cached_property
    def lines(self) -> list[TextLine]:
        """Every line of the text."""
        lines: list[TextLine] = []
        opened = set[str]()
        for row in self.rows:
            cells = [_fill(column, row) for column in self.shown]
            if (group := cells[0][0]) not in opened:
                opened.add(group)
                lines += [
                    TextLine(
                        True, [cells.get(column.heading, (MISSING, "")) for column in self.shown]
                    )
                    for cells in self.background.get(group, ())
                ]
            lines.append(TextLine(False, cells, self.anchor(row)))
        return lines

    def groups(self) -> list[tuple[str, list[TextLine]]]:
        """Returns (first cell, its lines); one group if not grouped."""
        if not self.grouped:
            return [("", self.lines)]
        return [
            (key, list(group)) for key, group in groupby(self.lines, lambda each: each.cells[0][0])
        ]


def render_markdown_table(table: Table[Row]) -> str:
    """Returns the table as Markdown."""
    lines = [
        [column.heading for column in table.shown],
        ["---" if column.words else "---:" for column in table.shown],
        *([keep_cell(text) for text, _ in line.cells] for line in table.lines),
    ]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def render_csv(columns: Sequence[Column[Row]], rows: Sequence[Row]) -> str:
    """Returns rows as CSV with full precision; empty where there is no number."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    for index, flat in enumerate(flatten_rows(columns, rows)):
        if index == 0:
            writer.writerow(map(guard_cell, flat))
        writer.writerow(map(guard_cell, flat.values()))
    return stream.getvalue()


def flatten_rows(columns: Sequence[Column[Row]], rows: Sequence[Row]) -> list[dict[str, object]]:
    """Returns each row's values in full precision by their names in CSV; None without a number."""
    return [
        {
            key: value
            for column in columns
            for name, read in column.csv.items()
            for key, value in _flatten(name, read(row)).items()
        }
        for row in rows
    ]


def write_csv(rows: Sequence["DataclassInstance"]) -> str:
    """Returns rows as CSV, one column per field."""
    names = [each.name for each in fields(rows[0])] if rows else []
    columns = [Column["DataclassInstance"](csv={name: attrgetter(name)}) for name in names]
    return render_csv(columns, rows)


def _fill(column: Column[Row], row: Row) -> Cell:
    text = column.show(row)
    if text == MISSING:
        return text, ""
    if column.anchor is not None:
        return text, f"#{column.anchor(row)}"
    return text, "" if column.href is None else column.href(row)


def keep_cell(text: str) -> str:
    """Returns a text that stays in its Markdown table cell."""
    return text.replace("|", "\\|").replace("\n", " ")


def _flatten(name: str, value: object) -> dict[str, object]:
    if isinstance(value, ScoreSummary):
        mean, sd, error = value.mean, value.sd, value.standard_error
        return {
            f"{name}_mean": mean,
            f"{name}_sd": sd,
            f"{name}_standard_error": error,
            f"{name}_runs": len(value.scores),
        }
    if name.endswith("_interval"):
        low, high = value if isinstance(value, Interval) else (None, None)
        return {f"{name}_low": low, f"{name}_high": high}
    return {name: value}
