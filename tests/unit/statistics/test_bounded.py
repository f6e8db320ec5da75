import math

import numpy as np
import pytest
from scipy import stats

from phasewise.statistics import (
    Bounds,
    Interval,
    bounded_difference,
    bounded_interval,
    compare_seeds,
    pool_comparisons,
)

SHARE, CORRELATION, LOSS = Bounds(0, 1), Bounds(-1, 1), Bounds(0)


def test_an_interval_of_a_share_is_a_t_interval_on_the_logit_scale() -> None:
    half = stats.t.ppf(0.975, 4) * 0.02 / (0.9 * 0.1)
    logit = math.log(0.9 / 0.1)
    low, high = (1 / (1 + math.exp(-(logit + sign * half))) for sign in (-1, 1))
    assert bounded_interval(0.9, 0.02, 4, SHARE) == pytest.approx((low, high))


def test_an_interval_of_a_correlation_is_a_t_interval_of_fishers_z() -> None:
    """On [-1, 1] the logit of the place is twice Fisher's z = atanh."""
    half = stats.t.ppf(0.975, 9) * 0.05 / (1 - 0.6**2)
    expected = (math.tanh(math.atanh(0.6) - half), math.tanh(math.atanh(0.6) + half))
    assert bounded_interval(0.6, 0.05, 9, CORRELATION) == pytest.approx(expected)


def test_an_interval_of_a_loss_is_a_t_interval_on_the_log_scale() -> None:
    factor = math.exp(stats.t.ppf(0.975, 4) * 0.1 / 0.5)
    assert bounded_interval(0.5, 0.1, 4, LOSS) == pytest.approx((0.5 / factor, 0.5 * factor))


def test_far_from_the_ends_it_is_the_plain_t_interval() -> None:
    scores = [0.50, 0.51, 0.49, 0.505]
    error = float(np.std(scores, ddof=1)) / 2
    half = stats.t.ppf(0.975, 3) * error
    plain = (float(np.mean(scores)) - half, float(np.mean(scores)) + half)
    assert bounded_interval(float(np.mean(scores)), error, 3, SHARE) == pytest.approx(
        plain, abs=1e-4
    )
    assert bounded_interval(float(np.mean(scores)), error, 3, Bounds()) == pytest.approx(plain)


@pytest.mark.parametrize("bounds", [SHARE, CORRELATION, LOSS])
@pytest.mark.parametrize("error", [1e-9, 0.3, 50.0])
@pytest.mark.parametrize("mean", [0.001, 0.318, 0.999])
def test_no_interval_leaves_the_scale(bounds: Bounds, error: float, mean: float) -> None:
    low, high = bounded_interval(mean, error, 1, bounds)
    assert bounds.low <= low <= mean <= high <= bounds.high


@pytest.mark.parametrize(("right", "low", "high"), [(40, 0.9119, 1.0), (0, 0.0, 0.0881)])
def test_all_right_on_few_examples_is_no_certainty(right: int, low: float, high: float) -> None:
    """Clopper and Pearson: 40 of 40 right leave a share as low as 0.025^(1/40) possible."""
    found = bounded_interval(right / 40, 0.0, 4, SHARE, examples=40)
    assert found == pytest.approx((low, high), abs=1e-4)
    exact = stats.binomtest(right, 40).proportion_ci(method="exact")
    assert found == pytest.approx((exact.low, exact.high))


@pytest.mark.parametrize(("mean", "error"), [(0.0, 0.0), (1.0, 0.0), (1.0, 1e-17), (0.7, 0.0)])
def test_without_a_spread_it_is_a_point(mean: float, error: float) -> None:
    assert bounded_interval(mean, error, 4, SHARE) == Interval(mean, mean)


def test_a_difference_is_never_more_than_the_scale_allows() -> None:
    assert bounded_difference(Interval(-1.9, 0.4), SHARE) == Interval(-1.0, 0.4)
    assert bounded_difference(Interval(-3.0, 3.0), CORRELATION) == Interval(-2.0, 2.0)
    assert bounded_difference(Interval(-3.0, 3.0), LOSS) == Interval(-3.0, 3.0)


def test_two_noisy_seeds_can_show_no_difference_at_all() -> None:
    first, second = [0.9, 0.2], [0.3, 0.5]
    free, found = compare_seeds(first, second), compare_seeds(first, second, bounds=SHARE)
    assert (free.detectable or 0.0) > 1
    assert found.detectable is None
    assert found.interval == Interval(-1.0, 1.0)
    assert found.p_value == free.p_value
    pooled = pool_comparisons([found, found])
    assert pooled.interval == Interval(-1.0, 1.0)
    assert found.reverse().bounds == SHARE
