"""The smallest difference a paired comparison can find, and the seeds that a wanted one needs."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import scipy

from phasewise.errors import ConfigError
from phasewise.statistics.power import ALPHA, MOST_SEEDS, POWER

#: Beyond this many examples a wanted difference is called out of reach.
MOST_EXAMPLES = 10_000_000
_MOST_FREEDOM = 1e4
_NODES, _LEGENDRE = np.polynomial.legendre.leggauss(60)
_QUANTILES, _WEIGHTS = (_NODES + 1) / 2, _LEGENDRE / 2


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
    degrees_of_freedom = max(degrees_of_freedom, 1.0)
    squares = scipy.stats.chi2.ppf(_QUANTILES, degrees_of_freedom) / degrees_of_freedom
    errors = np.sqrt(squares)  # (nodes,) estimate / truth
    critical = scipy.stats.t.ppf(1 - ALPHA / 2, degrees_of_freedom)

    def shortfall(factor: float) -> float:
        # Beyond a shift of 200 the chance is one, and SciPy's noncentral t loses its digits.
        shift = np.minimum(factor * errors, 200.0)
        found = np.nan_to_num(scipy.stats.nct.sf(critical, degrees_of_freedom, shift), nan=1.0)
        return float(found @ _WEIGHTS) - POWER

    return float(scipy.optimize.brentq(shortfall, 0.0, 2000.0, xtol=1e-4))
