"""The table of units: what each method reached on each task, and at what cost."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from phasewise.example_values import IntervalOf
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
from phasewise.records import RunCost
from phasewise.report.columns import Cell, Column, Table
from phasewise.report.evidence import TaskEvidence, UnitEvidence
from phasewise.report.gaps import describe_gaps
from phasewise.report.latex import escape_latex
from phasewise.report.learning import judge_unit
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

#: Behind a score in tables for papers; in those of the page it is the sign alone.
LATEX_NOT_LEARNED = r"$^{\ddagger}$"


@dataclass(frozen=True)
class UnitRow:
    """One unit; scores are on the task's own scale, None where there is no number yet."""

    evidence: UnitEvidence  # for columns of what is not worked out below
    task: str
    method: str
    metric: str
    maximize: bool
    planned_defaults: int  # runs of the default
    planned_seeds: int  # runs of Phase 2
    default_search: ScoreSummary
    default_report: ScoreSummary
    best_raw: float | None
    confirmed: float | None
    confirmed_standard_error: float | None
    confirmed_seeds: int
    optimism: float | None  # best_raw - confirmed, positive where the raw value flatters
    improvement: float | None  # S, as the optimum's YAML has it
    validation: ScoreSummary
    validation_interval: Interval | None
    interval_of: IntervalOf  # what it allows for
    trainable_parameters: float | None
    seconds: float | None  # median per run, of Phase 2 if there is any, else of the trials
    peak_memory_mb: float | None
    learned: bool | None  # None: not judged
    state: str  # what is missing, in words; empty if nothing is


def _records(kind: str = "") -> Callable[[UnitRow], str]:
    return lambda row: name_unit(row.task, row.method, kind)


UNIT_COLUMNS: tuple[Column[UnitRow], ...] = (
    Column(
        "task",
        lambda row: row.task,
        {"task": lambda row: row.task},
        latex_heading="task",
        words=True,
    ),
    Column(
        "method",
        lambda row: row.method,
        {"method": lambda row: row.method},
        latex_heading="method",
        words=True,
    ),
    Column(csv={"metric": lambda row: row.metric, "maximize": lambda row: row.maximize}),
    Column(
        "Phase 2 (report)",
        lambda row: _show_validation(row),
        {
            "validation": lambda row: row.validation,
            "validation_interval": lambda row: row.validation_interval,
            "interval_of": lambda row: row.interval_of,
        },
        _records(SEEDS),
    ),
    Column(
        "SD",
        lambda row: show_score(row.validation.sd, beside=row.validation.mean),
        anchor=_records(SEEDS),
    ),
    Column(
        "default (report)",
        lambda row: show_spread(row.default_report, row.planned_defaults),
        {"default_report": lambda row: row.default_report},
        _records(DEFAULTS),
    ),
    Column(
        "S (search)",
        lambda row: show_signed(row.improvement),
        {"improvement": lambda row: row.improvement},
        _records(CONFIRMATIONS),
    ),
    Column(
        "confirmed (search)",
        lambda row: _show_confirmed(row),
        {
            "confirmed": lambda row: row.confirmed,
            "confirmed_standard_error": lambda row: row.confirmed_standard_error,
            "confirmed_seeds": lambda row: row.confirmed_seeds,
        },
        _records(CONFIRMATIONS),
    ),
    Column(
        "best raw (search)",
        lambda row: show_score(row.best_raw),
        {"best_raw": lambda row: row.best_raw},
        _records(TRIALS),
    ),
    Column(
        "optimism",
        lambda row: show_signed(row.optimism),
        {"optimism": lambda row: row.optimism},
        _records(CONFIRMATIONS),
    ),
    Column(
        "default (search)",
        lambda row: show_spread(row.default_search, row.planned_defaults),
        {"default_search": lambda row: row.default_search},
        _records(DEFAULTS),
    ),
    Column(
        "trainable",
        lambda row: show_count(row.trainable_parameters),
        {"trainable_parameters": lambda row: row.trainable_parameters},
        _records(),
        latex_heading="trainable",
    ),
    Column(
        "s per run",
        lambda row: show_amount(row.seconds),
        {"seconds": lambda row: row.seconds},
        _records(),
        latex_heading="s per run",
    ),
    Column(
        "peak MB",
        lambda row: show_amount(row.peak_memory_mb),
        {"peak_memory_mb": lambda row: row.peak_memory_mb},
        _records(),
        latex_heading="peak MB",
    ),
    Column(
        latex=lambda row: (
            escape_latex(show_score(row.validation.mean))
            + (LATEX_NOT_LEARNED if row.learned is False else "")
        ),
        latex_heading="report score",
    ),
    Column(csv={"learned": lambda row: row.learned}),
    Column(csv={"state": lambda row: row.state}),
)


