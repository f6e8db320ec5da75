"""From YAML files to a checked ``Study``: everything that can be refused is refused here."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import create_model

from phasewise.errors import ConfigError, suggest_nearest
from phasewise.extensions import recipe_modules
from phasewise.settings.across import check_across_sections
from phasewise.settings.base import merge_mappings, read_yaml
from phasewise.settings.hyperparameters import (
    Hyperparameters,
    find_settled,
    merge_hyperparameters,
)
from phasewise.settings.inheritance import is_beside, read_extended
from phasewise.settings.machine import ResourceSettings
from phasewise.settings.method import MethodSettings
from phasewise.settings.parsing import parse_section
from phasewise.settings.registry import (
    find_registered,
    find_study,
    registry_names,
    require_registered,
)
from phasewise.settings.space import FixedParameter, Parameter, SpaceSettings
from phasewise.settings.space_file import read_space
from phasewise.settings.study import ALL_SHARD, StudySettings
from phasewise.settings.task import FilesSource, TaskSettings


@dataclass(frozen=True)
class Study:
    """A study whose files have all been read, merged and checked."""

    path: Path
    settings: StudySettings
    tasks: Mapping[str, TaskSettings]
    methods: Mapping[str, MethodSettings]
    space: SpaceSettings

    def units_of(self, shard: str | None) -> list[tuple[str, str]]:
        """Returns the (task, method) pairs of a shard, in file order.

        Raises:
            ConfigError: ``shard`` is None or not a shard of the study.
        """
        return [(task, method) for task in self.tasks_of(shard) for method in self.methods]

    def tasks_of(self, shard: str | None) -> list[str]:
        """Returns the tasks of a shard, in the study's order; ``all`` is every task."""
        known = [*self.settings.shards, ALL_SHARD]
        if shard is None:
            raise ConfigError(
                f"{self.path}: which machine is this? expected vm to be one of {', '.join(known)}; "
                "got none; use a profile (after `make setup`: snakemake --profile vm1) or "
                "--config vm=NAME"
            )
        if shard == ALL_SHARD:
            return list(self.tasks)
        if shard not in self.settings.shards:
            raise ConfigError(
                f"{self.path}: vm '{shard}' is not a shard{suggest_nearest(str(shard), known)}"
            )
        return [task for task in self.tasks if task in self.settings.shards[shard]]

    def parameters_of(self, method: str) -> dict[str, Parameter]:
        """Returns the search space of a method; ``search.fixed`` has been laid over it.

        What a fixed value would be overruled by, or overrules, is no part of it.
        """
        space = self.space.parameters_of(self.methods[method])
        for name in find_settled(self.settings.search.fixed):
            space.pop(name, None)
        for name, value in self.settings.search.fixed.items():
            space[name] = FixedParameter(type="fixed", value=value)
        return space

    def constraints_of(self, method: str) -> tuple[str, ...]:
        """Returns the comparisons that every draw for a method must meet."""
        return self.space.constraints_on(self.parameters_of(method))

    def default_hyperparameters(self, task: str, method: str) -> Hyperparameters:
        """Returns the published default of a method on a task, with ``search.fixed`` over it."""
        settings = self.methods[method]
        values = {**settings.defaults, **settings.defaults_by_task.get(task, {})}
        return merge_hyperparameters(Hyperparameters(**values), self.settings.search.fixed)

    def resources_of(self, task: str, method: str) -> ResourceSettings:
        """Returns what a unit's jobs ask of a cluster: default, then task, then method."""
        by = self.settings.resources_by
        base = self.settings.resources.model_dump()
        return ResourceSettings(**{**base, **by.get(task, {}), **by.get(method, {})})


def load_study(path: Path | str) -> Study:
    """Reads a study file with everything it refers to.

    Args:
        path: The study's YAML, or the name of a registered study. ``extends: other.yaml`` (relative
            to it) is read first, see ``inheritance``.

    Raises:
        ConfigError: Anything is missing, misspelt or contradictory; the message names the file,
            the key, what was expected and the nearest valid name.
    """
    path = find_study(Path(path))
    content = read_extended(path)
    if not content:
        raise ConfigError(
            f"{path}: the file is empty; expected name, model, tasks and methods, or `extends:` of "
            "a study that has them"
        )
    settings = parse_section(study_model(), content, path)
    tasks = {name: _load_task(name, change, path) for name, change in settings.tasks.items()}
    methods = {name: _load_method(name, change, path) for name, change in settings.methods.items()}
    space = load_space(settings.search.space, path)
    settings = _apply_environment(_with_model_path(settings, path.parent))
    settings = _with_machine_files(settings, path)
    study = Study(path, settings, tasks, methods, space)
    check_across_sections(study)
    return study


@cache
def study_model() -> type[StudySettings]:
    """Returns the study's model with the sections that recipes add to it."""
    sections = {k: v for module in recipe_modules("section") for k, v in module.SECTIONS.items()}
    fields: dict[str, Any] = {key: (model, model()) for key, model in sections.items()}
    return create_model("StudySettings", __base__=StudySettings, **fields)


