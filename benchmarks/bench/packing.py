"""The packed engine called directly: equal runs, as many as slots."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from benchmarks.bench.workloads import Sizes, Workload, describe_study, write_study

from phasewise.runs import RunConfig, RunSeeds, UnitConfig, build_unit
from phasewise.settings import Hyperparameters, MachineSettings, Study
from phasewise.training.auto_engine import AutoEngine
from phasewise.training.interface import RunJob

#: Scored once, at a run's end; few, since the steps are what is measured.
SEARCH_ROWS = 32


def write_unit(
    folder: Path,
    rows: int,
    hyperparameters: Mapping[str, Any],
    *,
    device: Literal["cpu", "cuda"] = "cpu",
    method: str = "lora",
    model: Mapping[str, Any] | None = None,
) -> tuple[Study, UnitConfig]:
    """Returns a study of one unit, written into a folder.

    Args:
        folder: Where ``study.yaml`` goes.
        rows: Train rows of a run.
        hyperparameters: Those of all runs.
        device: Where it trains.
        method: What trains.
        model: Keys of the study's ``model`` that differ from MiniLM in float32.
    """
    workload = Workload("equal", "equal runs", method, "documented", hyperparameters)
    changes = {"machine": {"device": device}, "model": model or {}}
    content = describe_study(workload, Sizes(1, rows, SEARCH_ROWS), changes)
    study = write_study(folder, content)
    (task,) = study.tasks
    return study, build_unit(study, task, method)


def build_jobs(
    unit: UnitConfig, count: int, hyperparameters: Mapping[str, Any], folder: Path
) -> list[RunJob]:
    """Returns runs that differ by their seeds."""
    return [
        RunJob(
            RunConfig(
                unit_config=unit,
                role="trial",
                index=index,
                hyperparameters=Hyperparameters(**hyperparameters),
                seeds=RunSeeds(init=index, order=index, subset=0),
                opens_report_set=False,
            ),
            folder / f"trial-{index:03}",
            folder / "ledger.jsonl",
        )
        for index in range(count)
    ]


def build_packed_engine(device: Literal["cpu", "cuda"], slots: int) -> AutoEngine:
    """Returns the engine with a given number of slots."""
    return AutoEngine(MachineSettings(device=device, threads=1, slots=slots))
