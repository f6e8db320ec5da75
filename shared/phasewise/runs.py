"""Runs: study + task + method + hyperparameters + seeds make one complete, hashable RunConfig."""

import hashlib
import json
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field

from phasewise.model_files import fingerprint_model
from phasewise.provenance import fingerprint_data, library_versions
from phasewise.seeding import derive_seed
from phasewise.settings import (
    Hyperparameters,
    MethodSettings,
    ModelSettings,
    Section,
    Study,
    TaskSettings,
    TrainingSettings,
    describe_meaning,
    no_effect,
)

#: final: a model trained for use after the study; none of the study's statistics count it.
Phase = Literal["phase0", "phase1", "phase2", "final"]
#: default: a method's published default. trial: a draw of a search. confirm: a trial's settings on
#: fresh seeds. seed: the optimum on fresh seeds. final: a model for use. pilot: a short run that is
#: only timed. live: a trial of the sampler benchmark.
Role = Literal["default", "trial", "confirm", "seed", "final", "pilot", "live"]


class _RoleRow(NamedTuple):
    phase: Phase
    folder: str  # format of a run's name, which is its folder's name too


_ROLES: dict[Role, _RoleRow] = {
    "default": _RoleRow("phase0", "default-{index}"),
    "trial": _RoleRow("phase1", "trial-{index:03d}"),
    "confirm": _RoleRow("phase1", "confirm-{index:03d}-{repeat}"),
    "seed": _RoleRow("phase2", "seed-{index:02d}"),
    "final": _RoleRow("final", "final-{index:02d}"),
    "pilot": _RoleRow("phase1", "{variant}"),
    "live": _RoleRow("phase1", "{variant}"),
}


class RunSeeds(Section):
    """Separate random streams of one run."""

    init: int = Field(description="Head and adapter initialization, dropout.")
    order: int = Field(description="Order of the rows in each epoch.")
    subset: int = Field(description="Which rows of the train pool are the train sample.")


class DataConfig(Section):
    """A task's rows and how they are divided."""

    task: TaskSettings
    split_seed: int = Field(description="Draws search set and carved report set; one per study.")
    data_dir: Path | None = Field(
        description="Folder that replaces the hub; see StudySettings.",
        json_schema_extra=no_effect("data_fingerprint stands for the rows"),
    )
    data_fingerprint: str
    all_data: bool = Field(
        False,
        description="Train on every row but the report set's: a final model. Scores on the search "
        "set are then of rows it was trained on.",
    )


class UnitConfig(Section):
    """What all runs of one (task, method) share."""

    study: str = Field(json_schema_extra=no_effect("a label"))
    data: DataConfig
    method: MethodSettings
    model: ModelSettings
    model_fingerprint: str = Field(description="Of the base model's files; see model_files.")
    training: TrainingSettings
    libraries: dict[str, str]

    @property
    def task(self) -> TaskSettings:
        """The task that the data are of."""
        return self.data.task

    @property
    def unit(self) -> str:
        """``task/method``, as logs and W&B groups show it."""
        return f"{self.task.name}/{self.method.name}"


class RunConfig(Section):
    """One training, completely described."""

    unit_config: UnitConfig
    role: Role = Field(json_schema_extra=no_effect("why it is trained, not how"))
    index: int = Field(
        ge=0,
        description="Of the trial, the confirmed trial or the seed.",
        json_schema_extra=no_effect("the seeds are hashed"),
    )
    repeat: int = Field(
        0,
        ge=0,
        description="confirm: which of several runs of the same settings.",
        json_schema_extra=no_effect("the seeds are hashed"),
    )
    variant: str = Field(
        "",
        description="pilot, live: the name itself.",
        json_schema_extra=no_effect("a label"),
    )
    origin: str = Field(
        "",
        description="trial: how it was drawn, such as default, sobol or model.",
        json_schema_extra=no_effect("where the hyperparameters are from, not what they are"),
    )
    search: str = Field(
        "",
        description="trial, confirm: hash of what its search drew from; see unit_runs.",
        json_schema_extra=no_effect("where the hyperparameters are from, not what they are"),
    )
    hyperparameters: Hyperparameters
    seeds: RunSeeds
    opens_report_set: bool = Field(
        False, description="Phase 0 and 2 score the report set at the end."
    )
    keeps_model: bool = Field(
        False,
        description="Save the adapter (or model) beside the record.",
        json_schema_extra=no_effect("what is kept, not what is trained"),
    )

    @property
    def phase(self) -> Phase:
        """The phase that trains it."""
        return _ROLES[self.role].phase

    @property
    def name(self) -> str:
        """trial-003, confirm-003-1, seed-04, default-1: unique in its phase, and its folder."""
        parts = {"index": self.index, "repeat": self.repeat, "variant": self.variant}
        return _ROLES[self.role].folder.format(**parts)

    @property
    def hash(self) -> str:
        """16 hex digits of everything that can change the result; neither names nor paths."""
        return hash_content(describe_meaning(self))

    @property
    def label(self) -> str:
        """``task/method name``, for messages."""
        return f"{self.unit_config.unit} {self.name}"


