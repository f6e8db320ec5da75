"""What a command line requests of a study: model, data and machine."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from phasewise.errors import ConfigError
from phasewise.recipes.study_writer import count_carved, resolve_source
from phasewise.settings import load_study, merge_mappings, read_yaml, registry_names
from phasewise.settings.prompt import placeholders
from phasewise.settings.registry import require_registered
from phasewise.tasks.files import read_file


@dataclass(frozen=True)
class StudyRequest:
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

    def complete(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """Returns a study with model, data and machine as requested.

        Args:
            content: The study's name, methods, search and whatever else is its own.

        Raises:
            ConfigError: No model or no task is named.
        """
        return merge_mappings(_describe(self), dict(content))


def _describe(request: StudyRequest) -> dict[str, Any]:
    """Returns what model, data and machine say."""
    if request.study is None and request.base_model is None:
        raise ConfigError("no model: give --base-model, or --study with one")
    base: dict[str, Any] = {"tasks": _choose_tasks(request)}
    if request.study is not None:
        base["extends"] = str(request.study.resolve())
        base["shards"] = {}  # they name all tasks of that study
    model: dict[str, Any] = {}
    if request.base_model is not None:
        model = {"source": resolve_source(request.base_model), "revision": None}
    if request.layers is not None:
        model["layers"] = request.layers
    if model:
        base["model"] = model
    if request.device is not None:
        base["machine"] = {"device": request.device}
    if request.seed is not None:
        base["seed"] = request.seed
    return base


def _choose_tasks(request: StudyRequest) -> dict[str, Any]:
    """Returns the study's ``tasks``: those of ``request.study``, or the one that was named."""
    known = _tasks_of(request.study) if request.study else {}
    named = request.task
    if named is None and not known and request.dataset is not None:
        named = find_task(request.dataset)
    if named is None and not known:
        raise ConfigError("no task: give --task, a name of `phasewise list tasks`")
    chosen = list(known) if named is None else [named]
    if request.dataset is not None and len(chosen) > 1:
        raise ConfigError(f"--dataset: whose? give --task, one of {', '.join(chosen)}")
    return {name: merge_mappings(known.get(name, {}), _change_task(request)) for name in chosen}


def find_task(dataset: Path) -> str | None:
    """Returns the registered instruction task whose columns a file has; None if none or several.

    Of classes it is not asked: which ones there are, columns do not tell.
    """
    columns = set(read_file(dataset).rows[0])
    sizes: dict[str, int] = {}
    for name in registry_names("tasks"):
        task = read_yaml(require_registered("tasks", name))
        prompt = task.get("prompt")
        if prompt:
            whole = prompt["template"] + prompt.get("system", "")
            least = {*placeholders(prompt.get("template_without") or whole), task["response"]}
            if least <= columns:
                sizes[name] = len({*placeholders(whole), *least} & columns)
    best = [name for name, size in sizes.items() if size == max(sizes.values())]
    return best[0] if len(best) == 1 else None


def _tasks_of(study: Path) -> dict[str, Any]:
    """Returns what a study says of its tasks, with the paths of files made absolute."""
    loaded = load_study(study)
    tasks: dict[str, Any] = {}
    for name, change in loaded.settings.tasks.items():
        tasks[name] = dict(change)
        if "source" in change:
            tasks[name]["source"] = loaded.tasks[name].source.model_dump(mode="json")
    return tasks


def _change_task(request: StudyRequest) -> dict[str, Any]:
    """Returns what sizes and file change in a task."""
    sizes = {"search_rows": request.search_rows, "max_length": request.max_length}
    task: dict[str, Any] = {key: value for key, value in sizes.items() if value is not None}
    if request.train_rows is not None:
        task["train_rows"] = request.train_rows
    if request.report_rows is not None:
        task["splits"] = {"report_rows": request.report_rows}
    if request.dataset is None:
        return task
    share = count_carved(len(read_file(request.dataset).rows))
    carved = {"train": "train", "search": None, "report": None, "report_rows": share}
    task = {"train_rows": None, "search_rows": share, **task}
    task["splits"] = {**carved, **task.get("splits", {})}
    task["source"] = {"type": "files", "files": {"train": str(request.dataset.resolve())}}
    return task
