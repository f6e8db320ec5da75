"""The report's tables as text; HTML and Markdown show the same cells."""

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import groupby
from typing import TYPE_CHECKING

from phasewise.formatting import (
    BASELINE_NAMES,
    MISSING,
    show_amount,
    show_count,
    show_interval,
    show_score,
    show_signed,
    show_spread,
)
from phasewise.report.evidence import PHASES, TaskEvidence, UnitEvidence
from phasewise.report.rows import NoiseRow, UnitRow, count_statuses
from phasewise.report.traces import (
    CONFIRMATIONS,
    DEFAULTS,
    SEEDS,
    TRIALS,
    name_task,
    name_unit,
)
from phasewise.settings import Study
from phasewise.statistics import Interval
from phasewise.summaries import Baseline, ScoreSummary

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


@dataclass(frozen=True)
class Table:
    """A table of ready text; every row has as many cells as there are columns."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: int = 1  # leading columns of words; the others hold numbers
    muted: frozenset[int] = frozenset()  # rows that are a background to the others
    grouped: bool = False  # rows with the same first cell belong together
    #: (row, column name) to the anchor or file that a cell's number comes from.
    targets: Mapping[tuple[int, str], str] = field(default_factory=dict)

    def groups(self) -> list[tuple[str, list[tuple[bool, list[tuple[str, str]]]]]]:
        """Returns (first cell, its rows); one group if not grouped.

        A row says whether it is muted, and has (text, link) cells; without a link it is empty.
        """
        rows = [(i in self.muted, self._link_cells(i)) for i in range(len(self.rows))]
        if not self.grouped:
            return [("", rows)]
        return [(key, list(group)) for key, group in groupby(rows, lambda each: each[1][0][0])]

    def _link_cells(self, index: int) -> list[tuple[str, str]]:
        cells = zip(self.columns, self.rows[index], strict=True)
        return [
            (text, "" if text == MISSING else self.targets.get((index, column), ""))
            for column, text in cells
        ]


_NO_SPREAD = "not estimable: all seeds scored the same"
UNIT_COLUMNS = (
    "task",
    "method",
    "Phase 2 (report)",
    "SD",
    "default (report)",
    "S (search)",
    "confirmed (search)",
    "best raw (search)",
    "optimism",
    "default (search)",
    "trainable",
    "s per run",
    "peak MB",
)


#: Which kind of runs a column of the table of units is worked out from.
_UNIT_KINDS = {
    "Phase 2 (report)": SEEDS,
    "SD": SEEDS,
    "default (report)": DEFAULTS,
    "S (search)": CONFIRMATIONS,
    "confirmed (search)": CONFIRMATIONS,
    "best raw (search)": TRIALS,
    "optimism": CONFIRMATIONS,
    "default (search)": DEFAULTS,
    "trainable": "",
    "s per run": "",
    "peak MB": "",
}


def build_unit_table(study: Study, tasks: Sequence[TaskEvidence], rows: Sequence[UnitRow]) -> Table:
    """Returns the table of units, each task opened by its cheap baselines."""
    cells: list[tuple[str, ...]] = []
    muted, targets = set(), dict[tuple[int, str], str]()
    for task in tasks:
        for baseline in task.baselines.baselines if task.baselines else ():
            muted.add(len(cells))
            for column in ("Phase 2 (report)", "default (search)"):
                targets[len(cells), column] = f"#{name_task(task.task)}"
            cells.append(_baseline_cells(task.task, baseline))
        for row in (row for row in rows if row.task == task.task):
            for column, kind in _UNIT_KINDS.items():
                targets[len(cells), column] = f"#{name_unit(row.task, row.method, kind)}"
            cells.append(_unit_cells(study, row))
    return Table(
        UNIT_COLUMNS,
        tuple(cells),
        words=2,
        muted=frozenset(muted),
        grouped=True,
        targets=targets,
    )


def build_noise_table(rows: Sequence[NoiseRow]) -> Table:
    """Returns the noise floor of every task."""
    columns = (
        "task",
        "metric",
        "seed SD (runs)",
        "search rows",
        "their standard error",
        "report rows",
        "their standard error",
        "seeds in Phase 2",
        "smallest detectable difference",
        "gap by seeds alone",
    )
    targets = {
        (index, column): f"#{name_task(row.task)}"
        for index, row in enumerate(rows)
        for column in columns[2:]
    }
    return Table(columns, tuple(_noise_cells(row) for row in rows), words=2, targets=targets)


def build_count_table(units: Sequence[UnitEvidence]) -> Table:
    """Returns how the runs of every unit ended, by phase; phases without a run are left out."""
    cells: list[tuple[str, ...]] = []
    targets, columns = dict[tuple[int, str], str](), tuple(count_statuses(()))
    kinds = {"phase0": DEFAULTS, "phase1": TRIALS, "phase2": SEEDS}
    for unit in units:
        for phase in PHASES:
            counts = count_statuses(unit.records[phase])
            if any(counts.values()):
                anchor = f"#{name_unit(unit.task, unit.method, kinds[phase])}"
                targets |= {(len(cells), column): anchor for column in columns}
                name = phase.replace("phase", "Phase ")
                cells.append((unit.task, unit.method, name, *map(str, counts.values())))
    return Table(("task", "method", "phase", *columns), tuple(cells), words=3, targets=targets)


def build_ledger_table(tasks: Sequence[TaskEvidence]) -> Table:
    """Returns how often, by whom, for how many runs and why each task's report set was opened."""
    cells = []
    for task in tasks:
        runs = {str(entry.get("run", "unknown")) for entry in task.ledger}
        last = max((str(entry.get("time", "")) for entry in task.ledger), default="") or MISSING
        who, why = _count_entries(task, "user"), _count_entries(task, "reason")
        cells.append((task.task, why, who, last, str(len(runs)), str(len(task.ledger))))
    columns = ("task", "why", "who", "last time (UTC)", "runs", "times opened")
    targets = {
        (index, column): f"#{name_task(task.task)}"
        for index, task in enumerate(tasks)
        for column in columns[4:]
    }
    return Table(columns, tuple(cells), words=4, targets=targets)


