"""Runs: study + task + method + hyperparameters + seeds make one complete, hashable RunConfig."""

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

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
)

#: final: a model trained for use after the study; none of the study's statistics count it.
Phase = Literal["phase0", "phase1", "phase2", "final"]


class RunSeeds(Section):
    """Separate random streams of one run."""

    init: int = Field(description="Head and adapter initialisation, dropout.")
    order: int = Field(description="Order of the rows in each epoch.")
    subset: int = Field(description="Which rows of the train pool are the train sample.")


class UnitConfig(Section):
    """What all runs of one (task, method) share."""

    study: str
    task: TaskSettings
    method: MethodSettings
    model: ModelSettings
    training: TrainingSettings
    split_seed: int = Field(description="Draws search set and carved report set; one a study.")
    data_dir: Path | None = Field(description="Folder that replaces the hub; see StudySettings.")
    data_fingerprint: str
    libraries: dict[str, str]
    all_data: bool = Field(
        False,
        description="Train on every row but the report set's: a final model. Scores on the search "
        "set are then of rows it was trained on.",
    )

    @property
    def unit(self) -> str:
        """``task/method``, as logs and W&B groups show it."""
        return f"{self.task.name}/{self.method.name}"


class RunConfig(Section):
    """One training, completely described."""

    unit_config: UnitConfig
    phase: Phase
    name: str = Field(description="trial-003, confirm-003-1, seed-04, default-1.")
    hyperparameters: Hyperparameters
    seeds: RunSeeds
    opens_report_set: bool = Field(description="Phase 0 and 2 score the report set at the end.")
    keeps_model: bool = Field(False, description="Save the adapter (or model) beside the record.")

    @property
    def hash(self) -> str:
        """16 hex digits of everything that can change the result; neither names nor paths."""
        unit = unit_meaning(self.unit_config)
        content = {
            "unit": unit,
            "hyperparameters": _describe_draw(self.hyperparameters),
            "seeds": self.seeds.model_dump(mode="json"),
            "opens_report_set": self.opens_report_set,
        }
        return hash_content(content)

    @property
    def label(self) -> str:
        """``task/method name``, for messages."""
        return f"{self.unit_config.unit} {self.name}"


def _describe_draw(hyperparameters: Hyperparameters) -> dict[str, Any]:
    """Returns what was drawn; sampling only where it was, so that other runs' hashes stay."""
    content = hyperparameters.model_dump(mode="json")
    if content["sampling"] is None:
        del content["sampling"]
    return content


def hash_content(content: object) -> str:
    """Returns 16 hex digits of the canonical JSON of ``content``."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def unit_meaning(unit: UnitConfig) -> dict[str, Any]:
    """Returns the part of a unit that can change a result: no descriptions, no paths.

    The source is left out, since ``data_fingerprint`` stands for what it holds; the method's
    defaults too, since each run holds its own hyperparameters.
    """
    content = unit.model_dump(mode="json", exclude={"study", "data_dir"})
    content["task"] = {
        key: value
        for key, value in content["task"].items()
        if key not in {"description", "source", "expected_score"}
    }
    content["task"]["rows_from"] = unit.task.expected_score if _sized_by_error(unit.task) else None
    keys = ("kind", "use_dora", "use_rslora", "use_loraplus", "quantization", "dtype", "peft")
    content["method"] = {key: content["method"][key] for key in keys}
    for key in ("save_adapters", "engine"):
        del content["training"][key]
    if not unit.all_data:  # says nothing of any run of a study
        del content["all_data"]
    return content


def _sized_by_error(task: TaskSettings) -> bool:
    return task.search_rows is None and task.search_fraction is None


def build_unit(study: Study, task: str, method: str) -> UnitConfig:
    """Returns the unit (task, method) of a study with its data fingerprinted.

    Raises:
        DataError: The task's local data are missing.
    """
    settings = study.settings
    return UnitConfig(
        study=settings.name,
        task=study.tasks[task],
        method=study.methods[method],
        model=settings.model,
        training=settings.training,
        split_seed=derive_seed(settings.seed, "split", task),
        data_dir=settings.data_dir,
        data_fingerprint=fingerprint_data(study.tasks[task], settings.data_dir),
        libraries=library_versions(),
    )


def task_hash(study: Study, task: str) -> str:
    """Returns the hash of all settings that a task's baselines depend on."""
    unit = unit_meaning(build_unit(study, task, next(iter(study.methods))))
    content = {key: unit[key] for key in ("task", "model", "data_fingerprint", "libraries")}
    return hash_content({**content, "seed": study.settings.seed})


def phase_hash(study: Study, phase: Phase, task: str, method: str) -> str:
    """Returns the hash of all settings that a phase of a unit depends on.

    Snakemake keeps it as the parameter of the rule: a changed meaning re-runs the phase, a
    changed comment does not.
    """
    settings = study.settings
    content: dict[str, Any] = {
        "unit": unit_meaning(build_unit(study, task, method)),
        "seed": settings.seed,
        "default": study.default_hyperparameters(task, method).model_dump(mode="json"),
        "baselines": settings.baselines.model_dump(mode="json"),
    }
    if phase != "phase0":
        search = settings.search.model_dump(
            mode="json", exclude={"retries", "space", "parallel_trials"}
        )
        space = {k: v.model_dump(mode="json") for k, v in study.parameters_of(method).items()}
        content |= {"search": search, "parameters": space}
        content["constraints"] = study.constraints_of(method)
    if phase == "phase2":
        content["validation"] = settings.validation.model_dump(mode="json")
    return hash_content(content)


def build_seeds(study_seed: int, phase: str, task: str, index: int) -> RunSeeds:
    """Returns the seeds of the index-th run of a phase.

    The method is no part of them, so runs of two methods with the same index are paired.

    Args:
        study_seed: ``seed`` of the study.
        phase: ``phase0``, ``phase1``, ``confirm``, ``phase2`` or ``final``; no two share a seed.
        task: Name of the task.
        index: 0-based; every trial of Phase 1 has index 0, so that trials differ by their
            hyperparameters only.
    """
    init, order, subset = (
        derive_seed(study_seed, phase, task, stream, index)
        for stream in ("init", "order", "subset")
    )
    return RunSeeds(init=init, order=order, subset=subset)


class UnitPaths:
    """Where a unit's results lie: ``experiments/{study}/{task}/{method}/…``."""

    def __init__(self, study: Study, task: str, method: str) -> None:
        self.root = study.settings.experiments_path / task / method
        self.storage = self.root / "phase1" / "journal.log"
        self.running_optimum = self.root / "phase1" / "optimal.yaml"
        self.optimum = study.settings.analysis_path / f"{task}_{method}_optimal.yaml"
        self.ledger = study.settings.experiments_path / task / "report_set_ledger.jsonl"
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
