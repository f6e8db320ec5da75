"""A pilot: a few short runs of a unit, measured, and what they let one expect of all its runs."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
from rich.console import Console

from phasewise.records import RunRecord
from phasewise.settings import Hyperparameters, Study, merge_hyperparameters
from phasewise.statistics import TotalCost, predict_total
from phasewise.tasks.data import check_task_data
from phasewise.training.interface import RunJob
from phasewise.tuning.dispatch import PoolFactory
from phasewise.tuning.short_runs import run_cost, short_job, train_short
from phasewise.tuning.startup import sobol_draws
from phasewise.tuning.units import Session, Unit, open_session

#: Rows of a small and of a large pilot run; where a study has fewer, its own number and a third.
_SMALL, _LARGE = 16, 48
#: A whole run's peak is up to so much above a short one's, which sees fewer of the longest texts.
_MEMORY_MARGIN = 0.2
_REPEATS = 2
#: Draws of the space that stand for the trials to come, and for the one that needs most memory.
_DRAWS = 64


@dataclass(frozen=True)
class Amounts:
    """What a run works through."""

    train_rows: float  # over all epochs
    scored_rows: float


@dataclass(frozen=True)
class PilotEstimate:
    """What a unit's runs need, from measurements."""

    runs: int  # planned
    pilots: int
    seconds: TotalCost  # one after another, on one worker
    peak_memory_mb: tuple[float, float]  # of the most demanding draw: measured, and with a margin
    disk_mb: float
    disk_error_mb: float  # twice the standard deviation of the sum
    device: str


def run_pilot(
    study: Study,
    task: str,
    method: str,
    *,
    validates: bool = True,
    pool_factory: PoolFactory | None = None,
    console: Console | None = None,
) -> PilotEstimate:
    """Trains short runs of a unit and extrapolates to all of its planned runs.

    The runs are those of Phases 0, 1 and, if it validates, 2 as the study has them; trials are
    represented by draws from the space. Short runs train one by one, so where a unit's runs train
    together the time is an upper bound. Nothing of the pilot stays on disk.

    Args:
        study: The study.
        task: Its task.
        method: Its method.
        validates: Whether Phase 2 is to be made too.
        pool_factory: Makes the pool that trains; None: the real one.
        console: Where progress is shown; None: standard error.

    Raises:
        PhasewiseError: A pilot run did not finish; its reason is told.
    """
    unit = Unit(study, task, method)
    folder = unit.paths.root / "pilot"
    try:
        with open_session(
            unit,
            pool_factory=pool_factory,
            console=console,
            log=None,
            listener=None,
        ) as session:
            return _measure(unit, folder, session, validates=validates)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _measure(unit: Unit, folder: Path, session: Session, *, validates: bool) -> PilotEstimate:
    splits = check_task_data(unit.study.tasks[unit.task], unit.study.settings.data_dir)
    rows = len(splits.train), len(splits.search)
    combinations = _sizes(*rows)
    train_short(session, [_job(unit, folder, "warm-up", combinations[0], unit.default, 0)])
    jobs = [
        _job(unit, folder, f"{sizes[0]}-{sizes[1]}-{repeat}", sizes, unit.default, repeat)
        for sizes in combinations
        for repeat in range(_REPEATS)
    ]
    records = train_short(session, jobs)
    peak = _measure_peak(unit, folder, session, rows)
    measured = np.array([[_trained(r), _scored(r)] for r in records], dtype=float)
    seconds = np.array([run_cost(record).total_seconds for record in records])
    planned = _plan_amounts(unit, *rows, validates=validates)
    sizes = [_folder_mb(job.folder) for job in jobs]
    kept = _adapters_kept(unit) if validates else 0
    return PilotEstimate(
        runs=len(planned),
        pilots=1 + len(records) + _REPEATS,
        seconds=predict_total(
            measured, seconds, np.array([[a.train_rows, a.scored_rows] for a in planned])
        ),
        peak_memory_mb=(peak, (1 + _MEMORY_MARGIN) * peak),
        disk_mb=kept * (run_cost(records[0]).adapter_bytes or 0) / 1e6
        + len(planned) * fmean(sizes),
        disk_error_mb=2 * len(planned) * float(np.std(sizes, ddof=1)),
        device=records[0].environment.get("device", "unknown"),
    )


