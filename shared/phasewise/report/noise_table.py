"""The table of noise floors: how finely each task can be measured in this study."""

from collections.abc import Sequence
from dataclasses import dataclass

from phasewise.formatting import MISSING, show_score
from phasewise.report.columns import Column, Table
from phasewise.report.evidence import TaskEvidence
from phasewise.report.traces import name_task
from phasewise.settings import METRICS, Study
from phasewise.statistics import (
    expected_gap,
    find_bounds,
    pooled_sd,
    share_standard_error,
    smallest_detectable_difference,
)


@dataclass(frozen=True)
class NoiseRow:
    """How finely a task can be measured in this study."""

    task: str
    metric: str
    seed_sd: float | None  # pooled over the methods' published defaults, report set
    seed_sd_runs: int
    search_rows: int | None
    search_standard_error: float | None  # at the mean score of the defaults; shares only
    report_rows: int | None
    report_standard_error: float | None
    seeds: int
    detectable: float | None  # between two methods in Phase 2, 80 % power at 5 %;
    # None where no two scores are so far apart
    gap: float | None  # best - worst of `trials` equally good configurations, from seeds alone
    trials: int


_NO_SPREAD = "not estimable: all seeds scored the same"


def _records(row: NoiseRow) -> str:
    return name_task(row.task)


NOISE_COLUMNS: tuple[Column[NoiseRow], ...] = (
    Column("task", lambda row: row.task, {"task": lambda row: row.task}, words=True),
    Column("metric", lambda row: row.metric, {"metric": lambda row: row.metric}, words=True),
    Column(
        "seed SD (runs)",
        lambda row: _show_with(row.seed_sd, str(row.seed_sd_runs)),
        {"seed_sd": lambda row: row.seed_sd, "seed_sd_runs": lambda row: row.seed_sd_runs},
        _records,
    ),
    Column(
        "search rows",
        lambda row: _show_rows(row.search_rows),
        {"search_rows": lambda row: row.search_rows},
        _records,
    ),
    Column(
        "their standard error",
        lambda row: show_score(row.search_standard_error),
        {"search_standard_error": lambda row: row.search_standard_error},
        _records,
    ),
    Column(
        "report rows",
        lambda row: _show_rows(row.report_rows),
        {"report_rows": lambda row: row.report_rows},
        _records,
    ),
    Column(
        "their standard error",
        lambda row: show_score(row.report_standard_error),
        {"report_standard_error": lambda row: row.report_standard_error},
        _records,
    ),
    Column(
        "seeds in Phase 2", lambda row: str(row.seeds), {"seeds": lambda row: row.seeds}, _records
    ),
    Column(
        "smallest detectable difference",
        lambda row: _show_detectable(row),
        {"detectable": lambda row: row.detectable},
        _records,
    ),
    Column(
        "gap by seeds alone",
        lambda row: (
            _NO_SPREAD if _is_nothing(row.gap) else _show_with(row.gap, f"{row.trials} trials")
        ),
        {"gap": lambda row: row.gap, "trials": lambda row: row.trials},
        _records,
    ),
)


def build_noise_table(study: Study, tasks: Sequence[TaskEvidence]) -> Table[NoiseRow]:
    """Returns the noise floor of every task."""
    return Table(NOISE_COLUMNS, tuple(_build_row(study, task) for task in tasks))


def _build_row(study: Study, task: TaskEvidence) -> NoiseRow:
    """Returns the noise floor of a task; None where Phase 0 has not measured it."""
    reports = [unit.default_report.scores for unit in task.units]
    sd = pooled_sd(reports)
    seeds, trials = study.settings.validation.seeds, study.settings.search.trials
    search = [score for unit in task.units for score in unit.default_search.scores]
    report = [score for scores in reports for score in scores]
    base = task.baselines
    search_error = _share_error(task.metric, search, base.search_rows if base else None)
    report_error = _share_error(task.metric, report, base.report_rows if base else None)
    gap_sd = pooled_sd([unit.default_search.scores for unit in task.units])
    return NoiseRow(
        task=task.task,
        metric=task.metric,
        seed_sd=sd,
        seed_sd_runs=len(report),
        search_rows=base.search_rows if base else None,
        search_standard_error=search_error,
        report_rows=base.report_rows if base else None,
        report_standard_error=report_error,
        seeds=seeds,
        detectable=_find_detectable(task.metric, sd, seeds),
        gap=None if gap_sd is None else expected_gap(trials, gap_sd),
        trials=trials,
    )


def _find_detectable(metric: str, sd: float | None, seeds: int) -> float | None:
    found = None if sd is None else smallest_detectable_difference(sd, seeds)
    return found if found is not None and found <= find_bounds(metric).width else None


def _show_detectable(row: NoiseRow) -> str:
    if row.detectable is None and row.seed_sd is not None and row.seeds > 1:
        return "none"  # no two scores are so far apart
    return _NO_SPREAD if _is_nothing(row.detectable) else show_score(row.detectable)


def _share_error(metric: str, scores: Sequence[float], rows: int | None) -> float | None:
    """The binomial error at the mean score; None for metrics that are no share, or without rows."""
    if not METRICS[metric].share or not scores or not rows:
        return None
    return share_standard_error(sum(scores) / len(scores), rows)


def _is_nothing(value: float | None) -> bool:
    """Whether a spread was measured as zero; a float's rounding is no spread either."""
    return value is not None and value < 1e-12


def _show_with(value: float | None, count: str) -> str:
    return MISSING if value is None else f"{show_score(value)} ({count})"


def _show_rows(rows: int | None) -> str:
    return MISSING if rows is None else str(rows)
