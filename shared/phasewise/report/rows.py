"""The numbers of the report's tables, typed; the text tables and the CSV files show the same."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

import numpy as np

from phasewise.records import RunCost, RunRecord
from phasewise.report.evidence import TaskEvidence, UnitEvidence
from phasewise.report.example_values import tabulate
from phasewise.settings import Study
from phasewise.statistics import (
    Interval,
    accuracy_standard_error,
    compare_crossed,
    expected_gap,
    pooled_sd,
    smallest_detectable_difference,
    t_interval,
)
from phasewise.summaries import ScoreSummary

#: Metrics that are shares of examples, for which the binomial standard error holds.
_SHARES = {"accuracy", "exact", "exact_answer", "function_match"}


#: What an interval allows for: other seeds and other examples, or other seeds only.
IntervalOf = Literal["seeds and examples", "seeds"]


@dataclass(frozen=True)
class UnitRow:
    """One unit; scores are on the task's own scale, None where there is no number yet."""

    task: str
    method: str
    metric: str
    maximise: bool
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
    state: str  # what is missing, in words; empty if nothing is


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
    detectable: float | None  # between two methods in Phase 2, 80 % power at 5 %
    gap: float | None  # best - worst of `trials` equally good configurations, from seeds alone
    trials: int


def build_unit_row(study: Study, unit: UnitEvidence) -> UnitRow:
    """Returns the numbers of one unit."""
    optimum = unit.optimum
    raw = None if optimum is None else optimum.best_value
    confirmed = None if optimum is None else optimum.confirmed_value
    sign = 1 if unit.maximize else -1
    costs = _costs(unit)
    interval, interval_of = find_interval(unit)
    return UnitRow(
        task=unit.task,
        method=unit.method,
        metric=unit.metric,
        maximise=unit.maximize,
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
        state="; ".join(describe_gaps(study, unit)),
    )


def find_interval(unit: UnitEvidence) -> tuple[Interval | None, IntervalOf]:
    """Returns the 95 % interval of the unit's Phase 2 mean, and what it allows for.

    Seeds and examples are crossed random effects, as in the verdict; without usable predictions
    it is Student's t over the seeds.
    """
    values, _ = unit.example_values
    table = tabulate(list(values.values()))
    if table is None or len(table) != len(unit.validation.scores):
        return t_interval(unit.validation.scores), "seeds"
    return compare_crossed(table, np.zeros_like(table)).interval, "seeds and examples"


def build_noise_row(study: Study, task: TaskEvidence) -> NoiseRow:
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
        detectable=None if sd is None else smallest_detectable_difference(sd, seeds),
        gap=None if gap_sd is None else expected_gap(trials, gap_sd),
        trials=trials,
    )


def describe_gaps(study: Study, unit: UnitEvidence) -> list[str]:
    """Returns what a unit still lacks, phase by phase, in words."""
    gaps = []
    if unit.default_report.mean is None:
        gaps.append(_describe_missing("Phase 0", unit.records["phase0"]))
    if unit.optimum is None:
        gaps.append(_describe_missing("Phase 1", unit.trials))
    elif not unit.optimum.final:
        total = study.settings.search.trials
        gaps.append(f"Phase 1 has not ended: {unit.optimum.n_trials} of {total} trials finished")
    elif unit.optimum.confirmed_value is None:
        gaps.append("the optimum has not been confirmed on fresh seeds")
    planned, done = study.settings.validation.seeds, len(unit.validation.scores)
    if not done:
        gaps.append(_describe_missing("Phase 2", unit.records["phase2"]))
    elif done < planned:
        failed = len(unit.phase2.failed) if unit.phase2 else 0
        why = f", {failed} failed" if failed else ""
        gaps.append(f"Phase 2 has {done} of {planned} seeds{why}")
    elif done == 1:
        gaps.append("Phase 2 has a single seed: no interval")
    return gaps


def count_statuses(records: Sequence[RunRecord]) -> dict[str, int]:
    """Returns the number of runs by status, every status listed."""
    statuses = ("finished", "pruned", "diverged", "infeasible", "failed")
    return {status: sum(record.status == status for record in records) for status in statuses}


def _describe_missing(phase: str, records: Sequence[RunRecord]) -> str:
    if not records:
        return f"{phase} has not been run"
    reasons = dict.fromkeys(record.message or record.status for record in records)
    return f"{phase}: none of {len(records)} runs has a score ({'; '.join(list(reasons)[:3])})"


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


def _share_error(metric: str, scores: Sequence[float], rows: int | None) -> float | None:
    """The binomial error at the mean score; None for metrics that are no share, or without rows."""
    if metric not in _SHARES or not scores or not rows:
        return None
    mean = sum(scores) / len(scores)
    return accuracy_standard_error(mean, rows) if 0 <= mean <= 1 else None
