"""The small files a phase leaves for the next one, the report and a person to read."""

import json
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import yaml
from pydantic import Field, ValidationError

from phasewise.errors import RecordError
from phasewise.records import write_atomically
from phasewise.runs import Phase
from phasewise.settings import Section, read_yaml

_S = TypeVar("_S", bound=Section)


class ScoreSummary(Section):
    """Scores of several seeds of one configuration; the task's metric, task's own scale."""

    scores: tuple[float, ...] = Field(description="One per run that ended with a score.")
    mean: float | None = Field(description="None without scores.")
    sd: float | None = Field(description="Sample SD over seeds (n-1); None below two scores.")
    standard_error: float | None = Field(description="sd / sqrt(n).")


class PhaseSummary(Section):
    """``experiments/{study}/{task}/{method}/phase0.json`` and ``phase2.json``."""

    phase: Phase
    task: str
    method: str
    metric: str
    settings_hash: str
    hyperparameters: dict[str, Any]
    search: ScoreSummary
    report: ScoreSummary
    runs: tuple[str, ...] = Field(description="Folders of the records, relative to the unit.")
    failed: tuple[str, ...] = Field((), description="Runs without a score, with their reasons.")


#: Baselines that can be kept as a model.
LinearName = Literal["tfidf_logistic_regression", "frozen_encoder_probe"]
LINEAR_NAMES: tuple[LinearName, ...] = get_args(LinearName)
BaselineName = Literal["majority", LinearName, "zero_shot"]


class Baseline(Section):
    """One model-free or frozen-encoder baseline of a task."""

    name: BaselineName
    search_score: float | None
    report_score: float | None
    note: str = Field("", description="Why there is no score, if so.")


class TaskBaselines(Section):
    """``experiments/{study}/{task}/baselines.json``."""

    task: str
    metric: str
    settings_hash: str
    baselines: tuple[Baseline, ...]
    train_rows: int
    search_rows: int
    report_rows: int
    notes: tuple[str, ...] = Field((), description="About the data, such as how much was cut.")


class RangeFlag(Section):
    """An optimum within 10 % of an edge of its range (on the range's own scale)."""

    parameter: str
    value: float
    edge: Literal["min", "max"]
    proposed: tuple[float, float] = Field(description="The wider range to search.")


class Criterion(Section):
    """One documented success criterion, checked."""

    name: str
    met: bool
    detail: str


class RefinedFrom(Section):
    """What a refined search took over from an earlier one."""

    study: str
    best_trial: int = Field(description="Of the earlier study; trial 0 of this one.")
    trials: tuple[int, ...] = Field(description="Of the earlier study; the ranges hold these.")
    ranges: dict[str, tuple[bool | int | float | str, ...]] = Field(
        description="Narrowed: the two ends of a range, the values of a list."
    )


class FrontPoint(Section):
    """A trial that no other one beats in every objective."""

    trial: int
    values: dict[str, float] = Field(description="Objective to its value.")
    hyperparameters: dict[str, Any]


class Optimum(Section):
    """``analysis/{task}_{method}_optimal.yaml``; the first four keys as documented."""

    best_hyperparameters: dict[str, Any]
    best_value: float = Field(description="Raw: the best trial's score on the search set.")
    n_trials: int = Field(description="Finished trials.")
    study_name: str = Field(description="{study}_{task}_{method}.")
    final: bool = Field(description="False while the search still runs.")
    task: str
    method: str
    metric: str
    direction: Literal["maximize", "minimize"]
    best_trial: int
    confirmed_value: float | None = Field(
        None, description="Mean of the chosen configuration over fresh seeds."
    )
    confirmed_standard_error: float | None = None
    confirmed_seeds: int = 0
    model_based_trials: int = Field(0, description="Trials drawn by a model, not at random.")
    trial_states: dict[str, int] = Field(default_factory=dict)
    baseline_value: float | None = Field(
        None, description="S_baseline: mean of the published default, search set, Phase 0."
    )
    improvement: float | None = Field(
        None, description="S = confirmed (raw before that) - baseline; positive is better."
    )
    learned: bool | None = Field(
        None,
        description="Whether it beats the majority class, or the untuned model, by more than "
        "noise: on the report set after Phase 2, before that on the search set; null: not known.",
    )
    learned_why: str = Field("", description="What was found, and what to change if it has not.")
    pareto_front: tuple[FrontPoint, ...] = Field(
        (), description="Best by the first objective first; none unless one was asked for."
    )
    refined_from: RefinedFrom | None = None
    range_flags: tuple[RangeFlag, ...] = ()
    success_criteria: tuple[Criterion, ...] = ()
    settings_hash: str
    provenance: dict[str, str] = Field(default_factory=dict)


def write_summary(path: Path, summary: PhaseSummary | TaskBaselines) -> None:
    """Writes a summary as JSON, atomically."""
    write_atomically(path, summary.model_dump_json(indent=2) + "\n")


def write_optimum(path: Path, optimum: Optimum) -> None:
    """Writes an optimum as YAML in the order of its fields, atomically."""
    content = json.loads(optimum.model_dump_json())
    # While a search writes it, after each trial, no worker gets its next: in C it takes a fifth.
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    text = yaml.dump(content, Dumper=dumper, sort_keys=False, allow_unicode=True)
    write_atomically(path, text)


def read_phase_summary(path: Path) -> PhaseSummary | None:
    """Returns a unit's phase summary; None if the phase has not ended.

    Raises:
        RecordError: The file is not a phase summary.
    """
    return _read_json(path, PhaseSummary)


def read_task_baselines(path: Path) -> TaskBaselines | None:
    """Returns a task's baselines; None if they have not been computed.

    Raises:
        RecordError: The file is not a baselines file.
    """
    return _read_json(path, TaskBaselines)


def read_optimum(path: Path) -> Optimum | None:
    """Returns an optimum; None if there is no such file.

    Raises:
        RecordError: The file is not an optimum.
    """
    if not path.is_file():
        return None
    try:
        return Optimum.model_validate(read_yaml(path))
    except ValidationError as error:
        raise RecordError(f"{path}: not an optimum file: {error.errors()[0]['msg']}") from error


def _read_json(path: Path, model: type[_S]) -> _S | None:
    if not path.is_file():
        return None
    try:
        return model.model_validate_json(path.read_bytes())
    except ValidationError as error:
        message = error.errors()[0]["msg"]
        raise RecordError(f"{path}: not a {model.__name__}: {message}; delete it") from error