def load_space(name: str, asked_by: Path) -> SpaceSettings:
    """Returns the search space of that name; a path to a YAML file works too."""
    if name.endswith((".yaml", ".yml")):
        file = asked_by.parent / name
        if not file.is_file():
            raise ConfigError(
                f"{asked_by}: search.space: no file {file}; the path is relative to the study, "
                "a name without .yaml is one of `phasewise list spaces`"
            )
        return read_space(file, file.stem)
    return read_space(require_registered("spaces", name, f"{asked_by}: search.space"), name)


def load_task(name: str) -> TaskSettings:
    """Returns a registered task as its file has it; errors are those of ``load_study``."""
    return _load_task(name, {}, Path("shared/tasks"))


@cache
def _read_file(path: Path) -> dict[str, Any]:
    return read_yaml(path)


def _read_registered(
    folder: str, name: str, asked_by: Path, key: str
) -> tuple[dict[str, Any], Path]:
    file = require_registered(folder, name, f"{asked_by}: {key}")
    return {"name": name, **_read_file(file)}, file


def _load_task(name: str, change: dict[str, Any], study: Path) -> TaskSettings:
    registered = find_registered("tasks", name) is not None
    _check_name("tasks", name, change, study)
    prefix = f"tasks.{name}."
    if "kind" in change and not registered:  # a task of the study's own, written in place
        content = {"name": name, **change}
        return _with_absolute_files(
            parse_section(TaskSettings, content, study, prefix=prefix), study
        )
    if change and not registered:
        raise ConfigError(
            f"{study}: 'tasks.{name}.kind' is missing, and no file {name}.yaml in shared/tasks/"
            f"{suggest_nearest(name, registry_names('tasks'))}"
        )
    content, file = _read_registered("tasks", name, study, f"tasks.{name}")
    task = parse_section(TaskSettings, content, file)
    if not change:
        return _with_absolute_files(task, file)
    replaced = {**content, "source": {}} if "source" in change else content
    merged = merge_mappings(replaced, change)
    where = study if "source" in change else file
    return _with_absolute_files(parse_section(TaskSettings, merged, study, prefix=prefix), where)


def _check_name(key: str, name: str, change: dict[str, Any], study: Path) -> None:
    if (other := change.get("name", name)) != name:
        raise ConfigError(f"{study}: {key}.{name}.name: got {other!r}; its name is its key, {name}")


def _with_absolute_files(task: TaskSettings, file: Path) -> TaskSettings:
    if not isinstance(task.source, FilesSource):
        return task
    if not task.source.files:
        raise ConfigError(
            f"{file}: task '{task.name}': source.files: expected `split: file` lines, got none"
        )
    files = {k: (file.parent / v).resolve() for k, v in task.source.files.items()}
    return task.model_copy(update={"source": FilesSource(files=files)})


def _with_model_path(settings: StudySettings, folder: Path) -> StudySettings:
    """A model beside the study file is named as seen from here, so that a copy has equal hashes."""
    source = settings.model.source
    if not is_beside(source, folder):
        return settings
    path, here = (folder / source).resolve(), Path.cwd()
    shown = path.relative_to(here) if path.exists() and path.is_relative_to(here) else path
    model = settings.model.model_copy(update={"source": f"{shown}"})
    return settings.model_copy(update={"model": model})


def _with_machine_files(settings: StudySettings, study: Path) -> StudySettings:
    """What the machine's settings name beside the study file is found from anywhere."""
    machine = settings.machine
    files = {key: getattr(machine, key) for key in ("fsdp_config", "deepspeed_config")}
    found = {key: (study.parent / file).resolve() for key, file in files.items() if file}
    return settings.model_copy(update={"machine": machine.model_copy(update=found)})


def _load_method(name: str, change: dict[str, Any], study: Path) -> MethodSettings:
    _check_name("methods", name, change, study)
    base = change.get("base", name)
    content, file = _read_registered("methods", base, study, f"methods.{name}")
    if base != name:  # a variant that only this study has
        change = {**{k: v for k, v in change.items() if k != "base"}, "name": name}
    where, prefix = (study, f"methods.{name}.") if change else (file, "")
    return parse_section(MethodSettings, merge_mappings(content, change), where, prefix=prefix)


def _apply_environment(settings: StudySettings) -> StudySettings:
    """PHASEWISE_DATA and PHASEWISE_DEVICE stand above the study file."""
    if folder := os.environ.get("PHASEWISE_DATA"):
        settings = settings.model_copy(update={"data_dir": Path(folder).resolve()})
    if device := os.environ.get("PHASEWISE_DEVICE"):
        content = {**settings.machine.model_dump(), "device": device}
        machine = parse_section(type(settings.machine), content, Path("PHASEWISE_DEVICE"))
        settings = settings.model_copy(update={"machine": machine})
    return settings
