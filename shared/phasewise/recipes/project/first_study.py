"""The first study of a file of rows, as YAML with comments."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from phasewise.recipes.project.layout import TEMPLATES, require_absent
from phasewise.recipes.project.rows import (
    choose_metric,
    count_classes,
    find_beside,
    find_texts,
    measure_lengths,
)
from phasewise.recipes.study_writer import resolve_source
from phasewise.records import write_atomically
from phasewise.settings import REGISTRY, read_yaml, registry_names
from phasewise.tasks.files import read_file
from phasewise.tasks.table import RowTable

#: Share of the train file, and the most rows, that each set without a file of its own gets.
_SHARE, _MOST_ROWS = 0.2, 1600
#: Stems that say nothing of what the rows are about: then their folder's name does.
_NAMELESS = ("train", "training", "data")


@dataclass(frozen=True)
class FirstRequest:
    """What the command line says of the rows.

    Attributes:
        train: CSV, TSV, JSONL or Parquet.
        label: The column of the classes.
        texts: The text column, or two of a pair; empty: the longest one.
        others: ``validation`` and ``test`` to their files; None: one beside the train file, if any.
        base_model: None: that of the default study.
    """

    train: Path
    label: str
    texts: Sequence[str] = ()
    others: Mapping[str, Path | None] = field(default_factory=dict)
    base_model: str | None = None


def write_first_study(request: FirstRequest, folder: Path) -> Path:
    """Writes a study of these rows into a folder; returns its file.

    Raises:
        ConfigError: The file is there already.
        DataError: A file or a column is missing, or holds no texts or classes.
    """
    name = _name_task(request.train)
    file = folder / f"{name}.yaml"
    require_absent(file)
    content = {
        "name": name,
        "file": quote(str(file)),
        "label": request.label,
        **_describe_model(request),
    }
    content |= _describe_rows(request, file.parent)
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, keep_trailing_newline=True
    )
    environment.filters["quoted"] = _quote
    write_atomically(file, environment.get_template("study.yaml.jinja").render(content))
    return file


def _describe_rows(request: FirstRequest, folder: Path) -> dict[str, Any]:
    table = read_file(request.train)
    classes = count_classes(table, request.label)
    texts = find_texts(table, request.texts, request.label)
    tables = {"train": table}
    tables |= find_beside(request.train, request.others, {request.label, *texts})
    metric, reason = choose_metric(classes)
    lengths = measure_lengths(table, texts)
    rows = {split: len(each.rows) for split, each in tables.items()}
    carved = min(_MOST_ROWS, max(2, round(_SHARE * rows["train"])))
    return {
        "files": {split: _relative(each, folder) for split, each in tables.items()},
        "rows": rows,
        "report_rows": carved,
        "search_rows": None if "validation" in tables else carved,
        "texts": texts,
        "texts_note": "" if request.texts else " # the longest column; a second makes pairs",
        "classes": classes,
        "metric": metric,
        "metric_reason": reason,
        "max_length": lengths.proposed,
        "half": lengths.half,
        "most": lengths.most,
        "longest": lengths.longest,
    }


def _describe_model(request: FirstRequest) -> dict[str, Any]:
    if request.base_model is not None:
        return {"model": {"source": resolve_source(request.base_model)}}
    model = read_yaml(REGISTRY / "config.yaml")["model"]
    return {"model": {key: model[key] for key in ("source", "revision")}}


def _name_task(train: Path) -> str:
    """Returns a name for task and study: the file's, which no registered task has."""
    stem = train.resolve().parent.name if train.stem.lower() in _NAMELESS else train.stem
    name = re.sub(r"[^A-Za-z0-9]+", "_", stem).strip("_") or "rows"
    return f"own_{name}" if name in (*registry_names("tasks"), *registry_names("studies")) else name


def _relative(table: RowTable, folder: Path) -> str:
    return os.path.relpath(Path(table.origin).resolve(), folder.resolve())


def _quote(value: Any) -> str:
    """Returns a value as YAML on one line, in quotes if it is a text."""
    return yaml.safe_dump(
        value, default_style='"', allow_unicode=True, width=float("inf")
    ).removesuffix("\n")
