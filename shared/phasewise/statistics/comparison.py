"""Two configurations on the same seeds and the same examples: difference, interval, p-values."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

from phasewise.errors import RecordError
from phasewise.statistics.bounded import UNBOUNDED, Bounds, bounded_difference
from phasewise.statistics.detectable import detectable_difference
from phasewise.statistics.seeds import LEVEL, Interval, as_scores, sign_flip_p

Array = NDArray[np.float64]


class Comparison(NamedTuple):
    """First minus second; what needs a spread is None below two seeds."""

    mean: float
    by_seed: tuple[float, ...]  # differences of the runs of one seed; their mean is `mean`
    examples: int | None  # per run, over all tasks; None where only run scores are known
    seed_variance: float | None  # of the mean, from the seeds: s^2 / n
    example_variance: float  # of the mean, from the examples; no number of seeds lessens it
    degrees_of_freedom: float | None  # Satterthwaite's degrees of freedom of the sum of both
    interval: Interval | None  # Student's t on that sum, at LEVEL
    p_value: float | None  # of the same t, two-sided
    bounds: Bounds = UNBOUNDED  # of the metric; no interval goes beyond what they allow

    @property
    def seeds(self) -> int:
        """Pairs of runs, over all tasks."""
        return len(self.by_seed)

    @property
    def standard_error(self) -> float | None:
        """Of the mean, over new seeds and new examples alike."""
        if self.seed_variance is None:
            return None
        return float((self.seed_variance + self.example_variance) ** 0.5)

    @property
    def has_spread(self) -> bool:
        """Whether anything varied; without it there is no noise to hold the difference against."""
        return (self.standard_error or 0.0) > 1e-12

    @property
    def detectable(self) -> float | None:
        """The true difference that studies of this size and noise find in 8 of 10 cases.

        None if there is none: no two scores of the metric are so far apart.
        """
        error = self.standard_error
        if error is None:
            return None
        found = detectable_difference(error, self.degrees_of_freedom or 1.0)
        return found if found <= self.bounds.width else None

    @property
    def sign_flip_p(self) -> float | None:
        """Exact up to 13 pairs; assumes no normality, takes the examples as given."""
        return None if self.seeds < 2 else sign_flip_p(np.array(self.by_seed))

    @property
    def smallest_p(self) -> float | None:
        """The smallest p that the sign flip can reach with so many pairs: 2 / 2^pairs."""
        return None if self.seeds < 2 else float(2.0 ** (1 - self.seeds))

    @property
    def can_reach_level(self) -> bool:
        """Whether the sign flip could reject at 5 % at all; never with 5 pairs or fewer."""
        return self.smallest_p is not None and self.smallest_p <= 1 - LEVEL

    def reverse(self) -> "Comparison":
        """Returns second minus first."""
        interval = self.interval and Interval(-self.interval.high, -self.interval.low)
        by_seed = tuple(-difference for difference in self.by_seed)
        return self._replace(mean=-self.mean, by_seed=by_seed, interval=interval)


def compare_crossed(first: Array, second: Array, *, bounds: Bounds = UNBOUNDED) -> Comparison:
    """Compares two configurations whose every example is known.

    Seeds and examples are crossed random effects: the variance of the mean of n x m differences
    is MS_seed / nm + MS_example / nm - MS_residual / nm (Searle, Casella, McCulloch, Variance
    Components, 1992, section 4.3), its degrees of freedom Satterthwaite's (Biometrics 2, 1946). A
    negative part for the examples counts as zero. benchmarks/calibration.py shows that it keeps
    its level and that the bootstrap over both (`bootstrap_crossed`) does not.

    Args:
        first: Value of each example, such as 1 for right and 0 for wrong: (seeds, examples).
        second: The same seeds and examples in the same order.
        bounds: Of the metric.

    Raises:
        RecordError: The shapes differ, there is no seed or example, or a value is not finite.
    """
    left, right = _as_table(first), _as_table(second)
    if left.shape != right.shape or not left.size:
        raise RecordError(
            "paired examples: expected the same seeds and examples on both sides and at least "
            f"one of each, got shapes {left.shape} and {right.shape}"
        )
    table = left - right  # (seeds, examples)
    n, m = table.shape
    by_seed, by_example = table.mean(axis=1), table.mean(axis=0)
    if n < 2 or m < 2:
        return _summarize(by_seed, m, bounds)
    residual = table - by_seed[:, None] - by_example + table.mean()
    noise = float((residual**2).sum()) / ((n - 1) * (m - 1)) / (n * m)
    spread = float(by_example.var(ddof=1)) / m
    return _summarize(by_seed, m, bounds, spread=spread, noise=noise)


def compare_seeds(
    first: Sequence[float], second: Sequence[float], *, bounds: Bounds = UNBOUNDED
) -> Comparison:
    """Compares two configurations by one score per seed; says nothing about other examples.

    Args:
        first: One score per seed, in seed order.
        second: The same seeds in the same order. Ties stay in.
        bounds: Of the metric.

    Raises:
        RecordError: The lengths differ, there is no pair, or a score is not finite.
    """
    left, right = as_scores(first), as_scores(second)
    if len(left) != len(right) or not len(left):
        raise RecordError(
            f"paired scores: expected the same seeds on both sides and at least one, "
            f"got {len(left)} and {len(right)}"
        )
    return _summarize(left - right, None, bounds)


def pool_comparisons(tasks: Sequence[Comparison]) -> Comparison:
    """Returns the mean difference over tasks, each with the same weight.

    The tasks are strata: their seeds and examples are others, and new tasks are not drawn.

    Raises:
        RecordError: There is no task.
    """
    if not tasks:
        raise RecordError("pooling: expected the comparison of at least one task, got none")
    count, seeds = len(tasks), sum(each.seeds for each in tasks)
    mean = sum(each.mean for each in tasks) / count
    # Weighted so that each task counts alike and the mean over all of them is the pooled one.
    by_seed = [d * seeds / (count * each.seeds) for each in tasks for d in each.by_seed]
    sizes = [each.examples for each in tasks if each.examples is not None]
    examples = sum(sizes) if len(sizes) == count else None
    bounds = Bounds(*(sum(ends) / count for ends in zip(*(e.bounds for e in tasks), strict=True)))
    if any(each.seed_variance is None for each in tasks):
        return Comparison(mean, tuple(by_seed), examples, None, 0.0, None, None, None, bounds)
    from_seeds = sum(each.seed_variance or 0.0 for each in tasks) / count**2
    from_examples = sum(each.example_variance for each in tasks) / count**2
    parts = [
        ((e.standard_error or 0.0) ** 2 / count**2, e.degrees_of_freedom or 1.0) for e in tasks
    ]
    below = sum(variance**2 / degrees_of_freedom for variance, degrees_of_freedom in parts)
    degrees_of_freedom = (
        (from_seeds + from_examples) ** 2 / below if below else float(seeds - count)
    )
    return _judge(
        np.array(by_seed), examples, bounds, from_seeds, from_examples, degrees_of_freedom
    )


def bootstrap_crossed(tasks: Sequence[Array], *, resamples: int = 1999, seed: int = 0) -> Interval:
    """Returns the hierarchical bootstrap interval of a mean difference: seeds and examples.

    Both axes are drawn with replacement, independently (the pigeonhole bootstrap: Owen, Annals of
    Applied Statistics 1, 2007), each task by itself, and the mean over tasks is taken.

    Args:
        tasks: Differences of each task, (seeds, examples); (seeds, 1) where only scores are known.
        resamples: Draws.
        seed: Of the draws; the same differences give the same interval.
    """
    rng = np.random.default_rng(seed)
    means = np.zeros(resamples)
    for table in tasks:
        n, m = table.shape
        rows = rng.multinomial(n, np.full(n, 1 / n), size=resamples)  # (resamples, seeds)
        for start in range(0, resamples, 200):  # in parts, since (resamples, examples) can be large
            part = rows[start : start + 200]
            columns = rng.multinomial(m, np.full(m, 1 / m), size=len(part))
            drawn = np.einsum("bm,bm->b", part @ table, columns) / (n * m)
            means[start : start + 200] += drawn / len(tasks)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))


def correct_holm(p_values: Sequence[float | None], *, family_size: int = 0) -> list[float | None]:
    """Returns Holm's step-down p-values (Scandinavian Journal of Statistics 6, 1979).

    Args:
        p_values: Of all comparisons made; None where a comparison has none, which stays None and
            is not counted.
        family_size: How many were planned, where these may be a part; never fewer than these.
    """
    known = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest, total = 0.0, max(family_size, len(known))
    for rank, (p, index) in enumerate(known):
        largest = max(largest, min(1.0, (total - rank) * p))
        adjusted[index] = largest
    return adjusted


def _summarize(
    by_seed: Array,
    examples: int | None,
    bounds: Bounds,
    *,
    spread: float = 0.0,
    noise: float = 0.0,
) -> Comparison:
    """``spread``: MS_example / nm; ``noise``: MS_residual / nm; by_seed: (seeds,) differences."""
    n = len(by_seed)
    if n < 2:
        return Comparison(
            float(by_seed.mean()), _list(by_seed), examples, None, 0, None, None, None, bounds
        )
    from_seeds = float(by_seed.var(ddof=1)) / n
    from_examples = max(0.0, spread - noise)
    if from_seeds + from_examples == 0:
        # A tie by luck, as few seeds often give: the residual is the noise that is left.
        tied = float((n - 1) * ((examples or 2) - 1))
        return _judge(by_seed, examples, bounds, noise, 0.0, tied)
    # Few seeds can agree by luck alone; then their own variance would count for too little here
    # and the degrees of freedom for too many. It is at least the residual's on average.
    likely = max(from_seeds, noise)
    below = likely**2 / (n - 1)
    if from_examples and examples is not None:
        below += spread**2 / (examples - 1) + noise**2 / ((n - 1) * (examples - 1))
    degrees_of_freedom = (likely + from_examples) ** 2 / below if below else float(n - 1)
    return _judge(by_seed, examples, bounds, from_seeds, from_examples, degrees_of_freedom)


def _judge(
    by_seed: Array,
    examples: int | None,
    bounds: Bounds,
    from_seeds: float,
    from_examples: float,
    degrees_of_freedom: float,
) -> Comparison:
    mean, error = float(by_seed.mean()), (from_seeds + from_examples) ** 0.5
    half = float(scipy.stats.t.ppf((1 + LEVEL) / 2, degrees_of_freedom)) * error
    if error > 1e-12:
        p = float(2 * scipy.stats.t.sf(abs(mean) / error, degrees_of_freedom))
    else:  # no spread to measure the noise by: no more than the signs count
        p = 1.0 if abs(mean) < 1e-12 else float(2.0 ** (1 - len(by_seed)))
    interval = bounded_difference(Interval(mean - half, mean + half), bounds)
    return Comparison(
        mean=mean,
        by_seed=_list(by_seed),
        examples=examples,
        seed_variance=from_seeds,
        example_variance=from_examples,
        degrees_of_freedom=degrees_of_freedom,
        interval=interval,
        p_value=p,
        bounds=bounds,
    )


def _list(values: Array) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _as_table(values: Array) -> Array:
    table = np.asarray(values, dtype=float)
    if table.ndim != 2:
        raise RecordError(f"examples: expected (seeds, examples), got {table.ndim} dimensions")
    as_scores(table.ravel())
    return table
