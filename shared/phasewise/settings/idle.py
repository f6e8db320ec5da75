"""Settings that change nothing, with the numbers that show it: `plan` and `check` warn of them.

Such a setting is no mistake of form, and a run with it is a run; but who set it believes something
of the study that is not so, and a search over it ranks noise.
"""

import math
from collections.abc import Iterator, Mapping, Sequence

from phasewise.pruners import MEDIAN_STARTUP_TRIALS, pruner_kind
from phasewise.settings.idle_steps import describe_idle_steps
from phasewise.settings.loading import Study
from phasewise.settings.space import (
    DEFAULT_SECTION,
    CategoricalParameter,
    FixedParameter,
    Parameter,
)

#: Keys of a task to the kind that reads them.
_OF_KIND = {
    "doc_stride": "extractive_qa",
    "max_answer_length": "extractive_qa",
    "response": "instruction",
    "prompt": "instruction",
    "text": "classification",
    "label": "classification",
    "labels": "classification",
}
#: What sizes a search set, the first one given alone.
_SEARCH_SIZES = ("search_rows", "search_fraction", "search_standard_error")


def describe_idle_settings(
    study: Study, units: Sequence[tuple[str, str]], rows: Mapping[str, int]
) -> list[str]:
    """Returns a sentence for each setting that cannot change a run or a score.

    Args:
        study: The study.
        units: Its (task, method) pairs to look at.
        rows: Task to the rows of its train sample, where they are known.
    """
    found = [*_find_idle_fixed(study), *_find_idle_pruning(study)]
    for task in dict.fromkeys(task for task, _ in units):
        found += _find_idle_keys(study, task)
    for method in dict.fromkeys(method for _, method in units):
        found += [*_find_untaken(study, method), *_find_idle_space(study, method)]
    for task, method in units:
        if task in rows and not study.tasks[task].traits.has_contexts:  # windows: not counted yet
            found += describe_idle_steps(study, task, method, rows[task])
    return list(dict.fromkeys(found))


def _find_idle_fixed(study: Study) -> Iterator[str]:
    for name in study.settings.search.fixed:
        if not any(method.takes(name) for method in study.methods.values()):
            yield f"search.fixed.{name}: no method of the study takes it"


def _find_idle_pruning(study: Study) -> Iterator[str]:
    search = study.settings.search
    given, kind = search.model_fields_set, pruner_kind(search.pruner)
    if "pruning_factor" in given and not kind.takes_factor:
        yield f"search.pruning_factor {search.pruning_factor}: pruner {search.pruner} has none"
    if {"pruner"} <= given and search.pruner == "median" and search.trials <= MEDIAN_STARTUP_TRIALS:
        yield (
            f"search.pruner median: stops no trial before {MEDIAN_STARTUP_TRIALS} have ended, and "
            f"search.trials is {search.trials}"
        )


def _find_idle_keys(study: Study, task: str) -> Iterator[str]:
    given, settings = study.settings.tasks[task], study.tasks[task]
    for key, kind in _OF_KIND.items():
        if key in given and settings.kind != kind:
            yield f"tasks.{task}.{key}: for {kind} alone; the task is {settings.kind}"
    sizes = [key for key in _SEARCH_SIZES if key in given]
    if settings.splits.search is not None:
        sizes.insert(0, "splits.search")
    for key in sizes[1:]:
        yield f"tasks.{task}.{key}: {sizes[0]} decides how many rows the search set has"


def _find_untaken(study: Study, method: str) -> Iterator[str]:
    settings = study.methods[method]
    section = study.space.section_of(settings)
    if section != DEFAULT_SECTION:  # of that one a method draws what it takes
        for name in study.space.spaces[section]:
            if not settings.takes(name):
                yield f"search space of '{method}': {name}: the method takes none"
    given = study.settings.methods[method].get("defaults") or {}
    for name in given:
        if not settings.takes(name):
            yield f"methods.{method}.defaults.{name}: the method takes none"
    alone = "device_batch_size" not in {*settings.defaults, *study.parameters_of(method)}
    if alone and settings.defaults.get("gradient_accumulation_steps", 1) > 1:
        yield (
            f"methods.{method}.defaults.gradient_accumulation_steps: multiplies "
            "device_batch_size, which is not given"
        )


def _find_idle_space(study: Study, method: str) -> Iterator[str]:
    parameters, trials = study.parameters_of(method), study.settings.search.trials
    where = f"search space of '{method}'"
    schedules = parameters.get("lr_scheduler_type")
    if isinstance(schedules, CategoricalParameter):
        twins = [name for name in schedules.values if str(name).startswith("constant")]
        if len(set(twins)) > 1:
            yield f"{where}: lr_scheduler_type: {' and '.join(map(str, twins))} are the same"
    draws = math.prod(_count_values(each) for each in parameters.values())
    if draws < trials:
        yield f"{where}: {int(draws)} different draws for search.trials {trials}"


def _count_values(parameter: Parameter) -> float:
    """Returns how many values a parameter can have, infinite for a range of real numbers."""
    if isinstance(parameter, FixedParameter):
        return 1
    absent = parameter.when is not None
    if isinstance(parameter, CategoricalParameter):
        return len(set(parameter.values)) + absent
    step = parameter.step or (1 if parameter.type.endswith("int") else 0)
    if not step:
        return math.inf
    return math.floor((parameter.max - parameter.min) / step + 1e-9) + 1 + absent
