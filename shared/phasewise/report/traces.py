"""Where every number comes from: its runs, their record files, and how it was worked out."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from pathlib import Path
from urllib.parse import quote

from phasewise.formatting import MISSING, show_amount
from phasewise.records import RECORD_FILE, RunRecord
from phasewise.report.columns import Column, Table
from phasewise.report.evidence import PHASES, TaskEvidence, UnitEvidence
from phasewise.runs import Phase, Role, UnitPaths, ledger_path, task_baselines_path
from phasewise.settings import Study
from phasewise.tuning.optimum import meaningful_hyperparameters

#: Kinds of runs of a unit, each a group of the report's Records section.
DEFAULTS, TRIALS, CONFIRMATIONS, SEEDS = "defaults", "trials", "confirmations", "seeds"

_TITLES = {
    DEFAULTS: "Phase 0: published default",
    TRIALS: "Phase 1: trials",
    CONFIRMATIONS: "Phase 1: best trials on fresh seeds",
    SEEDS: "Phase 2: chosen settings on fresh seeds",
}
_HOW = {
    DEFAULTS: (
        "Default: mean ± sample SD of the finished runs' scores, search and report set apart; the "
        "task's seed SD pools these runs over all methods."
    ),
    TRIALS: "Best raw: the search score of the chosen trial. Figures of the search show all rows.",
    CONFIRMATIONS: (
        "Confirmed: mean ± standard error of the chosen trial's rows (its number is the first in "
        "their names). Optimism: best raw minus confirmed. S: confirmed minus the default's mean."
    ),
    SEEDS: (
        "Phase 2: mean, sample SD and interval of the finished runs' report scores. Cost: medians "
        "over these rows."
    ),
}


@dataclass(frozen=True)
class RunRow:
    """One run with its record."""

    task: str
    method: str
    phase: Phase
    role: Role
    run: str
    status: str
    search_score: float | None
    report_score: float | None
    seconds: float | None
    peak_memory_mb: float | None
    init_seed: int
    order_seed: int
    subset_seed: int
    settings_hash: str
    record: str  # path from the report's folder, percent-encoded
    hyperparameters: Mapping[str, object]  # those with an effect on the method

    @property
    def anchor(self) -> str:
        """The row's name in the page."""
        return name_run(self.task, self.method, self.run)


@dataclass(frozen=True)
class RunGroup:
    """Runs of one kind of a unit, and what is worked out from them."""

    anchor: str
    title: str
    how: str
    runs: tuple[RunRow, ...]

    @property
    def table(self) -> Table[RunRow]:
        """The runs as a table of the page."""
        return tabulate_runs(self.runs)


@dataclass(frozen=True)
class UnitTrace:
    """All runs of a unit; files are (what, link) pairs."""

    anchor: str
    method: str
    files: tuple[tuple[str, str], ...]
    groups: tuple[RunGroup, ...]


@dataclass(frozen=True)
class TaskTrace:
    """All units of a task; files are (what, link) pairs."""

    anchor: str
    task: str
    files: tuple[tuple[str, str], ...]
    units: tuple[UnitTrace, ...]

    @property
    def runs(self) -> tuple[RunRow, ...]:
        """Every run of the task."""
        return tuple(run for unit in self.units for group in unit.groups for run in group.runs)


def _show_exact(value: float | None) -> str:
    """Returns a score as its record has it, to six digits."""
    return MISSING if value is None else f"{value:.6g}"


def _in_csv(name: str) -> dict[str, Callable[[RunRow], object]]:
    return {name: attrgetter(name)}


RUN_COLUMNS: tuple[Column[RunRow], ...] = (
    *(Column(csv=_in_csv(name)) for name in ("task", "method", "phase", "role")),
    Column("record", lambda run: run.run, _in_csv("run"), href=lambda run: run.record, words=True),
    Column("status", lambda run: run.status, _in_csv("status"), words=True),
    Column("search score", lambda run: _show_exact(run.search_score), _in_csv("search_score")),
    Column("report score", lambda run: _show_exact(run.report_score), _in_csv("report_score")),
    Column("s", lambda run: show_amount(run.seconds), _in_csv("seconds")),
    *(
        Column(csv=_in_csv(name))
        for name in (
            "peak_memory_mb",
            "init_seed",
            "order_seed",
            "subset_seed",
            "settings_hash",
            "record",
        )
    ),
)


