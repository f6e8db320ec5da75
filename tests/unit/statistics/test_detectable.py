import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

from phasewise.errors import ConfigError
from phasewise.statistics import (
    detectable_difference,
    estimate_seeds_needed,
    examples_to_resolve,
    planned_detectable,
    seeds_to_resolve,
)


@pytest.mark.parametrize("degrees_of_freedom", [2, 4, 9, 30])
def test_other_studies_find_the_announced_difference_in_eight_of_ten(
    degrees_of_freedom: int,
) -> None:
    rng = np.random.default_rng(degrees_of_freedom)
    announced = [
        detectable_difference(error, degrees_of_freedom)
        for error in np.sqrt(rng.chisquare(degrees_of_freedom, 20_000) / degrees_of_freedom)
    ]
    errors = np.sqrt(rng.chisquare(degrees_of_freedom, 20_000) / degrees_of_freedom)
    t = (np.array(announced) + rng.normal(size=20_000)) / errors
    assert np.mean(t > stats.t.ppf(0.975, degrees_of_freedom)) == pytest.approx(0.80, abs=0.015)


def test_a_known_error_needs_the_textbook_difference() -> None:
    # z of 97.5 % plus z of 80 %: 1.960 + 0.842
    assert detectable_difference(1.0, 1e6) == pytest.approx(2.80, abs=0.01)
    assert detectable_difference(0.0, 4) == 0
    with pytest.raises(ConfigError, match="at least 0"):
        detectable_difference(float("nan"), 4)


def test_more_seeds_resolve_until_the_examples_do_not() -> None:
    needed = seeds_to_resolve(0.01, seed_variance=1e-5, example_variance=1e-6, seeds=5)
    assert needed is not None
    assert needed > 5
    more = seeds_to_resolve(0.009, seed_variance=1e-5, example_variance=1e-6, seeds=5)
    assert more is not None
    assert more > needed
    # 2.8 standard errors of the examples alone are more than the difference
    assert seeds_to_resolve(0.0027, seed_variance=1e-5, example_variance=1e-6, seeds=5) is None
    assert seeds_to_resolve(0.0, seed_variance=1e-5, example_variance=0.0, seeds=5) is None
    assert seeds_to_resolve(0.1, seed_variance=0.0, example_variance=0.0, seeds=5) == 2


def test_examples_needed_are_those_of_a_z_test_without_seed_noise() -> None:
    # (1.96 + 0.84)^2 * 2 p (1 - p) / d^2, by hand for p = 0.8 and d = 2 points
    wanted = (stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) ** 2 * 0.32 / 0.02**2
    found = examples_to_resolve(0.02, single_variance=0.0, example_spread=0.32, seeds=5)
    assert found == pytest.approx(wanted, rel=1e-3)


def test_no_number_of_examples_makes_up_for_noisy_seeds() -> None:
    found = examples_to_resolve(0.001, single_variance=1e-3, example_spread=0.32, seeds=3)
    assert found is None
    more = examples_to_resolve(0.05, single_variance=1e-4, example_spread=0.32, seeds=20)
    assert more is not None
    assert planned_detectable(1e-4, 0.32 / more, 20) <= 0.05
    assert planned_detectable(1e-4, 0.32 / (more - 1), 20) > 0.05


def test_seeds_needed_follow_the_interval_of_the_variance() -> None:
    """By hand: 4 s^2 / chi2(0.975, 4) and 4 s^2 / chi2(0.025, 4) with s^2 = 5 * 1e-5."""
    found = estimate_seeds_needed(0.02, seed_variance=1e-5, example_variance=0.0, seeds=5)
    low, high = (4 * 5e-5 / tail for tail in (11.1433, 0.48442))
    for needed, variance in ((found.low, low), (found.high, high)):
        assert needed is not None
        assert planned_detectable(variance, 0.0, needed) <= 0.02
        assert planned_detectable(variance, 0.0, needed - 1) > 0.02
    assert not found.needs_examples


def test_two_seeds_say_little_of_the_seeds_needed() -> None:
    found = estimate_seeds_needed(0.05, seed_variance=5e-4, example_variance=0.0, seeds=2)
    assert found.low is not None
    assert found.low < 10
    assert found.high is None


def test_seeds_that_are_not_worth_it_and_examples_that_no_seed_replaces() -> None:
    hopeless = estimate_seeds_needed(0.001, seed_variance=1e-3, example_variance=0.0, seeds=5)
    assert hopeless == (None, None, False)
    assert estimate_seeds_needed(
        0.002, seed_variance=1e-5, example_variance=1e-6, seeds=5
    ).needs_examples


def test_a_plan_does_not_wait_for_scipy_stats() -> None:
    """Once Phase 0 has measured the noise of seeds."""
    code = (
        "import sys\n"
        "from phasewise.statistics import estimate_seeds_needed\n"
        "estimate_seeds_needed(0.02, seed_variance=1e-5, example_variance=1e-5, seeds=5)\n"
        "print(sorted({'scipy.special', 'scipy.stats', 'scipy.optimize'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "['scipy.special']\n", done.stderr
