"""Coarse, then refined: a search that starts from another study's, in ranges narrowed around it.

``search.refine_from: coarse.yaml`` names a study whose search of the same unit has ended. The
ranges shrink to where its best quarter lies, with a margin; where its optimum lay at an edge they
reach beyond it instead. The optimum is the first trial. Each stage is a study of its own, so a
chain of any length (coarse, refined, final) is repeatable from its files.
"""

import math
from collections.abc import Sequence
from typing import Any

from phasewise.errors import ConfigError
from phasewise.records import RunRecord
from phasewise.runs import UnitPaths
from phasewise.settings import (
    CategoricalParameter,
    FixedParameter,
    Hyperparameters,
    Parameter,
    RangeParameter,
    Scalar,
    Study,
    applies,
    load_study,
)
from phasewise.steps import name_command
from phasewise.summaries import Optimum, RangeFlag, RefinedFrom, read_optimum
from phasewise.tuning.edges import ordered_numbers
from phasewise.tuning.narrowing import Refinement
from phasewise.unit_runs import read_runs

#: The best trials that ranges are narrowed to: this share of the finished ones, at least FEWEST.
BEST_SHARE = 0.25
FEWEST = 3
#: Added on both sides, as a share of the (log) range: few trials outline a good region poorly.
MARGIN = 0.15


def refine(study: Study, task: str, method: str) -> Refinement | None:
    """Returns the narrowed space of a unit; None where the study refines no other.

    Raises:
        ConfigError: The other study lacks the unit, or its search of it has not ended.
    """
    name = study.settings.search.refine_from
    if name is None:
        return None
    source = _load_source(study, name)
    optimum = _read_source_optimum(study, source, task, method)
    ranked = _rank_trials(source, task, method)
    best = next(record for record in ranked if record.config.index == optimum.best_trial)
    records = ranked[: max(FEWEST, round(BEST_SHARE * len(ranked)))]
    chosen = [record.config.hyperparameters for record in records]
    flags = {flag.parameter: flag for flag in optimum.range_flags}
    space = study.parameters_of(method)
    narrowed = {
        name: narrow(parameter, _drawn_values(name, parameter, chosen), flags.get(name))
        for name, parameter in space.items()
    }
    origin = RefinedFrom(
        study=source.settings.name,
        best_trial=optimum.best_trial,
        trials=tuple(sorted(record.config.index for record in records)),
        ranges={k: _describe(v) for k, v in narrowed.items() if not isinstance(v, FixedParameter)},
    )
    return Refinement(narrowed, best.config.hyperparameters, origin)


def unfinished_sources(study: Study, task: str, method: str) -> list[Study]:
    """Returns the studies that this one refines whose search of a unit has not ended.

    The first to be searched comes first. A study that has ended hides those that it refines: its
    ranges are known.

    Raises:
        ConfigError: A study refines itself, directly or by others, or one that lacks the unit or
            searched several objectives.
    """
    due: list[Study] = []
    seen = [study.path.resolve()]
    while (name := study.settings.search.refine_from) is not None:
        path = study.path.parent / name
        if path.resolve() in seen:
            chain = " -> ".join(each.name for each in (*seen, path))
            raise ConfigError(f"{study.path}: search.refine_from: {chain} goes round in a circle")
        seen.append(path.resolve())
        source = _load_source(study, name)
        _check_source(study, source, task, method)
        study = source
        optimum = read_optimum(UnitPaths(study, task, method).optimum)
        if optimum is not None and optimum.final:
            break
        due.append(study)
    return due[::-1]


def _load_source(study: Study, name: str) -> Study:
    path = study.path.parent / name
    if not path.is_file():
        raise ConfigError(
            f"{study.path}: search.refine_from: no file {path}; the path is relative to the study"
        )
    return load_study(path)


