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

from phasewise.recipes.project.instruction_rows import (
    describe_instruction,
    find_prompt,
    find_response,
)
from phasewise.recipes.project.layout import TEMPLATES, require_absent
from phasewise.recipes.project.rows import (
    choose_metric,
    count_classes,
    find_beside,
    find_texts,
    measure_lengths,
)
from phasewise.recipes.small_models import fit_defaults, fit_space
from phasewise.recipes.study_writer import resolve_source
from phasewise.records import write_atomically
from phasewise.settings import REGISTRY, read_yaml, registry_names
from phasewise.tasks.files import read_file
from phasewise.tasks.table import RowTable

#: Share of the train file, and the most rows, that each set without a file of its own gets.
_SHARE, _MOST_ROWS = 0.2, 1600
#: For instruction data: it trains on a laptop.
_SMALL_DECODER = "HuggingFaceTB/SmolLM2-135M-Instruct"
#: Stems that say nothing of what the rows are about: then their folder's name does.
_NAMELESS = ("train", "training", "data")


@dataclass(frozen=True)
class FirstRequest:
    """What the command line says of the rows.

    Attributes:
        train: CSV, TSV, JSONL or Parquet.
        label: The column of the classes; empty: `response`, or columns that are called as those of
            instruction data are.
        texts: The text column, or two of a pair, or those of the prompt; empty: the longest one,
            and of instruction data those with the usual names.
        others: ``validation`` and ``test`` to their files; None: one beside the train file, if any.
        base_model: None: that of the default study; for instruction data a small decoder.
        response: The column of the answers, of instruction data.
    """

    train: Path
    label: str = ""
    texts: Sequence[str] = ()
    others: Mapping[str, Path | None] = field(default_factory=dict)
    base_model: str | None = None
    response: str = ""


def write_first_study(request: FirstRequest, folder: Path) -> Path:
    """Writes a study of these rows into a folder; returns its file.

    Raises:
        ConfigError: The file is there already.
        DataError: A file or a column is missing, or holds no texts or classes.
    """
    name = _name_task(request.train)
    file = folder / f"{name}.yaml"
    require_absent(file)
    table = read_file(request.train)
    response = "" if request.label else find_response(table, request.response)
    kind = "instruction" if response else "classification"
    content: dict[str, Any] = {"name": name, "file": quote(str(file)), "kind": kind}
    content["model"] = _describe_model(request, kind)
    space = "llm" if response else fit_space("recommended", content["model"])
    content["space"] = space
    methods = ("lora", "rslora") if response else ("full_finetune", "lora")
    if response:
        texts = find_prompt(table, request.texts, response)
        content |= describe_instruction(table, texts, response)
        needed = {response, texts[0]}
    else:
        texts = find_texts(table, request.texts, request.label)
        content |= _describe_classes(table, texts, request)
        needed = {request.label, *texts}
    content["methods"] = {
        method: fit_defaults(space, method, len(table.rows), content["metric"])
        for method in methods
    }
    content |= _describe_files(request, table, needed, file.parent)
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, keep_trailing_newline=True
    )
    environment.filters["quoted"] = _quote
    write_atomically(file, environment.get_template("study.yaml.jinja").render(content))
    return file


def _describe_classes(
    table: RowTable, texts: Sequence[str], request: FirstRequest
) -> dict[str, Any]:
    classes = count_classes(table, request.label)
    metric, reason = choose_metric(classes)
    return {
        "label": request.label,
        "texts": texts,
        "texts_note": "" if request.texts else " # the longest column; a second makes pairs",
        "classes": classes,
        "metric": metric,
        "metric_reason": reason,
        "lengths": measure_lengths(table, texts),
    }


def _describe_files(
    request: FirstRequest, table: RowTable, needed: set[str], folder: Path
) -> dict[str, Any]:
    """Returns the files of the sets, and the sizes of those that are carved."""
    tables = {"train": table, **find_beside(request.train, request.others, needed)}
    rows = {split: len(each.rows) for split, each in tables.items()}
    carved = min(_MOST_ROWS, max(2, round(_SHARE * rows["train"])))
    return {
        "files": {split: _relative(each, folder) for split, each in tables.items()},
        "rows": rows,
        "report_rows": carved,
        "search_rows": None if "validation" in tables else carved,
    }


def _describe_model(request: FirstRequest, kind: str) -> dict[str, Any]:
    if request.base_model is not None:
        return {"source": resolve_source(request.base_model)}
    if kind == "instruction":
        return {"source": _SMALL_DECODER}
    model = read_yaml(REGISTRY / "config.yaml")["model"]
    return {key: model[key] for key in ("source", "revision")}


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
