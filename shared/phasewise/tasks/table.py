"""Rows as they were read, each knowing where it stands, so that errors can say so."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from phasewise.errors import DataError, suggest_nearest

_LONGEST_QUOTE = 60


@dataclass(frozen=True)
class RowTable:
    """The raw rows of one split.

    Attributes:
        origin: The file, or the hub id with its split.
        rows: Column name to value, one mapping a row.
        numbers: Where each row starts, 1-based; lines for text files, else rows.
        unit: What ``numbers`` counts.
    """

    origin: str
    rows: Sequence[dict[str, Any]]
    numbers: Sequence[int]
    unit: Literal["line", "row"]

    def place(self, index: int) -> str:
        """Returns ``file: line 7`` for the row at a 0-based index."""
        return f"{self.origin}: {self.unit} {self.numbers[index]}"

    def value(self, index: int, column: str) -> Any:
        """Returns one cell.

        Raises:
            DataError: The row lacks the column.
        """
        row = self.rows[index]
        if column not in row:
            near = suggest_nearest(column, row)
            known = "" if near.startswith("; known") else f" The columns: {', '.join(row)}"
            raise DataError(f"{self.place(index)}: no column '{column}'{near}{known}")
        return row[column]

    def text(self, index: int, column: str) -> str:
        """Returns one cell that must hold a non-empty text.

        Raises:
            DataError: The column is missing, holds no string, or a blank one.
        """
        value = self.value(index, column)
        if not isinstance(value, str):
            raise self.refuse(index, column, "a text", value)
        if not value.strip():
            raise self.refuse(index, column, "a text that is not empty", value)
        return value

    def refuse(self, index: int, column: str, expected: str, value: object) -> DataError:
        """Returns the error for a cell: where it is, what was expected, what came."""
        quoted = repr(value)
        if len(quoted) > _LONGEST_QUOTE:
            quoted = quoted[:_LONGEST_QUOTE] + "…"
        return DataError(
            f"{self.place(index)}: column '{column}': expected {expected}, "
            f"got {quoted} ({type(value).__name__})"
        )
