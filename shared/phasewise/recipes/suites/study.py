"""Suites as studies: a method for each precision, a grid over what its experiments differ in."""

import math
from pathlib import Path
from typing import Any

from phasewise.errors import ConfigError
from phasewise.recipes.request import StudyRequest
from phasewise.recipes.study_writer import write_study
from phasewise.recipes.suites.settings import Experiment, Suite
from phasewise.records import RunRecord
from phasewise.settings import Scalar


def write_ablation_study(suite: Suite, request: StudyRequest) -> Path:
    """Writes the study of a suite; returns its file.

    Every experiment is a point of its method's grid: a trial on one seed, then a confirmation on
    each further seed, since all points are confirmed.

    Raises:
        ConfigError: Experiments of one method are not all combinations of their values, or no
            model or task is named.
    """
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
                "defaults": {**fixed[variant], **request.fixed},
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
    }
    return write_study(request.output_dir, request.complete(content), space=space)


def find_experiment(suite: Suite, record: RunRecord) -> Experiment | None:
    """Returns the experiment that a run of the suite's study belongs to; None: none (Phase 0)."""
    if record.config.phase != "phase1":
        return None
    chosen = record.config.hyperparameters.model_dump()
    for experiment in suite.variants().get(record.config.unit_config.method.name, []):
        if all(chosen[name] == value for name, value in experiment.hyperparameters.items()):
            return experiment
    return None


def _values(experiments: list[Experiment]) -> dict[str, list[Scalar]]:
    """Returns hyperparameter to its different values, in file order."""
    values: dict[str, list[Scalar]] = {}
    for experiment in experiments:
        for name, value in experiment.hyperparameters.items():
            if value not in values.setdefault(name, []):
                values[name].append(value)
    return values


def _fixed(experiments: list[Experiment]) -> dict[str, Scalar]:
    return {name: found[0] for name, found in _values(experiments).items() if len(found) == 1}


def _section(
    variant: str, experiments: list[Experiment], fixed: dict[str, Scalar]
) -> dict[str, Any]:
    varied = {k: found for k, found in _values(experiments).items() if k not in fixed}
    combinations = math.prod(len(found) for found in varied.values())
    if combinations != len(experiments):
        raise ConfigError(
            f"experiments of {variant}: they differ in {', '.join(varied) or 'nothing'}: expected "
            f"all {combinations} combinations, got {len(experiments)}. Tie two values "
            "(lora_alpha_over_rank), or make two suites"
        )
    section = {name: {"type": "fixed", "value": value} for name, value in fixed.items()}
    if not varied:  # a grid of one point: its value is fixed in all but name
        name = "lora_rank" if "lora_rank" in fixed else next(iter(fixed), "lora_rank")
        varied = {name: [fixed.get(name, 16)]}
    grids = {k: {"type": "categorical", "values": found} for k, found in varied.items()}
    return {**section, **grids}
