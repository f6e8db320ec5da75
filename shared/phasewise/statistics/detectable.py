"""The smallest difference a paired comparison can find, and the seeds that a wanted one needs.

``phasewise plan`` asks for them, so nothing here waits for ``scipy.stats`` or ``scipy.optimize``,
0.7 s together: before Phase 0 the standard library does, afterwards ``scipy.special``.
"""

from bisect import bisect_left
from collections.abc import Callable
from functools import lru_cache
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import scipy

from phasewise.errors import ConfigError
from phasewise.statistics.power import ALPHA, MOST_SEEDS, POWER
from phasewise.statistics.seeds import LEVEL

#: Beyond this many examples a wanted difference is called out of reach.
MOST_EXAMPLES = 10_000_000
#: More seeds than this are not worth their time: the difference is too small for the noise.
WORTHWHILE_SEEDS = 100
#: From here on a standard error is as good as known, and the test one of z.
_MOST_FREEDOM = 1e4
#: Standard errors that a difference is found to, and the most that are tried: 40 are needed with
#: one degree of freedom.
_STEP, _MOST_ERRORS = 1e-4, 2000
_NODES, _LEGENDRE = np.polynomial.legendre.leggauss(60)
_QUANTILES, _WEIGHTS = (_NODES + 1) / 2, _LEGENDRE / 2


class SeedsNeeded(NamedTuple):
    """How many seeds a difference takes, as far as the seeds measured so far can tell."""

    low: int | None  # None: more than WORTHWHILE_SEEDS
    high: int | None
    needs_examples: bool  # no number of seeds is enough


def detectable_difference(standard_error: float, degrees_of_freedom: float) -> float:
    """Returns the true difference that a t test at 5 % finds in 8 of 10 studies of the same size.

    The standard error is itself an estimate, so the promise is averaged over its chi-square
    distribution; taking it for the truth would promise too much with few seeds.

    Args:
        standard_error: Estimated, of the difference; zero gives zero.
        degrees_of_freedom: Its degrees of freedom.

    Raises:
        ConfigError: The error is negative or not finite.
    """
    if not np.isfinite(standard_error) or standard_error < 0:
        raise ConfigError(f"standard error: expected at least 0, got {standard_error}")
    return standard_error * _detectable_in_errors(round(degrees_of_freedom, 2))


def seeds_to_resolve(
    difference: float, *, seed_variance: float, example_variance: float, seeds: int
) -> int | None:
    """Returns how many seeds make a difference detectable.

    Args:
        difference: Wanted; its sign does not matter.
        seed_variance: Of the mean, from the seeds, as measured with ``seeds`` of them.
        example_variance: Of the mean, from the examples; more seeds do not lessen it.
        seeds: So many pairs were measured.

    Returns:
        At least 2; None if no number up to MOST_SEEDS does: then only more examples could.
    """
    single = seed_variance * seeds

    def reaches(n: int) -> bool:
        if single + example_variance == 0:
            return difference != 0
        return planned_detectable(single, example_variance, n) <= abs(difference)

    return _first(reaches, MOST_SEEDS)


def estimate_seeds_needed(
    difference: float,
    *,
    seed_variance: float,
    example_variance: float,
    seeds: int,
    level: float = LEVEL,
) -> SeedsNeeded:
    """Returns the range of seeds that make a difference detectable.

    The variance over seeds is itself an estimate; the range follows its chi-square interval, which
    from 2 seeds spans a factor of 5,000.

    Args:
        difference: Wanted; its sign does not matter.
        seed_variance: Of the mean, from the seeds, as measured with ``seeds`` of them.
        example_variance: Of the mean, from the examples; more seeds do not lessen it.
        seeds: So many pairs were measured, at least 2.
        level: Coverage of the variance's interval.
    """
    tails = [float(scipy.special.chdtri(seeds - 1, (1 - sign * level) / 2)) for sign in (1, -1)]
    singles = [seed_variance * seeds * (seeds - 1) / tail for tail in tails]

    def needed(single: float) -> int | None:
        return seeds_to_resolve(
            difference, seed_variance=single, example_variance=example_variance, seeds=1
        )

    low, high = (_worthwhile(needed(single)) for single in singles)
    return SeedsNeeded(low, high, needs_examples=needed(0.0) is None)


def _worthwhile(seeds: int | None) -> int | None:
    return seeds if seeds is not None and seeds <= WORTHWHILE_SEEDS else None


def planned_detectable(single_variance: float, example_variance: float, seeds: int) -> float:
    """Returns what a study of so many seeds will be able to detect, with 80 % power at 5 %.

    Args:
        single_variance: Of the difference between two runs, over seeds.
        example_variance: Of the mean difference, from the examples; seeds do not lessen it.
        seeds: Pairs of runs, at least 2.
    """
    part = single_variance / seeds
    total = part + example_variance
    degrees_of_freedom = (
        min(_MOST_FREEDOM, (seeds - 1) * (total / part) ** 2) if part else _MOST_FREEDOM
    )
    return detectable_difference(total**0.5, degrees_of_freedom)


def examples_to_resolve(
    difference: float, *, single_variance: float, example_spread: float, seeds: int
) -> int | None:
    """Returns how many examples make a difference detectable with a given number of seeds.

    Args:
        difference: Wanted; its sign does not matter.
        single_variance: Of the difference between two runs, over seeds.
        example_spread: Variance of the difference on one example; 2 p (1 - p) for two methods that
            are right with chance p, independently.
        seeds: Pairs of runs, at least 2.

    Returns:
        None if no number up to MOST_EXAMPLES does: then only more seeds could.
    """
    return _first(
        lambda m: planned_detectable(single_variance, example_spread / m, seeds) <= abs(difference),
        MOST_EXAMPLES,
    )


def _first(reaches: Callable[[int], bool], most: int) -> int | None:
    """Returns the smallest number above 1 that reaches; None if ``most`` does not."""
    if not reaches(most):
        return None
    low, high = 1, most  # low cannot, high can
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reaches(middle) else (middle, high)
    return high


@lru_cache(maxsize=4096)
def _detectable_in_errors(degrees_of_freedom: float) -> float:
    if degrees_of_freedom >= _MOST_FREEDOM:
        return NormalDist().inv_cdf(1 - ALPHA / 2) + NormalDist().inv_cdf(POWER)
    degrees_of_freedom = max(degrees_of_freedom, 1.0)
    squares = scipy.special.chdtri(degrees_of_freedom, 1 - _QUANTILES) / degrees_of_freedom
    errors = np.sqrt(squares)  # (nodes,) estimate / truth
    critical = scipy.special.stdtrit(degrees_of_freedom, 1 - ALPHA / 2)

    def power(step: int) -> float:
        # Beyond a shift of 200 the chance is one, and SciPy's noncentral t loses its digits.
        shift = np.minimum(step * _STEP * errors, 200.0)
        missed = np.nan_to_num(scipy.special.nctdtr(degrees_of_freedom, shift, critical), nan=0.0)
        return 1 - float(missed @ _WEIGHTS)

    return _STEP * bisect_left(range(round(_MOST_ERRORS / _STEP)), POWER, key=power)