def build_unit_table(tasks: Sequence[TaskEvidence], rows: Sequence[UnitRow]) -> Table[UnitRow]:
    """Returns the table of units, each task opened by its cheap baselines."""
    background = {
        task.task: [_show_baseline(task.task, each) for each in task.baselines.baselines]
        for task in tasks
        if task.baselines
    }
    return Table(UNIT_COLUMNS, tuple(rows), grouped=True, background=background)


def build_unit_rows(study: Study, tasks: Sequence[TaskEvidence]) -> list[UnitRow]:
    """Returns the numbers of every unit, in the tasks' order."""
    judged = [(unit, judge_unit(task, unit)) for task in tasks for unit in task.units]
    return [
        build_unit_row(study, unit, learned=None if each is None else each.learned)
        for unit, each in judged
    ]


def build_unit_row(study: Study, unit: UnitEvidence, *, learned: bool | None) -> UnitRow:
    """Returns the numbers of one unit.

    Args:
        study: The study.
        unit: What it has left.
        learned: Whether it beats its floor; None if that is not known.
    """
    optimum = unit.optimum
    raw = None if optimum is None else optimum.best_value
    confirmed = None if optimum is None else optimum.confirmed_value
    sign = 1 if unit.maximize else -1
    costs = _costs(unit)
    interval, interval_of = unit.interval
    return UnitRow(
        evidence=unit,
        task=unit.task,
        method=unit.method,
        metric=unit.metric,
        maximize=unit.maximize,
        planned_defaults=study.settings.baselines.seeds,
        planned_seeds=study.settings.validation.seeds,
        default_search=unit.default_search,
        default_report=unit.default_report,
        best_raw=raw,
        confirmed=confirmed,
        confirmed_standard_error=optimum.confirmed_standard_error if optimum else None,
        confirmed_seeds=optimum.confirmed_seeds if optimum else 0,
        optimism=None if raw is None or confirmed is None else sign * (raw - confirmed),
        improvement=optimum.improvement if optimum else None,
        validation=unit.validation,
        validation_interval=interval,
        interval_of=interval_of,
        trainable_parameters=_median([cost.trainable_parameters for cost in costs]),
        seconds=_median([cost.total_seconds for cost in costs]),
        peak_memory_mb=_median([cost.peak_memory_mb for cost in costs]),
        learned=learned,
        state="; ".join(describe_gaps(study, unit)),
    )


def _costs(unit: UnitEvidence) -> list[RunCost]:
    for records in (unit.records["phase2"], unit.trials, unit.records["phase0"]):
        finished = [record for record in records if record.status == "finished"]
        costs = [record.cost for record in finished if record.cost is not None]
        if costs:
            return costs
    return []


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(median(known)) if known else None


def _show_baseline(task: str, baseline: Baseline) -> dict[str, Cell]:
    link = f"#{name_task(task)}"
    scores = {
        "Phase 2 (report)": show_score(baseline.report_score),
        "default (search)": show_score(baseline.search_score),
    }
    cells = {heading: (text, "" if text == MISSING else link) for heading, text in scores.items()}
    return {"task": (task, ""), "method": (BASELINE_NAMES[baseline.name], ""), **cells}


def _show_confirmed(row: UnitRow) -> str:
    if row.confirmed is None:
        return MISSING
    error = row.confirmed_standard_error
    spread = "" if error is None else f" ± {show_score(error, beside=row.confirmed)}"
    return f"{show_score(row.confirmed)}{spread} ({row.confirmed_seeds})"


def _show_validation(row: UnitRow) -> str:
    planned = row.planned_seeds
    n = len(row.validation.scores)
    if not n:
        return f"no score (0 of {planned})"
    count = str(n) if n >= planned else f"{n} of {planned}"
    interval = show_interval(row.validation_interval)
    if interval and row.interval_of == "seeds":
        interval += "*"
    mean = show_score(row.validation.mean) + ("‡" if row.learned is False else "")
    return " ".join(filter(None, [mean, interval, f"({count})"]))
