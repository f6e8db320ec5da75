"""Scores over seeds: mean, spread, intervals, and the sign-flip test."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy

from phasewise.errors import RecordError
from phasewise.summaries import ScoreSummary

LEVEL = 0.95
#: SciPy's own default is 9,999; half of it is well within what a 95 % interval shows.
RESAMPLES = 4999


class Interval(NamedTuple):
    """A confidence interval, both ends on the scale of the scores."""

    low: float
    high: float


def summarize_scores(scores: Sequence[float]) -> ScoreSummary:
    """Returns mean, sample SD (n-1) and standard error of one configuration's scores.

    Args:
        scores: One per run; runs without a score are left out by the caller, who counts them.

    Returns:
        ``mean`` is None without scores, ``sd`` and ``standard_error`` are None below two.

    Raises:
        RecordError: A score is NaN or infinite: such a run has diverged and has no score.
    """
    values = as_scores(scores)
    n = len(values)
    sd = float(values.std(ddof=1)) if n > 1 else None
    return ScoreSummary(
        scores=tuple(float(value) for value in values),
        mean=float(values.mean()) if n else None,
        sd=sd,
        standard_error=None if sd is None else sd / n**0.5,
    )


def bootstrap_interval(
    scores: Sequence[float] | np.ndarray, level: float = LEVEL, *, seed: int = 0
) -> Interval | None:
    """Returns the BCa bootstrap interval of the mean score; runs are resampled, tasks are not.

    Args:
        scores: Shape (runs,) or (runs, tasks); with several tasks each task's runs are resampled
            by themselves (stratified) and the mean over tasks is taken. NaN is refused.
        level: Coverage.
        seed: Of the resampling; the same scores give the same interval.

    Returns:
        None below two runs; a point when all runs of every task are equal.
    """
    values = np.asarray(scores, dtype=float)
    values = values[:, None] if values.ndim == 1 else values  # (runs, tasks)
    as_scores(values.ravel())
    if len(values) < 2:
        return None
    if np.all(values == values[0]):
        mean = float(values.mean())
        return Interval(mean, mean)
    result = scipy.stats.bootstrap(
        tuple(values.T),
        lambda *tasks, axis: np.mean([task.mean(axis=axis) for task in tasks], axis=0),
        n_resamples=RESAMPLES,
        confidence_level=level,
        method="BCa" if values.shape[1] == 1 else "percentile",  # SciPy's BCa takes one sample
        vectorized=True,
        rng=np.random.default_rng(seed),
    )
    return Interval(float(result.confidence_interval.low), float(result.confidence_interval.high))


def pooled_sd(groups: Sequence[Sequence[float]]) -> float | None:
    """Returns the SD within groups: the seed noise that several configurations share.

    Args:
        groups: One sequence of scores per configuration; those below two scores count nothing.

    Returns:
        sqrt(sum of squares within groups / degrees of freedom); None without any group of two.
    """
    usable = [values for values in map(as_scores, groups) if len(values) > 1]
    if not usable:
        return None
    squares = sum(float(((values - values.mean()) ** 2).sum()) for values in usable)
    return float((squares / sum(len(values) - 1 for values in usable)) ** 0.5)


def sign_flip_p(differences: np.ndarray) -> float:
    """Returns the two-sided p under random signs: exact up to 13 pairs, 9,999 draws above."""
    result = scipy.stats.permutation_test(
        (differences, np.zeros_like(differences)),
        lambda a, b, axis: np.mean(a - b, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=9999,
        rng=np.random.default_rng(0),
    )
    return float(result.pvalue)


def as_scores(scores: Sequence[float] | np.ndarray) -> np.ndarray:
    """Returns scores as floats of the same shape.

    Raises:
        RecordError: A score is NaN or infinite.
    """
    values = np.asarray(scores, dtype=float)
    if not np.isfinite(values).all():
        raise RecordError(
            "scores: expected finite numbers, got NaN or infinity; a run without a score is "
            "counted as failed, not averaged"
        )
    return values
