"""What a study can detect: power of two-sample comparisons, noise of scores and of best-of-k."""

import math

import numpy as np
import scipy

from phasewise.errors import ConfigError

POWER = 0.80
ALPHA = 0.05
#: Beyond this many seeds a wanted difference is called out of reach instead of being counted.
MOST_SEEDS = 10_000

# Gauss-Legendre over one half of a distribution's quantiles (both halves are alike): 40 nodes
# agree with 400 to six digits.
_NODES, _LEGENDRE = np.polynomial.legendre.leggauss(40)
_QUANTILES, _WEIGHTS = (_NODES + 1) / 4, _LEGENDRE / 2


def smallest_detectable_difference(sd: float, seeds: int) -> float | None:
    """Returns the true difference that Welch's t test finds with 80 % power at 5 %, two-sided.

    Both configurations have the same true SD and number of seeds; see `welch_power`.

    Args:
        sd: Standard deviation over seeds, on the scale of the score; zero gives zero.
        seeds: Runs of each configuration.

    Returns:
        A difference on the scale of ``sd``; None below two seeds, which detect nothing.
    """
    _check_sd(sd)
    return None if seeds < 2 else sd * _detectable_in_sds(seeds)


def welch_power(difference_in_sds: float, seeds: int) -> float:
    """Returns the chance that Welch's two-sided test at 5 % rejects, for a true difference in SDs.

    Exact for normal scores of equal variance: the statistic is noncentral t with 2n - 2 degrees
    of freedom, and independent of the share r of the first sample variance in their sum, a
    Beta((n-1)/2, (n-1)/2) variable that sets Welch's degrees of freedom,
    (n-1) / (r^2 + (1-r)^2). The power is the mean over r. (Taking 2n - 2 throughout, which is
    Student's test, promises too much: 3.1 instead of 3.5 SDs at 3 seeds.)

    Args:
        difference_in_sds: True difference over the SD over seeds; its sign does not matter.
        seeds: Runs of each configuration, at least 2.
    """
    share = scipy.stats.beta.ppf(_QUANTILES, (seeds - 1) / 2, (seeds - 1) / 2)  # (nodes,)
    critical = scipy.stats.t.ppf(1 - ALPHA / 2, (seeds - 1) / (share**2 + (1 - share) ** 2))
    shift = abs(difference_in_sds) * math.sqrt(seeds / 2)
    degrees_of_freedom = 2 * seeds - 2
    right_side = scipy.stats.nct.sf(critical, degrees_of_freedom, shift)
    # SciPy's far tail underflows to NaN where the wrong side's chance is below 1e-15.
    wrong_side = np.nan_to_num(scipy.stats.nct.cdf(-critical, degrees_of_freedom, shift), nan=0.0)
    return float((right_side + wrong_side) @ _WEIGHTS)


def seeds_needed(difference: float, sd: float) -> int | None:
    """Returns the seeds of each configuration that detect a difference with 80 % power at 5 %.

    Args:
        difference: Wanted, in the units of the score; its sign does not matter.
        sd: Standard deviation over seeds.

    Returns:
        At least 2; None if more than MOST_SEEDS would be needed (a difference of zero).
    """
    _check_sd(sd)
    if sd == 0:
        return 2 if difference else None
    wanted = abs(difference) / sd
    if wanted == 0 or _detectable_in_sds(MOST_SEEDS) > wanted:
        return None
    low, high = 1, MOST_SEEDS  # low cannot detect it, high can
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _detectable_in_sds(middle) <= wanted else (middle, high)
    return high


def accuracy_standard_error(accuracy: float, examples: int) -> float | None:
    """Returns sqrt(p (1-p) / n), the sampling error of an accuracy; None without examples.

    Args:
        accuracy: Between 0 and 1.
        examples: Independent examples that were scored.

    Raises:
        ConfigError: ``accuracy`` is not between 0 and 1.
    """
    if not 0 <= accuracy <= 1:
        raise ConfigError(f"accuracy: expected a share between 0 and 1, got {accuracy}")
    return math.sqrt(accuracy * (1 - accuracy) / examples) if examples > 0 else None


def share_standard_error(score: float, examples: int) -> float | None:
    """Returns that error of a score read as a share: exact for an accuracy, a guide for F1.

    Args:
        score: Of any metric that is to be high; None for one that lies not between 0 and 1.
        examples: Independent examples that were scored; None without any.
    """
    return accuracy_standard_error(score, examples) if 0 <= score <= 1 else None


def expected_gap(configurations: int, sd: float) -> float:
    """Returns the mean best-worst gap of k configurations that differ by noise alone.

    The expected range of k normal scores, sd * integral of 1 - F^k - (1-F)^k (Tippett,
    Biometrika 17, 1925, eq. 1); 0 for one configuration.
    """
    _check_sd(sd)
    if configurations < 2:
        return 0.0
    value, _ = scipy.integrate.quad(
        lambda x: _range_integrand(x, configurations), -math.inf, math.inf
    )
    return sd * float(value)


def _range_integrand(x: float, k: int) -> float:
    below = float(scipy.special.ndtr(x))
    return 1.0 - below**k - (1.0 - below) ** k


def _detectable_in_sds(seeds: int) -> float:
    if seeds < 2:
        return math.inf
    high = 12 * math.sqrt(2 / seeds)  # a shift of 12: certain to be found, even by 2 seeds
    found = scipy.optimize.brentq(lambda d: welch_power(d, seeds) - POWER, 0.0, high, xtol=1e-9)
    return float(found)


def _check_sd(sd: float) -> None:
    if not math.isfinite(sd) or sd < 0:
        raise ConfigError(f"standard deviation: expected a number of at least 0, got {sd}")
