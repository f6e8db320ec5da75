"""The study that ``phasewise search --train-file …`` writes: one task from files, one method.

The study file is an ordinary one, so that everything else (``validate``, ``report``, Snakemake)
goes on from there, and the search itself is the one that every study has.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from phasewise.errors import ConfigError, DataError, suggest_nearest
from phasewise.recipes.file_search.spaces import keep_space, place_space
from phasewise.recipes.small_models import fit_defaults
from phasewise.recipes.study_writer import (
    count_carved,
    resolve_source,
    write_study,
)
from phasewise.settings import (
    COSTS,
    TaskKind,
    metrics_of,
    read_yaml,
    require_registered,
)
from phasewise.tasks.files import read_file
from phasewise.tasks.table import RowTable

#: Name of the one task of such a study.
TASK = "dataset"
#: Columns that are taken for the text or the label where none is named.
_TEXT_COLUMNS = ("text", "sentence", "content", "review", "question")
_LABEL_COLUMNS = ("label", "labels", "class", "category", "target")
_RESPONSE_COLUMNS = ("output", "response", "answer", "completion")
_ASK_COLUMNS = ("instruction", "prompt", "question", "input")


class _KindDefaults(NamedTuple):
    """What a kind of data takes where the command line says nothing."""

    max_length: int  # tokens
    space: str  # in shared/spaces/


_KIND_DEFAULTS = {
    "classification": _KindDefaults(128, "recommended"),
    "instruction": _KindDefaults(512, "llm"),
}


@dataclass(frozen=True)
class FileRequest:
    """What the command line asks for; None leaves the setting's default.

    Attributes:
        base_model: Hub id, folder or package:NAME.
        train_file: JSONL, CSV, TSV or Parquet.
        validation_file: The search set.
        test_file: The report set; None carves one from the train file.
        output_dir: Everything is written below it.
        method: Name in ``shared/methods/``.
        search_space: A YAML file, or a name in ``shared/spaces/``; None: by the kind of the data.
        objective: A metric, ``multi:a,b`` or ``pareto:a,b``; None: the kind's first metric.
        text_columns: None: found by name.
        label_column: None: found by name.
        response_column: Column of the response, of instruction data; None: found by name.
        prompt_template: Text with ``{column}``; None: Alpaca's, or its short form.
        max_length: Tokens; None: by the kind of the data.
        search: Further keys of the study's ``search`` section.
        machine: Keys of the study's ``machine`` section.
        layers: Keep the first n layers of the model.
        seed: Of the study.
    """

    base_model: str
    train_file: Path
    validation_file: Path
    output_dir: Path
    test_file: Path | None = None
    method: str = "lora"
    search_space: str | None = None
    objective: str | None = None
    text_columns: Sequence[str] = ()
    label_column: str | None = None
    response_column: str | None = None
    prompt_template: str | None = None
    max_length: int | None = None
    search: dict[str, Any] | None = None
    machine: dict[str, Any] | None = None
    layers: int | None = None
    seed: int = 0


def write_file_study(request: FileRequest) -> Path:
    """Writes the study with its search space into the output folder; returns the study's file.

    Writing it again with the same arguments changes nothing, so a search that was cut off goes on.

    Raises:
        ConfigError: The space, or a column, is not there.
        DataError: A data file is missing or unreadable.
    """
    table = read_file(request.train_file)
    rows = _describe_rows(request, table)
    defaults = _KIND_DEFAULTS[rows["kind"]]
    model = _describe_model(request)
    search = dict(request.search or {})
    if request.objective is not None and ":" in request.objective:
        kind, _, names = request.objective.partition(":")
        short = (short_metric(name, rows["kind"]) for name in names.split(","))
        search["objective"] = f"{kind}:{','.join(short)}"
    space = _choose_space(request, rows["kind"], model)
    content = {
        "name": _study_name(request.output_dir),
        "description": f"{request.method} on {request.train_file.name}, from the command line",
        "seed": request.seed,
        "model": model,
        "tasks": {
            TASK: {"max_length": defaults.max_length, **rows, **_describe_files(request, table)}
        },
        "methods": {
            request.method: fit_defaults(space, request.method, len(table.rows), rows["metric"])
        },
        "baselines": {"seeds": 2},
        "search": {"space": place_space(space, request.output_dir, request.max_length), **search},
        "machine": request.machine or {},
        # A peak of runs that train together would be nobody's own.
        **({"training": {"engine": "trainer"}} if _measures_memory(search) else {}),
    }
    return write_study(request.output_dir, content)


def _measures_memory(search: dict[str, Any]) -> bool:
    return "memory_constraint_gb" in search or "memory_gb" in search.get("objective", "")


def _study_name(folder: Path) -> str:
    name = "".join(c if c.isalnum() or c in "_.-" else "-" for c in folder.resolve().name)
    return name.strip("-._") or "search"


def _describe_model(request: FileRequest) -> dict[str, Any]:
    source = resolve_source(request.base_model)
    return {"source": source, **({"layers": request.layers} if request.layers else {})}


def _choose_space(request: FileRequest, kind: TaskKind, model: dict[str, Any]) -> str:
    if request.search_space is not None:
        return request.search_space
    default = _KIND_DEFAULTS[kind].space
    return default if kind != "classification" else keep_space(default, model, request.output_dir)


def _describe_files(request: FileRequest, table: RowTable) -> dict[str, Any]:
    """Returns source and splits; ``max_length`` too where it is asked for."""
    files = {"train": request.train_file, "validation": request.validation_file}
    splits: dict[str, Any] = {"train": "train", "search": "validation"}
    if request.test_file is not None:
        files["test"] = request.test_file
        splits["report"] = "test"
    else:
        splits |= {"report": None, "report_rows": count_carved(len(table.rows))}
    return {
        "source": {
            "type": "files",
            "files": {split: str(file.resolve()) for split, file in files.items()},
        },
        "splits": splits,
        **({} if request.max_length is None else {"max_length": request.max_length}),
    }


def _describe_rows(request: FileRequest, table: RowTable) -> dict[str, Any]:
    """Returns kind, columns and metric: with a response column instructions, else classes."""
    columns = list(table.rows[0])
    response = request.response_column or _first_of(_RESPONSE_COLUMNS, columns)
    if request.response_column or (response and not request.label_column):
        return _describe_instruction(request, table, str(response))
    label = request.label_column or _first_of(_LABEL_COLUMNS, columns)
    if label is None or label not in columns:
        raise DataError(
            f"{table.origin}: no column '{label or 'label'}'"
            f"{suggest_nearest(label or 'label', columns)}; name it with --label-column, or that "
            "of the responses with --response-column"
        )
    texts = list(request.text_columns) or [c for c in _TEXT_COLUMNS if c in columns][:1]
    texts = texts or [c for c in columns if c != label and isinstance(table.rows[0][c], str)][:1]
    for column in texts or ["text"]:
        if column not in columns:
            near = suggest_nearest(column, columns)
            raise DataError(f"{table.origin}: no column '{column}'{near}; see --text-column")
    return {
        "kind": "classification",
        "text": texts,
        "label": label,
        "labels": _find_labels(table, label),
        "metric": _choose_metric("classification", request.objective),
    }


def _describe_instruction(request: FileRequest, table: RowTable, response: str) -> dict[str, Any]:
    columns = list(table.rows[0])
    if response not in columns:
        near = suggest_nearest(response, columns)
        raise DataError(f"{table.origin}: no column '{response}'{near}; see --response-column")
    prompt: dict[str, Any] = {"template": request.prompt_template}
    if request.prompt_template is None:
        named = (
            request.text_columns[0] if request.text_columns else _first_of(_ASK_COLUMNS, columns)
        )
        if named is None or named not in columns:
            raise DataError(
                f"{table.origin}: no column with the prompt; it has {', '.join(columns)}: name it "
                "with --text-column, or write --prompt-template 'Q: {column}'"
            )
        prompt = _alpaca_prompt(named, has_input=named == "instruction" and "input" in columns)
    return {
        "kind": "instruction",
        "prompt": prompt,
        "response": response,
        "metric": _choose_metric("instruction", request.objective),
    }


def _alpaca_prompt(column: str, *, has_input: bool) -> dict[str, Any]:
    """Returns the templates of the registered Alpaca task, with another column's name in them."""
    prompt: dict[str, Any] = read_yaml(require_registered("tasks", "alpaca"))["prompt"]
    if has_input:
        return prompt
    return {"template": prompt["template_without"].replace("{instruction}", f"{{{column}}}")}


