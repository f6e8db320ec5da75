"""What no single section of a study can see: whether its sections fit together."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from phasewise.errors import ConfigError, suggest_nearest
from phasewise.settings.devices import check_devices
from phasewise.settings.hyperparameters import OVERRULES, Hyperparameters
from phasewise.settings.machine import ResourceSettings
from phasewise.settings.objective import check_objective_names, parse_objective
from phasewise.settings.parsing import parse_section
from phasewise.settings.space_file import example_values
from phasewise.settings.study import ALL_SHARD
from phasewise.settings.task import TaskSettings

if TYPE_CHECKING:
    from phasewise.settings.loading import Study

#: Hyperparameters that need classes, with the value that any task takes.
_OF_CLASSES = {"sampling": "shuffle", "class_weights": "none"}


def check_across_sections(study: "Study") -> None:
    """Checks what no single section can see; runs before anything is planned.

    Raises:
        ConfigError: Two sections do not fit together; the message names both.
    """
    _check_shards(study)
    _check_unit_names(study)
    for method, settings in study.methods.items():
        try:
            study.space.section_of(settings)
        except ValueError as error:
            raise ConfigError(f"{study.path}: {error}") from error
        _check_overruled(study, method)
        for task in study.tasks:
            _check_hyperparameters(study, task, method)
    names = parse_objective(study.settings.search.objective).names
    for task, task_settings in study.tasks.items():
        try:
            check_objective_names(names, task_settings.kind)
        except ValueError as error:
            raise ConfigError(f"{study.path}: search.objective: task '{task}': {error}") from error
    _check_resources(study)
    check_devices(study)


def _check_resources(study: "Study") -> None:
    known = {*study.tasks, *study.methods}
    for name, change in study.settings.resources_by.items():
        if name not in known:
            raise ConfigError(
                f"{study.path}: resources_by.{name} is neither a task nor a method of the study"
                f"{suggest_nearest(name, known)}"
            )
        parse_section(ResourceSettings, {**change}, study.path, prefix=f"resources_by.{name}.")


def _check_shards(study: "Study") -> None:
    shards = study.settings.shards
    if ALL_SHARD in shards:
        raise ConfigError(f"{study.path}: shards: the name 'all' is built in; choose another")
    owner: dict[str, str] = {}
    for shard, tasks in shards.items():
        for task in tasks:
            if task not in study.tasks:
                raise ConfigError(
                    f"{study.path}: shards.{shard} names task '{task}', which the study lacks"
                    f"{suggest_nearest(task, study.tasks)}"
                )
            if task in owner:
                raise ConfigError(
                    f"{study.path}: task '{task}' is on shards '{owner[task]}' and '{shard}'; "
                    "expected each task on one"
                )
            owner[task] = shard
    if shards and (left := [task for task in study.tasks if task not in owner]):
        raise ConfigError(
            f"{study.path}: shards leave out {', '.join(left)}; add each to one, or write "
            "`shards: null` where one machine does all"
        )


def _check_unit_names(study: "Study") -> None:
    """``{task}_{method}_optimal.yaml`` must name one unit only."""
    files: dict[str, tuple[str, str]] = {}
    for task in study.tasks:
        for method in study.methods:
            other = files.setdefault(f"{task}_{method}", (task, method))
            if other != (task, method):
                raise ConfigError(
                    f"{study.path}: units {other} and {(task, method)} would share the file "
                    f"{task}_{method}_optimal.yaml; rename a task or a method"
                )


def _check_overruled(study: "Study", method: str) -> None:
    names = set(study.parameters_of(method))
    place = f"{study.path}: search space of '{method}'"
    for name, overruled in OVERRULES.items():
        if {name, overruled} <= names:
            raise ConfigError(f"{place}: {name} overrules {overruled}; give one of them")
    defaults = study.methods[method].defaults
    if "gradient_accumulation_steps" in names and "device_batch_size" not in {*names, *defaults}:
        raise ConfigError(
            f"{place}: gradient_accumulation_steps multiplies device_batch_size "
            "(per_device_train_batch_size); give that too"
        )


def _check_hyperparameters(study: "Study", task: str, method: str) -> None:
    where = f"{study.path}: methods.{method}.defaults"
    settings, fixed = study.methods[method], study.settings.search.fixed
    by_task = settings.defaults_by_task.get(task, {})
    values = {**settings.defaults, **by_task}
    parse_section(
        Hyperparameters,
        {**values, **fixed},
        study.path,
        prefix=f"methods.{method}.defaults.",
        origins={
            **dict.fromkeys(by_task, f"methods.{method}.defaults_by_task.{task}."),
            **dict.fromkeys(fixed, "search.fixed."),
        },
    )
    for name, parameter in study.parameters_of(method).items():
        for value in example_values(parameter):
            place = Path(f"{study.path}: search space of '{method}'")
            parse_section(Hyperparameters, {**values, name: value}, place)
            _check_classes(study.tasks[task], name, value, place)
            if name == "max_length":
                _check_windows(study.tasks[task], value, f"{place}: max_length")
    for name in _OF_CLASSES:
        _check_classes(study.tasks[task], name, values.get(name), where)
    if values.get("max_length") is not None:
        _check_windows(study.tasks[task], values["max_length"], f"{where}.max_length")


def _check_classes(task: TaskSettings, name: str, value: Any, where: object) -> None:
    neutral = _OF_CLASSES.get(name, value)
    if value not in (None, neutral) and not task.traits.has_classes:
        raise ConfigError(
            f"{where}: {name} {value}: task '{task.name}' is {task.kind}, which has no classes to "
            f"balance; expected {neutral}"
        )


def _check_windows(task: TaskSettings, length: Any, key: str) -> None:
    """A window of a long context has to go on beyond what it shares with the one before."""
    if task.traits.has_contexts and length <= task.doc_stride:
        raise ConfigError(
            f"{key} {length}: expected more than doc_stride of task '{task.name}', "
            f"{task.doc_stride}; raise max_length or lower tasks.{task.name}.doc_stride"
        )