def _sizes(train: int, search: int) -> tuple[tuple[int, int], ...]:
    """Returns rows trained on and rows scored: three combinations tell the two prices apart."""
    (few, many), (least, most) = (
        (min(_SMALL, max(2, rows // 3)), min(_LARGE, rows)) for rows in (train, search)
    )
    return (few, least), (many, least), (few, most)


def _measure_peak(unit: Unit, folder: Path, session: Session, rows: tuple[int, int]) -> float:
    """Returns the peak memory of the most demanding draw, MB: two of its steps, whole batches."""
    demanding, settings = _most_demanding(unit), unit.study.settings.training
    train, search = rows
    sizes = (
        min(train, max(_SMALL, 2 * demanding.batch_size)),
        min(search, max(_SMALL, settings.evaluation_batch_size)),
    )
    jobs = [
        _job(unit, folder, f"largest-{repeat}", sizes, demanding, repeat)
        for repeat in range(_REPEATS)
    ]
    return max(run_cost(record).peak_memory_mb or 0.0 for record in train_short(session, jobs))


def _job(
    unit: Unit,
    folder: Path,
    name: str,
    sizes: tuple[int, int],
    hyperparameters: Hyperparameters,
    repeat: int,
) -> RunJob:
    training = unit.config.training.model_copy(update={"engine": "trainer"})
    config = unit.config.model_copy(update={"training": training})
    return short_job(unit, config, folder, f"pilot-{name}", sizes, hyperparameters, repeat)


def _trained(record: RunRecord) -> int:
    """Rows trained on in a pilot run, one epoch."""
    return record.config.unit_config.task.train_rows or 0


def _scored(record: RunRecord) -> int:
    """Rows scored in a pilot run: the search set at each evaluation, and its train rows once."""
    return len(record.evaluations) * record.search_rows + _trained(record)


def _draws(unit: Unit) -> list[Hyperparameters]:
    if not unit.space.searched:
        return [unit.default]
    drawn = sobol_draws(unit.space, _DRAWS, seed=unit.study.settings.seed)
    return [merge_hyperparameters(unit.default, draw.values) for draw in drawn] or [unit.default]


def _most_demanding(unit: Unit) -> Hyperparameters:
    """Returns the draw with most rows and tokens at once, then the highest rank."""
    limit = unit.study.settings.training.micro_batch_size
    longest = unit.study.tasks[unit.task].max_length

    def demand(one: Hyperparameters) -> tuple[float, int]:
        tokens = one.rows_at_once(limit) * min(one.max_length or longest, longest)
        return tokens, one.lora_rank

    return max([unit.default, *_draws(unit)], key=demand)


def _plan_amounts(unit: Unit, train: int, search: int, *, validates: bool) -> list[Amounts]:
    """Returns what each planned run works through, of so many rows."""
    settings = unit.study.settings
    report = unit.study.tasks[unit.task].splits.report_rows or search

    def amounts(one: Hyperparameters, *, opens_report_set: bool) -> Amounts:
        evaluations = max(1.0, one.epochs) * settings.training.evaluations_per_epoch
        last = min(train, 100) + (report if opens_report_set else 0)
        return Amounts(train * one.epochs, evaluations * search + last)

    def cycle(count: int) -> Iterator[Hyperparameters]:
        drawn = _draws(unit)
        yield from (drawn[index % len(drawn)] for index in range(count))

    confirm = min(settings.search.confirm_top, settings.search.trials)
    confirm *= settings.search.confirm_seeds
    trials = settings.search.trials + confirm
    seeds = settings.validation.seeds if validates else 0
    return [
        *[amounts(unit.default, opens_report_set=True)] * settings.baselines.seeds,
        *[amounts(one, opens_report_set=False) for one in cycle(trials)],
        *[amounts(one, opens_report_set=True) for one in cycle(seeds)],
    ]


def _adapters_kept(unit: Unit) -> int:
    """Only Phase 2 keeps adapters; trials leave no checkpoint."""
    method = unit.study.methods[unit.method]
    kept = unit.study.settings.training.save_adapters and method.trains_adapter
    return unit.study.settings.validation.seeds if kept else 0


def _folder_mb(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6