def narrow(
    parameter: Parameter, values: Sequence[Scalar], flag: RangeFlag | None = None
) -> Parameter:
    """Returns a parameter around the values that were good.

    Args:
        parameter: As the study's space has it.
        values: Of the best trials; without any the parameter stays as it is.
        flag: Of the optimum, if it lay at an edge: that side takes the proposed end.

    Returns:
        A range clipped to the space (but for a flagged side); of a list of numbers, the part
        between the values and one further on each side; of other lists, the values themselves.
    """
    if isinstance(parameter, FixedParameter) or not values:
        return parameter
    if isinstance(parameter, RangeParameter):
        return _narrow_range(parameter, [float(value) for value in values], flag)
    numbers = ordered_numbers(parameter)
    if not numbers:
        kept = tuple(value for value in parameter.values if value in values) or parameter.values
    else:
        wanted = [float(value) for value in values]
        low = max((n for n in numbers if n < min(wanted)), default=min(numbers))
        high = min((n for n in numbers if n > max(wanted)), default=max(numbers))
        kept = tuple(value for value in parameter.values if low <= float(value) <= high)
    return parameter.model_copy(update={"values": kept})


def _narrow_range(
    parameter: RangeParameter, values: Sequence[float], flag: RangeFlag | None
) -> RangeParameter:
    log = parameter.type.startswith("log")
    inside = [min(max(value, parameter.min), parameter.max) for value in values]
    scaled = [math.log(value) if log else value for value in inside]
    first, last = (math.log(end) if log else end for end in (parameter.min, parameter.max))
    margin = MARGIN * (last - first)
    low, high = max(first, min(scaled) - margin), min(last, max(scaled) + margin)
    ends = [math.exp(low), math.exp(high)] if log else [low, high]
    if parameter.type.endswith("int"):
        ends = [math.floor(ends[0] + 1e-9), math.ceil(ends[1] - 1e-9)]
    elif parameter.step is not None:  # the steps stay where they were
        steps = [(end - parameter.min) / parameter.step for end in ends]
        whole = (math.floor(steps[0] + 1e-9), math.ceil(steps[1] - 1e-9))
        ends = [parameter.min + parameter.step * step for step in whole]
    ends = [max(ends[0], parameter.min), min(ends[1], parameter.max)]
    if flag is not None:
        side = 0 if flag.edge == "min" else 1
        ends[side] = flag.proposed[side]
    return parameter.model_copy(update={"min": ends[0], "max": ends[1]})


def _drawn_values(
    name: str, parameter: Parameter, chosen: Sequence[Hyperparameters]
) -> list[Scalar]:
    dumped: list[dict[str, Any]] = [each.model_dump() for each in chosen]
    return [v[name] for v in dumped if v[name] is not None and applies(parameter, v)]


def _rank_trials(source: Study, task: str, method: str) -> list[RunRecord]:
    """Returns the records of the finished trials that could win, best first."""
    found = read_runs(source, task, method, phase="phase1", role="trial").records
    trials = [r for r in found if r.status == "finished" and r.search_score is not None]
    limit = source.settings.search.memory_constraint_gb
    trials = [r for r in trials if limit is None or _peak_gb(r) <= limit]
    sign = -1.0 if source.tasks[task].direction == "maximize" else 1.0
    trials.sort(key=lambda record: (sign * (record.search_score or 0.0), record.config.index))
    return trials


def _peak_gb(record: RunRecord) -> float:
    """Returns the measured peak; 0 where the device could tell none, as the search had it."""
    peak = None if record.cost is None else record.cost.peak_memory_mb
    return 0.0 if peak is None else peak / 1e3


def _check_source(study: Study, source: Study, task: str, method: str) -> str:
    """Refuses a study that cannot be refined; returns how messages name it."""
    key = f"{study.path}: search.refine_from: {source.path}"
    if task not in source.tasks or method not in source.methods:
        raise ConfigError(f"{key} has no unit {task}/{method}; expected the same task and method")
    if source.settings.search.objective is not None:
        raise ConfigError(
            f"{key} searched {source.settings.search.objective}; ranges are narrowed around the "
            "best of one metric, several have no single order"
        )
    return key


def _read_source_optimum(study: Study, source: Study, task: str, method: str) -> Optimum:
    key = _check_source(study, source, task, method)
    path = UnitPaths(source, task, method).optimum
    optimum = read_optimum(path)
    if optimum is None or not optimum.final:
        raise ConfigError(
            f"{key}: its search of {task}/{method} has not ended (no final {path}); run: "
            f"{name_command(source, 'search', task, method)}"
        )
    return optimum


def _describe(parameter: RangeParameter | CategoricalParameter) -> tuple[Scalar, ...]:
    if isinstance(parameter, CategoricalParameter):
        return parameter.values
    return (parameter.min, parameter.max)