def _count_entries(task: TaskEvidence, key: str) -> str:
    counts = Counter(str(entry.get(key, "unknown")) for entry in task.ledger)
    return ", ".join(f"{count} x {value}" for value, count in counts.items()) or MISSING


def build_criteria_table(units: Sequence[UnitEvidence]) -> Table:
    """Returns the documented success criteria; each one's detail holds the noise beside it."""
    cells = [
        (
            unit.task,
            unit.method,
            criterion.name,
            "met" if criterion.met else "not met",
            criterion.detail,
        )
        for unit in units
        for criterion in (unit.optimum.success_criteria if unit.optimum else ())
    ]
    targets = {
        (index, "result"): f"#{name_unit(row[0], row[1], TRIALS)}"
        for index, row in enumerate(cells)
    }
    columns = ("task", "method", "criterion", "result", "detail")
    return Table(columns, tuple(cells), words=5, targets=targets)


def write_csv(rows: Sequence["DataclassInstance"]) -> str:
    """Returns rows as CSV with full precision; empty where there is no number."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    for index, row in enumerate(rows):
        flat: dict[str, object] = {}
        for each in fields(row):
            flat |= _flatten(each.name, getattr(row, each.name))
        if index == 0:
            writer.writerow(flat)
        writer.writerow(flat.values())
    return stream.getvalue()


def _flatten(name: str, value: object) -> dict[str, object]:
    if isinstance(value, ScoreSummary):
        mean, sd, error = value.mean, value.sd, value.standard_error
        return {
            f"{name}_mean": mean,
            f"{name}_sd": sd,
            f"{name}_standard_error": error,
            f"{name}_runs": len(value.scores),
        }
    if name.endswith("_interval"):
        low, high = value if isinstance(value, Interval) else (None, None)
        return {f"{name}_low": low, f"{name}_high": high}
    return {name: value}


def _baseline_cells(task: str, baseline: Baseline) -> tuple[str, ...]:
    search, report = show_score(baseline.search_score), show_score(baseline.report_score)
    return (task, BASELINE_NAMES[baseline.name], report, *[MISSING] * 6, search, *[MISSING] * 3)


def _unit_cells(study: Study, row: UnitRow) -> tuple[str, ...]:
    seeds, defaults = study.settings.validation.seeds, study.settings.baselines.seeds
    return (
        row.task,
        row.method,
        _validation_cell(row, seeds),
        show_score(row.validation.sd, beside=row.validation.mean),
        show_spread(row.default_report, defaults),
        show_signed(row.improvement),
        _confirmed_cell(row),
        show_score(row.best_raw),
        show_signed(row.optimism),
        show_spread(row.default_search, defaults),
        show_count(row.trainable_parameters),
        show_amount(row.seconds),
        show_amount(row.peak_memory_mb),
    )


def _confirmed_cell(row: UnitRow) -> str:
    if row.confirmed is None:
        return MISSING
    error = row.confirmed_standard_error
    spread = "" if error is None else f" ± {show_score(error, beside=row.confirmed)}"
    return f"{show_score(row.confirmed)}{spread} ({row.confirmed_seeds})"


def _validation_cell(row: UnitRow, planned: int) -> str:
    n = len(row.validation.scores)
    if not n:
        return f"no score (0 of {planned})"
    count = str(n) if n >= planned else f"{n} of {planned}"
    interval = show_interval(row.validation_interval)
    if interval and row.interval_of == "seeds":
        interval += "*"
    return " ".join(filter(None, [show_score(row.validation.mean), interval, f"({count})"]))


def _is_nothing(value: float | None) -> bool:
    """Whether a spread was measured as zero; a float's rounding is no spread either."""
    return value is not None and value < 1e-12


def _noise_cells(row: NoiseRow) -> tuple[str, ...]:
    gap = MISSING if row.gap is None else f"{show_score(row.gap)} ({row.trials} trials)"
    sd = MISSING if row.seed_sd is None else f"{show_score(row.seed_sd)} ({row.seed_sd_runs})"
    return (
        row.task,
        row.metric,
        sd,
        MISSING if row.search_rows is None else str(row.search_rows),
        show_score(row.search_standard_error),
        MISSING if row.report_rows is None else str(row.report_rows),
        show_score(row.report_standard_error),
        str(row.seeds),
        _NO_SPREAD if _is_nothing(row.detectable) else show_score(row.detectable),
        _NO_SPREAD if _is_nothing(row.gap) else gap,
    )
