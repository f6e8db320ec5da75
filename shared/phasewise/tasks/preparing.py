"""Data sets made ready: duplicates dropped, a sample drawn and split, with a manifest."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from phasewise.errors import ConfigError, DataError
from phasewise.records import write_atomically, write_json
from phasewise.seeding import derive_seed
from phasewise.settings import TaskSettings
from phasewise.settings.prompt import placeholders
from phasewise.tasks.sources import read_split
from phasewise.tasks.table import RowTable

#: So many rows mean all of them, as documented.
ALL_ROWS = -1


@dataclass(frozen=True)
class Prepared:
    """What was written."""

    files: Mapping[str, Path]  # part (sample, or train and test) to its file
    manifest: Path
    rows_read: int
    duplicates: int


def prepare_data(
    task: TaskSettings,
    *,
    output_dir: Path,
    num_samples: int = ALL_ROWS,
    train_share: float | None = None,
    split: str | None = None,
    seed: int = 0,
    data_dir: Path | None = None,
    table: RowTable | None = None,
) -> Prepared:
    """Writes a task's rows as JSONL with a manifest of counts and hashes.

    Rows are equal where the columns that the task reads are (their text without case and outer
    blanks); the first of them stays. The sample is drawn after that, without replacement, and kept
    in the order of the source; the split is by rows that are all different, so no text is in both.

    Args:
        task: Says which columns count, and where the rows are.
        output_dir: Gets ``{task}_{rows}_sample.jsonl``, with a split ``…_train`` and ``…_test``.
        num_samples: Rows drawn; -1: all.
        train_share: Of the sample, above 0 and below 1; None: no split.
        split: Of the source; None: the task's train split.
        seed: Of sample and split; the same seed gives the same files.
        data_dir: Folder that replaces the hub.
        table: Rows to use instead of the task's source.

    Raises:
        ConfigError: A number is out of range.
        DataError: The data are missing, lack a column, or have fewer rows than asked for.
    """
    _check(num_samples, train_share)
    table = table or read_split(task, split or task.splits.train, data_dir)
    kept = _drop_duplicates(table, _columns(task))
    generator = np.random.default_rng(derive_seed(seed, "prepare", task.name))
    chosen = _draw(table, kept, num_samples, generator)
    stem = f"{task.name}_{len(chosen) if num_samples != ALL_ROWS else 'full'}_sample"
    parts = _split(chosen, train_share, generator)
    files = _write_parts(table, parts, output_dir / stem)
    manifest = output_dir / f"{stem}.manifest.json"
    content = {
        "task": task.name,
        "source": task.source.model_dump(mode="json"),
        "read_from": table.origin,
        "seed": seed,
        "rows_read": len(table.rows),
        "duplicates_dropped": len(table.rows) - len(kept),
        "equal_by": list(_columns(task)),
        "num_samples": num_samples,
        "train_share": train_share,
        "files": {
            path.name: _describe_file(path, part, len(parts[part])) for part, path in files.items()
        },
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write_json(manifest, content)
    return Prepared(files, manifest, len(table.rows), len(table.rows) - len(kept))


def _write_parts(
    table: RowTable, parts: Mapping[str, Sequence[int]], stem: Path
) -> dict[str, Path]:
    files = {}
    for part, indices in parts.items():
        name = stem.name if part == "sample" else f"{stem.name}_{part}"
        files[part] = stem.with_name(f"{name}.jsonl")
        write_atomically(files[part], "".join(_line(table.rows[index]) for index in indices))
    return files


def _describe_file(path: Path, part: str, rows: int) -> dict[str, Any]:
    return {
        "part": part,
        "rows": rows,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }


def _check(num_samples: int, train_share: float | None) -> None:
    if num_samples != ALL_ROWS and num_samples < 1:
        raise ConfigError(f"--num-samples {num_samples}: expected 1 or more, or -1 for all rows")
    if train_share is not None and not 0 < train_share < 1:
        raise ConfigError(
            f"--train-test-split {train_share:g}: expected the train share, above 0 and below 1"
        )


def _columns(task: TaskSettings) -> tuple[str, ...]:
    """Returns the columns that make two rows equal: what a model is given, not its answer."""
    if task.traits.has_classes:
        return task.text
    if task.traits.generates and task.prompt is not None:
        texts = (task.prompt.template, task.prompt.system or "")
        return tuple(dict.fromkeys(name for text in texts for name in placeholders(text)))
    return ("context", "question")


def _drop_duplicates(table: RowTable, columns: Sequence[str]) -> list[int]:
    """Returns the indices of the first row of each text; a missing column counts as empty."""
    if not any(column in row for row in table.rows for column in columns):
        raise DataError(f"{table.origin}: none of the columns {', '.join(columns)}")
    seen: set[tuple[str, ...]] = set()
    kept = []
    for index, row in enumerate(table.rows):
        key = tuple(str(row.get(column) or "").strip().casefold() for column in columns)
        if key not in seen:
            seen.add(key)
            kept.append(index)
    return kept


def _draw(
    table: RowTable, kept: list[int], num_samples: int, generator: np.random.Generator
) -> list[int]:
    if num_samples == ALL_ROWS:
        return kept
    if num_samples > len(kept):
        raise DataError(
            f"{table.origin}: --num-samples {num_samples}: expected at most {len(kept)}, the rows "
            f"without duplicates ({len(table.rows)} with them)"
        )
    return sorted(int(i) for i in generator.choice(kept, num_samples, replace=False))


def _split(
    chosen: list[int], train_share: float | None, generator: np.random.Generator
) -> dict[str, list[int]]:
    if train_share is None:
        return {"sample": chosen}
    size = round(train_share * len(chosen))
    if not 0 < size < len(chosen):
        raise ConfigError(
            f"--train-test-split {train_share:g} of {len(chosen)} rows leaves an empty part"
        )
    train = {int(i) for i in generator.choice(chosen, size, replace=False)}
    return {
        "train": [index for index in chosen if index in train],
        "test": [index for index in chosen if index not in train],
    }


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False, default=str) + "\n"