def _first_of(names: Sequence[str], columns: Sequence[str]) -> str | None:
    return next((name for name in names if name in columns), None)


def _find_labels(table: RowTable, column: str) -> list[str]:
    """Returns the classes of the train file: whole numbers in their order, else by name."""
    found = {str(table.value(row, column)) for row in range(len(table.rows))}
    if all(name.lstrip("-").isdecimal() for name in found):
        return sorted(found, key=int)
    return sorted(found)


def _choose_metric(kind: TaskKind, objective: str | None) -> str:
    """Returns the task's metric: the objective's own, or the first metric that it names."""
    known = metrics_of(kind)
    if objective is None:
        return known[0]
    written = objective.rpartition(":")[2].split(",")
    for name in written:
        if short_metric(name, kind) not in (*known, *COSTS):
            near = suggest_nearest(name, (*known, *COSTS))
            raise ConfigError(f"--objective {objective}: '{name}' is no metric of {kind}{near}")
    short = [short_metric(name, kind) for name in written]
    metrics = [name for name in short if name in known]
    if not metrics:
        raise ConfigError(f"--objective {objective}: expected at least one metric of {kind}")
    return metrics[0]


def short_metric(name: str, kind: TaskKind) -> str:
    """Returns our name of a metric; the Trainer calls ``accuracy`` of classes ``eval_accuracy``."""
    written = name.strip()
    return written if written in metrics_of(kind) else written.removeprefix("eval_")
