"""Short runs of a unit, which are only measured: nothing of them stays on disk."""

import shutil
from pathlib import Path

from rich.console import Console

from phasewise.errors import PhasewiseError
from phasewise.records import RunCost, RunRecord
from phasewise.runs import RunConfig, UnitConfig, build_seeds
from phasewise.settings import Hyperparameters, Study
from phasewise.training.interface import RunJob
from phasewise.tuning.dispatch import PoolFactory
from phasewise.tuning.units import Session, Unit, open_session

#: Rows scored after the step: as few as a metric needs.
_SCORED_ROWS = 16


def try_step(
    study: Study,
    task: str,
    method: str,
    *,
    pool_factory: PoolFactory | None = None,
    console: Console | None = None,
) -> RunCost:
    """Trains one step of a unit, on one batch of its published default, and scores a few rows.

    Args:
        study: The study.
        task: Its task.
        method: Its method.
        pool_factory: Makes the pool that trains; None: the real one.
        console: Where progress is shown; None: nowhere.

    Returns:
        What it took, on the engine that will train the unit.

    Raises:
        PhasewiseError: It did not finish; the reason is told.
    """
    unit = Unit(study, task, method)
    folder = unit.paths.root / "step"
    shutil.rmtree(folder, ignore_errors=True)
    with open_session(
        unit,
        pool_factory=pool_factory,
        console=console or Console(quiet=True),
        log=None,
        listener=None,
    ) as session:
        sizes = (unit.default.batch_size, _SCORED_ROWS)
        job = short_job(unit, unit.config, folder, "step", sizes, unit.default, 0)
        cost = run_cost(train_short(session, [job])[0])
    shutil.rmtree(folder, ignore_errors=True)  # a failed one keeps its traceback
    return cost


def short_job(
    unit: Unit,
    config: UnitConfig,
    folder: Path,
    name: str,
    sizes: tuple[int, int],
    hyperparameters: Hyperparameters,
    repeat: int,
) -> RunJob:
    """Returns a run of one epoch on few rows; it never opens the report set.

    Args:
        unit: The unit.
        config: Its configuration, as the run is to have it.
        folder: The run's folder lies in it.
        name: Of the run.
        sizes: Rows trained on, rows scored.
        hyperparameters: All but the epochs.
        repeat: Which of several runs that are seeded alike in all else.
    """
    train, scored = sizes
    rows = {"train_rows": train, "search_rows": scored, "search_fraction": None}
    data = config.data.model_copy(update={"task": config.task.model_copy(update=rows)})
    seeds = build_seeds(unit.study.settings.seed, "pilot", unit.task, repeat)
    run = RunConfig(
        unit_config=config.model_copy(update={"data": data}),
        role="pilot",
        index=0,
        variant=name,
        hyperparameters=hyperparameters.model_copy(update={"epochs": 1.0}),
        seeds=seeds.model_copy(update={"subset": 0}),  # one sample, tokenized once
    )
    return RunJob(run, folder / run.name, unit.paths.ledger)


def train_short(session: Session, jobs: list[RunJob]) -> list[RunRecord]:
    """Returns the records in the order of the jobs.

    Raises:
        PhasewiseError: A run did not finish; its reason is told.
    """
    records: dict[str, RunRecord] = {}

    def end(job: RunJob, record: RunRecord) -> None:
        records[job.config.name] = record

    session.dispatcher.run_all(jobs, ended=end, evaluated=lambda *_: "continue")
    for record in records.values():
        if record.status != "finished" or record.cost is None:
            why = record.message or record.status
            raise PhasewiseError(f"{record.config.label}: the run did not finish: {why}")
    return [records[job.config.name] for job in jobs]


def run_cost(record: RunRecord) -> RunCost:
    """Returns what a finished run took."""
    assert record.cost is not None
    return record.cost
