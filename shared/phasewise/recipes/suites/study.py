"""Suites as studies: a method for each precision, a grid over what its experiments differ in."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from phasewise.errors import ConfigError
from phasewise.recipes.request import StudyRequest
from phasewise.recipes.suites.folder import store_suite
from phasewise.recipes.suites.settings import Experiment, Suite, collect_values
from phasewise.records import RunRecord
from phasewise.settings import Scalar


def write_ablation_study(suite: Suite, request: StudyRequest) -> Path:
    """Writes the study of a suite; returns its file.

    Every experiment is a point of its method's grid: a trial on one seed, then a confirmation on
    each further seed, since all points are confirmed. Suites that the output folder holds stay.

    Raises:
        ConfigError: Two experiments are the same, experiments of several methods are not all
            combinations of their values, a fixed hyperparameter is one that the experiments differ
            in, or no model or task is named.
    """
    suite = suite.hold({**_limit_length(suite, request.max_length), **request.fixed})
    variants = suite.variants()
    fixed = {variant: _fixed(experiments) for variant, experiments in variants.items()}
    most = max(len(experiments) for experiments in variants.values())
    content = {
        "name": suite.suite_name,
        "description": suite.description,
        "methods": {
            variant: {
                **suite.describe_method(variant),
                "space": variant,
                "defaults": fixed[variant],
            }
            for variant in variants
        },
        # Peaks and seconds are a run's own only where it trains alone.
        "training": {"engine": "trainer"},
        "baselines": {"seeds": 2},
        "search": {
            "sampler": "grid",
            "pruner": "none",
            "trials": most,
            "confirm_top": most,
            "confirm_seeds": suite.seeds - 1,
            "fixed": dict(request.fixed),
        },
    }
    space = {
        "description": suite.description,
        "source": f"suite {suite.suite_name}",
        "spaces": {
            variant: _section(variant, experiments, fixed[variant])
            for variant, experiments in variants.items()
        },
        "constraints": _tie_values(suite),
    }
    return store_suite(request.output_dir, suite, request.complete(content), space)


def _limit_length(suite: Suite, most: int | None) -> dict[str, Scalar]:
    """Returns a length of the command line that the suite has too: it counts, as its others do."""
    own = collect_values(suite.experiments).get("max_length")
    return {"max_length": most} if own and most is not None else {}


def find_experiment(suite: Suite, record: RunRecord) -> Experiment | None:
    """Returns the experiment that a run of the suite's study belongs to; None: none (Phase 0)."""
    if record.config.phase != "phase1":
        return None
    chosen = record.config.hyperparameters.model_dump()
    for experiment in suite.variants().get(record.config.unit_config.method.name, []):
        if all(chosen[name] == value for name, value in experiment.hyperparameters.items()):
            return experiment
    return None


def _fixed(experiments: list[Experiment]) -> dict[str, Scalar]:
    values = collect_values(experiments)
    return {name: found[0] for name, found in values.items() if len(found) == 1}


def _section(
    variant: str, experiments: list[Experiment], fixed: dict[str, Scalar]
) -> dict[str, Any]:
    points = [tuple(sorted(each.hyperparameters.items())) for each in experiments]
    if len(set(points)) < len(points):
        raise ConfigError(f"experiments of {variant}: two of them have the same values")
    varied = {k: v for k, v in collect_values(experiments).items() if k not in fixed}
    section = {name: {"type": "fixed", "value": value} for name, value in fixed.items()}
    if not varied:  # a grid of one point: its value is fixed in all but name
        name = "lora_rank" if "lora_rank" in fixed else next(iter(fixed), "lora_rank")
        varied = {name: [fixed.get(name, 16)]}
    grids = {k: {"type": "categorical", "values": found} for k, found in varied.items()}
    return {**section, **grids}


def _tie_values(suite: Suite) -> list[str]:
    """Returns the constraint that leaves only the suite's points of a grid; none where all are.

    A constraint holds for every method that has the values it names.
    """
    for variant, experiments in suite.variants().items():
        varied = {k: v for k, v in collect_values(experiments).items() if len(v) > 1}
        combinations = math.prod(len(found) for found in varied.values())
        if combinations == len(experiments):
            continue
        missing = [e.name for e in experiments if not set(varied) <= set(e.hyperparameters)]
        if missing or len(suite.variants()) > 1:
            raise ConfigError(
                f"experiments of {variant}: they differ in {', '.join(varied)}: expected all "
                f"{combinations} combinations or, in a suite of one method and precision, each of "
                f"them in every experiment; got {len(experiments)} experiments"
                + (f", and {missing[0]} without one of them" if missing else "")
            )
        return [" or ".join(f"({_equal(varied, each)})" for each in experiments)]
    return []


def _equal(names: Iterable[str], experiment: Experiment) -> str:
    return " and ".join(f"{name} == {experiment.hyperparameters[name]!r}" for name in names)