def hash_content(content: object) -> str:
    """Returns 16 hex digits of the canonical JSON of ``content``."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def build_data(study: Study, task: str) -> DataConfig:
    """Returns a task of a study with its data fingerprinted.

    Raises:
        DataError: The task's local data are missing.
    """
    settings = study.settings
    return DataConfig(
        task=study.tasks[task],
        split_seed=derive_seed(settings.seed, "split", task),
        data_dir=settings.data_dir,
        data_fingerprint=fingerprint_data(study.tasks[task], settings.data_dir),
    )


def build_unit(study: Study, task: str, method: str) -> UnitConfig:
    """Returns the unit (task, method) of a study with its data and base model fingerprinted.

    Raises:
        DataError: The task's local data are missing.
        ConfigError: There is no such model, or its commit on the hub cannot be found out.
    """
    settings = study.settings
    return UnitConfig(
        study=settings.name,
        data=build_data(study, task),
        method=study.methods[method],
        model=settings.model,
        model_fingerprint=fingerprint_model(settings.model),
        training=settings.training,
        libraries=library_versions(),
    )


def task_hash(study: Study, task: str, unit: UnitConfig | None = None) -> str:
    """Returns the hash of all settings that a task's baselines depend on.

    Args:
        study: The study.
        task: Its task.
        unit: One of the task's, for a machine that lacks the data; None: as this machine has it.
    """
    model = study.settings.model
    content = {
        "data": unit.data if unit else build_data(study, task),
        "model": model,
        "model_fingerprint": unit.model_fingerprint if unit else fingerprint_model(model),
        "libraries": unit.libraries if unit else library_versions(),
        "seed": study.settings.seed,
        "definition": 2,  # of baselines; raised with it: older ones count as of other settings
    }
    return hash_content(describe_meaning(content))


def phase_hash(
    study: Study, phase: Phase, task: str, method: str, unit: UnitConfig | None = None
) -> str:
    """Returns the hash of all settings that a phase of a unit depends on.

    The phase's file carries it: a changed meaning re-runs the phase, a changed comment does not.

    Args:
        study: The study.
        phase: One of its phases.
        task: Its task.
        method: Its method.
        unit: The unit, for a machine that lacks its data; None: as this machine has it.
    """
    settings = study.settings
    content: dict[str, Any] = {
        "unit": unit or build_unit(study, task, method),
        "seed": settings.seed,
        "default": study.default_hyperparameters(task, method),
        "baselines": settings.baselines,
    }
    if phase != "phase0":
        content["search"] = settings.search
        content["parameters"] = study.parameters_of(method)
        content["constraints"] = study.constraints_of(method)
    if phase == "phase2":
        content["validation"] = settings.validation
    return hash_content(describe_meaning(content))


def build_seeds(study_seed: int, phase: str, task: str, index: int) -> RunSeeds:
    """Returns the seeds of the index-th run of a phase.

    The method is no part of them, so runs of two methods with the same index are paired.

    Args:
        study_seed: ``seed`` of the study.
        phase: A role's stream, such as ``phase0``, ``confirm`` or ``final``; no two share a seed.
        task: Name of the task.
        index: 0-based; every trial of Phase 1 has index 0, so that trials differ by their
            hyperparameters only.
    """
    names = ("init", "order", "subset")
    init, order, subset = (derive_seed(study_seed, phase, task, name, index) for name in names)
    return RunSeeds(init=init, order=order, subset=subset)


class UnitPaths:
    """Where a unit's results lie: ``experiments/{study}/{task}/{method}/…``."""

    def __init__(self, study: Study, task: str, method: str) -> None:
        self.root = study.settings.experiments_path / task / method
        self.storage = self.root / "phase1" / "journal.log"
        self.running_optimum = self.root / "phase1" / "optimal.yaml"
        self.optimum = study.settings.analysis_path / f"{task}_{method}_optimal.yaml"
        self.ledger = ledger_path(study, task)
        self.lock = self.root / "controller.lock"

    def run(self, phase: Phase, name: str) -> Path:
        """Returns the folder of one run; its record is ``record.json`` in it."""
        return self.root / phase / name

    def summary(self, phase: Phase) -> Path:
        """Returns the small file a finished phase leaves, a Snakemake output."""
        return self.root / f"{phase}.json"


def task_baselines_path(study: Study, task: str) -> Path:
    """Returns the file of a task's model-free and frozen-encoder baselines."""
    return study.settings.experiments_path / task / "baselines.json"


def baseline_predictions_path(study: Study, task: str, name: str) -> Path:
    """Returns what a baseline answered to each example of the report set."""
    return task_baselines_path(study, task).with_name(f"baseline.{name}.jsonl")


def ledger_path(study: Study, task: str) -> Path:
    """Returns the file that notes every opening of a task's report set."""
    return study.settings.experiments_path / task / "report_set_ledger.jsonl"
