"""Reads JSONL, CSV, TSV and Parquet files into rows; a bad file is refused at its line."""

import csv
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from phasewise.errors import DataError, suggest_nearest
from phasewise.settings.task import reads_quotes
from phasewise.tasks.table import RowTable

#: The csv module refuses cells above 128 KiB; long documents are longer.
_LONGEST_CELL = 64 * 1024 * 1024
_TSV_RULE = "are text in a .tsv; `quoted: true` in the task's source reads them as in a .csv"


def read_file(path: Path, quoted: bool | None = None) -> RowTable:
    """Returns the rows of a data file; its ending tells the format.

    Args:
        path: The file.
        quoted: Whether a cell of a delimited file may stand in quotes; None: in .csv, not in .tsv.

    Raises:
        DataError: No such file, an unknown ending, not UTF-8, malformed, or without rows.
    """
    require_file(path)
    ending = path.suffix.lower()
    if ending in _DELIMITERS:
        table = _read_delimited(path, _DELIMITERS[ending], quoted=reads_quotes(path, quoted))
    else:
        table = _READERS[ending](path)
    if not table.rows:
        raise DataError(f"{path}: expected data rows, the file has none")
    return table


def require_file(path: Path) -> None:
    """Checks that a data file is there, and of a format that its ending tells.

    Raises:
        DataError: It is not.
    """
    if path.suffix.lower() not in _ENDINGS:
        raise DataError(
            f"{path}: cannot tell the format of a '{path.suffix}' file; "
            f"expected {', '.join(_ENDINGS)}"
        )
    if not path.is_file():
        others = [file.name for file in path.parent.glob("*")] if path.parent.is_dir() else []
        raise DataError(f"{path}: no such file{suggest_nearest(path.name, others)}")


def _read_text(path: Path) -> str:
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}: line {line}: expected UTF-8 text, byte 0x{content[error.start]:02x} is not; "
            "convert the file (iconv -t UTF-8)"
        ) from error


def _read_jsonl(path: Path) -> RowTable:
    """Splits on newlines only: ``str.splitlines`` would cut texts at U+2028."""
    rows: list[dict[str, Any]] = []
    numbers: list[int] = []
    for number, line in enumerate(_read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        rows.append(_parse_object(path, number, line))
        numbers.append(number)
    return RowTable(str(path), rows, numbers, "line")


def _parse_object(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}: line {number}: expected one JSON object a line, "
            f"got broken JSON ({error.msg} at column {error.colno})"
        ) from error
    if not isinstance(row, dict):
        raise DataError(
            f'{path}: line {number}: expected a JSON object such as {{"text": …}}, '
            f"got a {type(row).__name__}"
        )
    return row


def _read_delimited(path: Path, delimiter: str, *, quoted: bool) -> RowTable:
    """Keeps every cell a string: a review that reads ``NA`` is a text, not a gap."""
    csv.field_size_limit(_LONGEST_CELL)
    lines = io.StringIO(_read_text(path), newline="")
    reader = csv.reader(
        lines,
        delimiter=delimiter,
        quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
        strict=True,
    )
    rows: list[dict[str, Any]] = []
    numbers: list[int] = []
    header: list[str] | None = None
    start = 1
    try:
        for cells in reader:
            if header is None:
                header = _check_header(path, cells, quoted=quoted)
            elif cells:
                rows.append(_zip_cells(path, start, header, cells, quoted=quoted))
                numbers.append(start)
            start = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path}: line {start}: not valid CSV: {error}") from error
    return RowTable(str(path), rows, numbers, "line")


def _check_header(path: Path, cells: list[str], *, quoted: bool) -> list[str]:
    header = [cell.strip() for cell in cells]
    if len(header) == 1 and (found := [mark for mark in ";\t|" if mark in header[0]]):
        raise DataError(
            f"{path}: line 1: one column, '{header[0]}'; the cells seem to be separated by "
            f"{found[0]!r}: expected commas in a .csv, tabs in a .tsv; save the file that way"
        )
    for name in header:
        if not quoted and len(name) > 1 and name[0] == name[-1] == '"':
            raise DataError(f"{path}: line 1: {name} stands in quotes, which {_TSV_RULE}")
        if header.count(name) > 1:
            raise DataError(f"{path}: line 1: column '{name}' twice; expected each name once")
    return header


def _zip_cells(
    path: Path, line: int, header: list[str], cells: list[str], *, quoted: bool
) -> dict[str, Any]:
    if len(cells) != len(header):
        quotes = "a text with commas or line breaks needs quotes"
        raise DataError(
            f"{path}: line {line}: expected {len(header)} cells ({', '.join(header)}), "
            f"got {len(cells)}; {quotes if quoted else f'quotes {_TSV_RULE}'}"
        )
    return dict(zip(header, cells, strict=True))


def _read_parquet(path: Path) -> RowTable:
    import pyarrow  # type: ignore[import-untyped]
    from pyarrow import parquet

    try:
        rows = parquet.read_table(path).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).split("\n")[0]
        raise DataError(f"{path}: expected a Parquet file: {reason}") from error
    return RowTable(str(path), rows, range(1, len(rows) + 1), "row")


_READERS: Mapping[str, Callable[[Path], RowTable]] = {
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".parquet": _read_parquet,
}
#: Endings of delimited files to what stands between their cells.
_DELIMITERS: Mapping[str, str] = {".csv": ",", ".tsv": "\t"}
_ENDINGS = (*_READERS, *_DELIMITERS)
