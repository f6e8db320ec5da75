"""The tables about runs: how they ended, who opened the report set, which criteria are met."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from phasewise.formatting import MISSING
from phasewise.records import RunRecord
from phasewise.report.columns import Column, Table
from phasewise.report.evidence import PHASES, TaskEvidence, UnitEvidence
from phasewise.report.traces import DEFAULTS, SEEDS, TRIALS, name_task, name_unit
from phasewise.runs import Phase
from phasewise.summaries import Criterion

_STATUSES = ("finished", "pruned", "diverged", "infeasible", "failed")
_KINDS = {"phase0": DEFAULTS, "phase1": TRIALS, "phase2": SEEDS}


@dataclass(frozen=True)
class PhaseRuns:
    """The runs of one phase of a unit."""

    unit: UnitEvidence
    phase: Phase

    @property
    def records(self) -> Sequence[RunRecord]:
        """Of any status."""
        return self.unit.records[self.phase]

    @property
    def anchor(self) -> str:
        """Of their rows in the page."""
        return name_unit(self.unit.task, self.unit.method, _KINDS[self.phase])


@dataclass(frozen=True)
class UnitCriterion:
    """A documented success criterion on one unit."""

    unit: UnitEvidence
    criterion: Criterion


def _count(row: PhaseRuns, status: str) -> str:
    return str(sum(record.status == status for record in row.records))


COUNT_COLUMNS: tuple[Column[PhaseRuns], ...] = (
    Column("task", lambda row: row.unit.task, words=True),
    Column("method", lambda row: row.unit.method, words=True),
    Column("phase", lambda row: row.phase.replace("phase", "Phase "), words=True),
    *(
        Column(status, partial(_count, status=status), anchor=lambda row: row.anchor)
        for status in _STATUSES
    ),
)
LEDGER_COLUMNS: tuple[Column[TaskEvidence], ...] = (
    Column("task", lambda task: task.task, words=True),
    Column("why", lambda task: _count_entries(task, "reason"), words=True),
    Column("who", lambda task: _count_entries(task, "user"), words=True),
    Column(
        "last time (UTC)",
        lambda task: max((str(e.get("time", "")) for e in task.ledger), default="") or MISSING,
        words=True,
    ),
    Column(
        "runs",
        lambda task: str(len({str(entry.get("run", "unknown")) for entry in task.ledger})),
        anchor=lambda task: name_task(task.task),
    ),
    Column(
        "times opened",
        lambda task: str(len(task.ledger)),
        anchor=lambda task: name_task(task.task),
    ),
)
CRITERIA_COLUMNS: tuple[Column[UnitCriterion], ...] = (
    Column("task", lambda row: row.unit.task, words=True),
    Column("method", lambda row: row.unit.method, words=True),
    Column("criterion", lambda row: row.criterion.name, words=True),
    Column(
        "result",
        lambda row: "met" if row.criterion.met else "not met",
        anchor=lambda row: name_unit(row.unit.task, row.unit.method, TRIALS),
        words=True,
    ),
    Column("detail", lambda row: row.criterion.detail, words=True),
)


def build_count_table(units: Sequence[UnitEvidence]) -> Table[PhaseRuns]:
    """Returns how the runs of every unit ended, by phase; phases without a run are left out."""
    rows = (PhaseRuns(unit, phase) for unit in units for phase in PHASES)
    return Table(COUNT_COLUMNS, tuple(row for row in rows if row.records))


def build_ledger_table(tasks: Sequence[TaskEvidence]) -> Table[TaskEvidence]:
    """Returns how often, by whom, for how many runs and why each task's report set was opened."""
    return Table(LEDGER_COLUMNS, tuple(tasks))


def build_criteria_table(units: Sequence[UnitEvidence]) -> Table[UnitCriterion]:
    """Returns the documented success criteria; each one's detail holds the noise beside it."""
    rows = [
        UnitCriterion(unit, criterion)
        for unit in units
        for criterion in (unit.optimum.success_criteria if unit.optimum else ())
    ]
    return Table(CRITERIA_COLUMNS, tuple(rows))


def _count_entries(task: TaskEvidence, key: str) -> str:
    counts = Counter(str(entry.get(key, "unknown")) for entry in task.ledger)
    return ", ".join(f"{count} x {value}" for value, count in counts.items()) or MISSING
