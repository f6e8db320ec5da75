"""P(A > B) and the interquartile mean, each with an interval, as rliable defines them."""

from collections.abc import Sequence

import numpy as np
import scipy

from phasewise.errors import RecordError
from phasewise.statistics.seeds import LEVEL, Interval, as_scores

_RESAMPLES = 1999


def prob_superiority(first: Sequence[float], second: Sequence[float]) -> float:
    """Returns P(A > B) + P(A = B) / 2 over all pairs of runs: Mann-Whitney's U / (n m).

    Args:
        first: One score per run, larger is better.
        second: Likewise; the number of runs may differ, seeds are not paired. Ties count half.

    Raises:
        RecordError: A side is empty or holds NaN.
    """
    left, right = as_scores(first), as_scores(second)
    if not len(left) or not len(right):
        raise RecordError(
            f"P(A > B): expected runs on both sides, got {len(left)} and {len(right)}"
        )
    return float(scipy.stats.mannwhitneyu(left, right).statistic) / (len(left) * len(right))


def prob_superiority_interval(
    superiority: float, first_runs: int, second_runs: int
) -> Interval | None:
    """Returns the 95 % interval of P(A > B): Newcombe's method 5 (Statistics in Medicine 25, 2006).

    The score method on Hanley and McNeil's variance. Unlike Brunner and Munzel's interval and the
    bootstrap it has a width where the runs do not overlap, which is usual with few seeds.

    Returns:
        None below two runs on a side.
    """
    if min(first_runs, second_runs) < 2:
        return None
    z = float(scipy.stats.norm.ppf((1 + LEVEL) / 2))
    weight = (first_runs + second_runs) / 2 - 1

    def excess(theta: float) -> float:
        shape = 1 + weight * ((1 - theta) / (2 - theta) + theta / (1 + theta))
        variance = theta * (1 - theta) * shape / (first_runs * second_runs)
        return (superiority - theta) ** 2 - z**2 * variance

    # At 0 and 1 the variance vanishes, which is a root of its own beside the one that is wanted.
    middle = min(max(superiority, 1e-9), 1 - 1e-9)
    low = 0.0 if superiority <= 0 else float(scipy.optimize.brentq(excess, 1e-12, middle))
    high = 1.0 if superiority >= 1 else float(scipy.optimize.brentq(excess, middle, 1 - 1e-12))
    return Interval(low, high)


def pool_intervals(
    values: Sequence[float], intervals: Sequence[Interval | None]
) -> Interval | None:
    """Returns the interval of the mean of independent values, each with its own interval.

    Zou and Donner's MOVER (Statistics in Medicine 27, 2008); None if one has no interval.
    """
    known = [each for each in intervals if each is not None]
    if not known or len(known) < len(intervals):
        return None
    center, low, high = np.array(values), *np.array(known).T
    mean, count = float(center.mean()), len(known)
    below = float(np.sqrt(((center - low) ** 2).sum())) / count
    above = float(np.sqrt(((high - center) ** 2).sum())) / count
    return Interval(mean - below, mean + above)


def interquartile_mean(
    tasks: Sequence[Sequence[float]], *, seed: int = 0
) -> tuple[float, Interval | None]:
    """Returns the mean of the middle half of all runs of all tasks, with its 95 % interval.

    rliable's IQM and stratified bootstrap (Agarwal et al., NeurIPS 2021): a quarter is cut from
    each end of the pooled runs; runs are resampled within each task, percentile interval.

    Args:
        tasks: One sequence of scores per task, on one scale.
        seed: Of the resampling.

    Returns:
        The interval is None if a task has a single run.

    Raises:
        RecordError: There is no task, a task has no run, or a score is NaN.
    """
    groups = [as_scores(task) for task in tasks]
    if not groups or any(not len(group) for group in groups):
        raise RecordError("interquartile mean: expected at least one run of every task")
    value = float(scipy.stats.trim_mean(np.concatenate(groups), 0.25))
    if any(len(group) < 2 for group in groups):
        return value, None
    rng = np.random.default_rng(seed)
    drawn = [rng.choice(group, size=(_RESAMPLES, len(group))) for group in groups]
    means = scipy.stats.trim_mean(np.concatenate(drawn, axis=1), 0.25, axis=1)  # (resamples,)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return value, Interval(float(low), float(high))
