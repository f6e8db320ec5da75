"""Studies that a command writes: model and task as asked for, the rest from a preset or a suite.

The file is an ordinary study, so that every other command, and Snakemake, goes on from there.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from phasewise.errors import ConfigError
from phasewise.records import write_atomically
from phasewise.settings import load_study, merge_mappings
from phasewise.tasks.files import read_file

STUDY_FILE = "study.yaml"
SPACE_FILE = "search_space.yaml"
#: Of a file without splits this share, at most so many rows, is the search set; the report set too.
CARVED_SHARE = 0.1
MOST_CARVED_ROWS = 1000


@dataclass(frozen=True)
class Asked:
    """Model, data and machine, as the command line names them.

    Attributes:
        output_dir: Everything is written below it.
        study: Study file that model and tasks come from; None: from the fields below.
        base_model: Hub id, folder or package:NAME; replaces the study's.
        task: Registered task, or one of the study's; None: all of the study's.
        dataset: File that replaces the task's source; search and report set are carved from it.
        layers: Keep the model's first n layers.
        train_rows: Rows of the train sample.
        search_rows: Rows of the search set.
        report_rows: Rows of the report set.
        max_length: Tokens.
        device: auto, cpu or cuda.
        seed: Of the study.
        fixed: Hyperparameters held at a value.
    """

    output_dir: Path
    study: Path | None = None
    base_model: str | None = None
    task: str | None = None
    dataset: Path | None = None
    layers: int | None = None
    train_rows: int | None = None
    search_rows: int | None = None
    report_rows: int | None = None
    max_length: int | None = None
    device: str | None = None
    seed: int | None = None
    fixed: Mapping[str, Any] = field(default_factory=dict)


def write_derived_study(
    asked: Asked, folder: Path, content: Mapping[str, Any], space: Mapping[str, Any]
) -> Path:
    """Writes a study and its search space; returns the study's file.

    The same arguments write the same files, so a run that was cut off goes on.

    Args:
        asked: Model, data and machine.
        folder: Where both files go; experiments and analysis too.
        content: The study's name, methods, search and whatever else is its own.
        space: The search-space file.

    Raises:
        ConfigError: No model or no task is named.
    """
    study = merge_mappings(_base(asked), dict(content))
    study["search"] = {"space": SPACE_FILE, **study.get("search", {})}
    study |= {
        "experiments_dir": str(folder.resolve() / "experiments"),
        "analysis_dir": str(folder.resolve() / "analysis"),
    }
    _write(folder / SPACE_FILE, space)
    _write(folder / STUDY_FILE, study)
    return folder / STUDY_FILE


def _base(asked: Asked) -> dict[str, Any]:
    """Returns what model, data and machine say."""
    if asked.study is None and asked.base_model is None:
        raise ConfigError("no model: give --base-model, or --study with one")
    base: dict[str, Any] = {"tasks": _choose_tasks(asked)}
    if asked.study is not None:
        base["extends"] = str(asked.study.resolve())
        base["shards"] = {}  # they name all tasks of that study
    model = {"source": _find_model(asked.base_model), "layers": asked.layers}
    if any(model.values()):
        base["model"] = {key: value for key, value in model.items() if value is not None}
        if asked.base_model is not None:
            base["model"]["revision"] = None
    if asked.device is not None:
        base["machine"] = {"device": asked.device}
    if asked.seed is not None:
        base["seed"] = asked.seed
    return base


def _find_model(source: str | None) -> str | None:
    if source is None:
        return None
    folder = Path(source).expanduser()
    return str(folder.resolve()) if folder.is_dir() else source


def _choose_tasks(asked: Asked) -> dict[str, Any]:
    """Returns the study's ``tasks``: those of ``asked.study``, or the one that is asked for."""
    known = _tasks_of(asked.study) if asked.study else {}
    if asked.task is None and not known:
        raise ConfigError("no task: give --task, a name of `phasewise list tasks`")
    chosen = list(known) if asked.task is None else [asked.task]
    if asked.dataset is not None and len(chosen) > 1:
        raise ConfigError(f"--dataset: whose? give --task, one of {', '.join(chosen)}")
    return {name: merge_mappings(known.get(name, {}), _change_task(asked)) for name in chosen}


def _tasks_of(study: Path) -> dict[str, Any]:
    """Returns what a study says of its tasks, with the paths of files made absolute."""
    loaded = load_study(study)
    tasks: dict[str, Any] = {}
    for name, change in loaded.settings.tasks.items():
        tasks[name] = dict(change)
        if "source" in change:
            tasks[name]["source"] = loaded.tasks[name].source.model_dump(mode="json")
    return tasks


def _change_task(asked: Asked) -> dict[str, Any]:
    """Returns what sizes and file change in a task."""
    sizes = {"search_rows": asked.search_rows, "max_length": asked.max_length}
    task: dict[str, Any] = {key: value for key, value in sizes.items() if value is not None}
    if asked.train_rows is not None:
        task["train_rows"] = asked.train_rows
    if asked.report_rows is not None:
        task["splits"] = {"report_rows": asked.report_rows}
    if asked.dataset is None:
        return task
    rows = len(read_file(asked.dataset).rows)
    share = min(MOST_CARVED_ROWS, max(2, round(CARVED_SHARE * rows)))
    carved = {"train": "train", "search": None, "report": None, "report_rows": share}
    task = {"train_rows": None, "search_rows": share, **task}
    task["splits"] = {**carved, **task.get("splits", {})}
    task["source"] = {"type": "files", "files": {"train": str(asked.dataset.resolve())}}
    return task


def _write(path: Path, content: Mapping[str, Any]) -> None:
    head = "# Written by phasewise; every command takes the study as --study.\n"
    text = yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True)
    write_atomically(path, head + text)