def _read_hyperparameter(name: str, run: RunRow) -> object:
    return run.hyperparameters.get(name)


def tabulate_runs(runs: Sequence[RunRow]) -> Table[RunRow]:
    """Returns runs as a table; as CSV it has a column per hyperparameter, empty without effect."""
    names = dict.fromkeys(name for run in runs for name in run.hyperparameters)
    columns = [Column[RunRow](csv={name: partial(_read_hyperparameter, name)}) for name in names]
    return Table((*RUN_COLUMNS, *columns), tuple(runs), anchor=attrgetter("anchor"))


def name_task(task: str) -> str:
    """Returns the anchor of a task's records."""
    return f"records.{task}"


def name_unit(task: str, method: str, kind: str = "") -> str:
    """Returns the anchor of a unit's records, or of one kind of them."""
    return ".".join(filter(None, ["records", task, method, kind]))


def name_run(task: str, method: str, run: str) -> str:
    """Returns the anchor of one run."""
    return f"run.{task}.{method}.{run}"


def trace_tasks(study: Study, tasks: Sequence[TaskEvidence]) -> tuple[TaskTrace, ...]:
    """Returns the records behind all numbers of the report, with links from its folder."""
    return tuple(
        TaskTrace(
            anchor=name_task(task.task),
            task=task.task,
            files=_link_existing(study, _task_files(study, task.task)),
            units=tuple(_trace_unit(study, unit) for unit in task.units),
        )
        for task in tasks
    )


def link_from_report(study: Study, path: Path) -> str:
    """Returns a relative link from the report's folder, ready for ``href``."""
    relative = os.path.relpath(path.absolute(), study.settings.analysis_path.absolute())
    return quote(Path(relative).as_posix())


def _trace_unit(study: Study, unit: UnitEvidence) -> UnitTrace:
    kinds = {
        DEFAULTS: unit.records["phase0"],
        TRIALS: unit.trials,
        CONFIRMATIONS: unit.confirmations,
        SEEDS: unit.records["phase2"],
    }
    groups = tuple(
        RunGroup(
            anchor=name_unit(unit.task, unit.method, kind),
            title=_TITLES[kind],
            how=_HOW[kind],
            runs=tuple(_trace_run(study, unit, record) for record in records),
        )
        for kind, records in kinds.items()
    )
    paths = UnitPaths(study, unit.task, unit.method)
    files = {
        "optimum": paths.optimum,
        "running optimum": paths.running_optimum,
        **{f"summary of {phase}": paths.summary(phase) for phase in PHASES},
    }
    anchor = name_unit(unit.task, unit.method)
    return UnitTrace(anchor, unit.method, _link_existing(study, files), groups)


def _trace_run(study: Study, unit: UnitEvidence, record: RunRecord) -> RunRow:
    config, cost = record.config, record.cost
    path = unit.root / config.phase / config.name / RECORD_FILE
    return RunRow(
        task=unit.task,
        method=unit.method,
        phase=config.phase,
        role=config.role,
        run=config.name,
        status=record.status,
        search_score=record.search_score,
        report_score=record.report_score,
        seconds=None if cost is None else cost.total_seconds,
        peak_memory_mb=None if cost is None else cost.peak_memory_mb,
        init_seed=config.seeds.init,
        order_seed=config.seeds.order,
        subset_seed=config.seeds.subset,
        settings_hash=record.hash,
        record=link_from_report(study, path),
        hyperparameters=meaningful_hyperparameters(
            config.hyperparameters, config.unit_config.method
        ),
    )


def _task_files(study: Study, task: str) -> dict[str, Path]:
    ledger = ledger_path(study, task)
    return {"cheap baselines": task_baselines_path(study, task), "report-set ledger": ledger}


def _link_existing(study: Study, files: dict[str, Path]) -> tuple[tuple[str, str], ...]:
    return tuple(
        (what, link_from_report(study, path)) for what, path in files.items() if path.is_file()
    )
