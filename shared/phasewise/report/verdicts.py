"""Every pair of methods judged, on each task and over all of them, corrected for their number."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import comb

import numpy as np
import scipy
from numpy.typing import NDArray

from phasewise.example_values import SeedKey, Values, tabulate
from phasewise.report.evidence import TaskEvidence
from phasewise.report.learning import nobody_learned
from phasewise.settings import Study, is_pooled
from phasewise.statistics import (
    Bounds,
    Comparison,
    Interval,
    bootstrap_crossed,
    compare_crossed,
    compare_seeds,
    correct_holm,
    find_bounds,
    pool_comparisons,
    pool_intervals,
    prob_superiority,
    prob_superiority_interval,
)

ALL_TASKS = "all tasks"
LEVEL = 0.05
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Verdict:
    """One pair of methods; differences are first minus second, positive where first is better."""

    task: str
    metric: str
    first: str
    second: str
    comparison: Comparison | None  # None without a common seed
    bootstrap: Interval | None  # hierarchical bootstrap of the same difference
    prob_superiority: float  # P(first > second)
    prob_superiority_interval: Interval | None
    welch_p: float | None  # unpaired
    examples_missing: str  # why the examples are not resampled; empty if they are
    holm_p: float | None = None
    family_size: int = 1  # comparisons that the correction counts

    @property
    def beats(self) -> bool:
        """Whether the first is better at 5 %, corrected for all comparisons that are planned."""
        return self.holm_p is not None and self.holm_p <= LEVEL


@dataclass(frozen=True)
class _Side:
    """One method on one task; larger is better."""

    method: str
    scores: Mapping[SeedKey, float]
    values: Mapping[SeedKey, Values]  # empty where `missing` says why
    missing: str


@dataclass(frozen=True)
class _Judged:
    """A verdict and the differences it rests on, (seeds, examples), or (seeds, 1) of scores."""

    verdict: Verdict
    table: Array | None


def count_comparisons(study: Study) -> int:
    """Returns how many comparisons a study plans: each pair of methods on each task, and pooled."""
    pooled = sum(is_pooled(task.metric) for task in study.tasks.values()) > 1
    return comb(len(study.methods), 2) * (len(study.tasks) + pooled)


def judge_tasks(tasks: Sequence[TaskEvidence], planned: int = 0) -> tuple[Verdict, ...]:
    """Returns the verdict on every pair of methods that have a score, task by task, then pooled.

    The better method of a pair comes first.

    Args:
        tasks: Those of the report, which may be a part of the study.
        planned: Comparisons of the whole study. Holm's correction counts them all, so that a
            verdict on a part of the study is not bolder than the same one on the whole.
    """
    single = [judged for task in tasks for judged in _judge_task(task)]
    verdicts = [judged.verdict for judged in single] + _pool_tasks(tasks, single)
    comparisons = [verdict.comparison for verdict in verdicts]
    size = max(planned, len(verdicts))
    corrected = correct_holm(
        [None if each is None else each.p_value for each in comparisons], family_size=size
    )
    judged = zip(verdicts, corrected, strict=True)
    return tuple(
        put_better_first(replace(verdict, holm_p=p, family_size=size)) for verdict, p in judged
    )


def _judge_task(task: TaskEvidence) -> list[_Judged]:
    sign = 1 if task.maximize else -1
    sides = []
    for unit in task.units:
        scores = {key: sign * score for key, score in unit.seed_scores().items()}
        if scores:
            found, missing = unit.example_values
            values = {
                key: {name: sign * value for name, value in each.items()}
                for key, each in found.items()
            }
            sides.append(_Side(unit.method, scores, values, missing))
    return [_judge_pair(task, first, second) for first, second in combinations(sides, 2)]


def _judge_pair(task: TaskEvidence, first: _Side, second: _Side) -> _Judged:
    comparison, table, missing = _compare(first, second, find_bounds(task.metric))
    runs = [list(first.scores.values()), list(second.scores.values())]
    superiority = prob_superiority(*runs)
    verdict = Verdict(
        task=task.task,
        metric=task.metric,
        first=first.method,
        second=second.method,
        comparison=comparison,
        bootstrap=bootstrap_crossed([table]) if table is not None and len(table) > 1 else None,
        prob_superiority=superiority,
        prob_superiority_interval=prob_superiority_interval(
            superiority, len(runs[0]), len(runs[1])
        ),
        welch_p=_welch_p(*runs),
        examples_missing=missing,
    )
    return _Judged(verdict, table)


def _compare(
    first: _Side, second: _Side, bounds: Bounds
) -> tuple[Comparison | None, Array | None, str]:
    common = [key for key in first.scores if key in second.scores]
    missing = first.missing or second.missing
    if not common:
        return None, None, missing
    if not missing:
        table = tabulate([side.values[key] for side in (first, second) for key in common])
        if table is not None:
            left, right = table[: len(common)], table[len(common) :]
            return compare_crossed(left, right, bounds=bounds), left - right, ""
        missing = "the runs were scored on different examples"
    sides = [[side.scores[key] for key in common] for side in (first, second)]
    differences = np.array(sides[0]) - np.array(sides[1])
    return compare_seeds(*sides, bounds=bounds), differences[:, None], missing


def list_pooled(tasks: Sequence[TaskEvidence]) -> list[TaskEvidence]:
    """Returns the tasks that are pooled: of one scale, learned by some method or not scored yet."""
    return [each for each in tasks if is_pooled(each.metric) and not nobody_learned(each)]


def _pool_tasks(tasks: Sequence[TaskEvidence], single: Sequence[_Judged]) -> list[Verdict]:
    """Returns the pairs that were compared on every task that is pooled."""
    names = [task.task for task in list_pooled(tasks)]
    if len(names) < 2:
        return []
    pairs: dict[tuple[str, str], list[_Judged]] = {}
    for judged in single:
        verdict = judged.verdict
        if verdict.task in names and verdict.comparison is not None:
            pairs.setdefault((verdict.first, verdict.second), []).append(judged)
    return [_pool(found) for found in pairs.values() if len(found) == len(names)]


def _pool(found: Sequence[_Judged]) -> Verdict:
    verdicts = [judged.verdict for judged in found]
    comparison = pool_comparisons([v.comparison for v in verdicts if v.comparison is not None])
    tables = [judged.table for judged in found if judged.table is not None]
    superiority = float(np.mean([verdict.prob_superiority for verdict in verdicts]))
    metrics = dict.fromkeys(verdict.metric for verdict in verdicts)
    return Verdict(
        task=ALL_TASKS,
        metric=" and ".join(metrics),
        first=verdicts[0].first,
        second=verdicts[0].second,
        comparison=comparison,
        bootstrap=None if comparison.interval is None else bootstrap_crossed(tables),
        prob_superiority=superiority,
        prob_superiority_interval=pool_intervals(
            [v.prob_superiority for v in verdicts], [v.prob_superiority_interval for v in verdicts]
        ),
        welch_p=None,
        examples_missing=next((v.examples_missing for v in verdicts if v.examples_missing), ""),
    )


def put_better_first(verdict: Verdict) -> Verdict:
    """Returns the verdict with its sides exchanged where the second is better."""
    worse = (
        verdict.prob_superiority < 0.5
        if verdict.comparison is None
        else verdict.comparison.mean < 0
    )
    if not worse:
        return verdict
    return replace(
        verdict,
        first=verdict.second,
        second=verdict.first,
        comparison=None if verdict.comparison is None else verdict.comparison.reverse(),
        bootstrap=_reverse(verdict.bootstrap, 0.0),
        prob_superiority=1 - verdict.prob_superiority,
        prob_superiority_interval=_reverse(verdict.prob_superiority_interval, 1.0),
    )


def _reverse(interval: Interval | None, whole: float) -> Interval | None:
    return None if interval is None else Interval(whole - interval.high, whole - interval.low)


def _welch_p(first: Sequence[float], second: Sequence[float]) -> float | None:
    """None where it is not defined: a single run, or no spread on either side."""
    if min(len(first), len(second)) < 2 or not (np.ptp(first) or np.ptp(second)):
        return None
    return float(scipy.stats.ttest_ind(first, second, equal_var=False).pvalue)
