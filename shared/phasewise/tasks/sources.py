"""Reads the raw rows of a task's split, wherever its source says they are."""

from pathlib import Path

from phasewise.errors import DataError, suggest_nearest
from phasewise.provenance import source_files
from phasewise.settings import HubSource, PackageSource, TaskSettings
from phasewise.tasks.files import read_file
from phasewise.tasks.hub import read_hub
from phasewise.tasks.table import RowTable


def read_split(task: TaskSettings, split: str, data_dir: Path | None) -> RowTable:
    """Returns the raw rows of one split.

    Args:
        task: The task whose source is read.
        split: Name of the split in the source.
        data_dir: Folder that replaces the hub; None reads the hub itself.

    Raises:
        DataError: The data are missing or unreadable; the message starts with the task.
    """
    try:
        if isinstance(task.source, HubSource) and data_dir is None:
            return read_hub(task.source, split)
        return _read_local(task, split, data_dir)
    except DataError as error:
        prefix = f"task '{task.name}': "
        if str(error).startswith(prefix):
            raise
        raise DataError(f"{prefix}{error}") from error


def _read_local(task: TaskSettings, split: str, data_dir: Path | None) -> RowTable:
    files = source_files(task, data_dir)
    if split not in files:
        raise DataError(f"source has no split '{split}'{suggest_nearest(split, files)}")
    table = read_file(files[split], task.quoted)
    if isinstance(task.source, PackageSource):
        return _keep_where(table, task.source)
    return table


def _keep_where(table: RowTable, source: PackageSource) -> RowTable:
    """Returns the rows whose columns hold the wanted values, compared as text (as in a CSV)."""
    kept: list[int] = list(range(len(table.rows)))
    for column, wanted in source.where.items():
        values = [str(table.value(index, column)) for index in kept]
        found = [index for index, value in zip(kept, values, strict=True) if value == str(wanted)]
        if not found:
            raise DataError(
                f"{table.origin}: no row whose '{column}' is '{wanted}'"
                f"{suggest_nearest(str(wanted), set(values))}"
            )
        kept = found
    rows = [table.rows[index] for index in kept]
    return RowTable(table.origin, rows, [table.numbers[index] for index in kept], table.unit)
