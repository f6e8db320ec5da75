"""Tokenized data on disk, by content hash, shared by all runs and processes of a machine."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from phasewise.hub import cache_folder
from phasewise.tasks.examples import EvalSet, Example, Feature

#: Goes up when what is stored, or how it is computed, changes.
CACHE_FORMAT = 5


def load_or_build(key: str, build: Callable[[], EvalSet]) -> EvalSet:
    """Returns what is stored under ``key``, or builds and stores it.

    Several processes may build the same entry at once; the first to finish is kept. An entry
    that cannot be read is built again; a cache that cannot be written is not used.
    """
    folder = cache_folder() / "tokenized" / key
    try:
        return _read(folder)
    except (OSError, ValueError, KeyError, BadZipFile):
        built = build()
    try:
        _write(folder, built)
    except OSError:
        return built
    return built


@lru_cache(maxsize=1)  # 40 ms for a vocabulary of 30,000; a tokenizer is not changed once loaded
def hash_tokenizer(tokenizer: Any) -> str:
    """Returns a hash of all that tokens depend on; not of the padding last asked for."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        content: Any = sorted(tokenizer.get_vocab().items())
    else:
        content = json.loads(backend.to_str())
        content.pop("padding", None)
        content.pop("truncation", None)
    chat = getattr(tokenizer, "chat_template", None)
    special = tokenizer.special_tokens_map
    rules = [type(tokenizer).__name__, content, tokenizer.truncation_side, chat, special]
    text = json.dumps(rules, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _write(folder: Path, content: EvalSet) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".building."))
    try:
        arrays: dict[str, Any] = _flatten(content)
        np.savez(temporary / "arrays.npz", **arrays)
        rows = [list(example) for example in content.examples]
        text = json.dumps({"examples": rows, "notes": content.notes})
        (temporary / "examples.json").write_text(text, encoding="utf-8")
        temporary.chmod(0o755)
        _move_into_place(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _move_into_place(temporary: Path, folder: Path) -> None:
    """Renames, unless another process was first; an entry that cannot be read gives way."""
    try:
        os.rename(temporary, folder)
    except OSError:
        try:
            _read(folder)
        except (OSError, ValueError, KeyError, BadZipFile):
            shutil.rmtree(folder, ignore_errors=True)
            os.rename(temporary, folder)


def _read(folder: Path) -> EvalSet:
    texts = json.loads((folder / "examples.json").read_text(encoding="utf-8"))
    examples = [
        Example(name, tuple(words), label, tuple(answers), tuple(starts), line, group)
        for name, words, label, answers, starts, line, group in texts["examples"]
    ]
    with np.load(folder / "arrays.npz", allow_pickle=False) as arrays:
        stored = {name: arrays[name].astype(np.int64) for name in arrays.files}
    features = _unflatten(stored)
    offsets = _divide(stored["offsets"].reshape(-1, 2), stored["offset_lengths"])
    return EvalSet(
        examples,
        features,
        stored["example_of"],
        offsets,
        stored["null_positions"],
        tuple(texts["notes"]),
    )


def _flatten(content: EvalSet) -> dict[str, NDArray[np.int32]]:
    """Returns each column of the features as one array, with the lengths of its rows."""
    arrays: dict[str, Any] = {
        "example_of": content.example_of,
        "null_positions": content.null_positions,
        "offsets": np.concatenate([*content.offsets, np.zeros((0, 2), dtype=np.int64)]),
        "offset_lengths": [len(rows) for rows in content.offsets],
    }
    for name, first in content.features[0].items() if content.features else []:
        column = [feature[name] for feature in content.features]
        if np.ndim(first) == 0:
            arrays[f"scalar.{name}"] = column
        else:
            arrays[f"values.{name}"] = np.concatenate(column)
            arrays[f"lengths.{name}"] = [len(row) for row in column]
    return {name: np.asarray(array, dtype=np.int32) for name, array in arrays.items()}


def _unflatten(stored: dict[str, NDArray[np.int64]]) -> list[Feature]:
    columns: dict[str, Sequence[Any]] = {}
    for key, array in stored.items():
        kind, _, name = key.partition(".")
        if kind == "scalar":
            columns[name] = array.tolist()
        elif kind == "values":
            columns[name] = _divide(array, stored[f"lengths.{name}"])
    rows = zip(*columns.values(), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _divide(values: NDArray[np.int64], lengths: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return np.split(values, np.cumsum(lengths)[:-1]) if len(lengths) else []
