import numpy as np
import pytest
from scipy import stats

from phasewise.errors import ConfigError
from phasewise.statistics import detectable_difference, seeds_to_resolve


@pytest.mark.parametrize("freedom", [2, 4, 9, 30])
def test_other_studies_find_the_announced_difference_in_eight_of_ten(freedom: int) -> None:
    rng = np.random.default_rng(freedom)
    announced = [
        detectable_difference(error, freedom)
        for error in np.sqrt(rng.chisquare(freedom, 20_000) / freedom)
    ]
    errors = np.sqrt(rng.chisquare(freedom, 20_000) / freedom)
    t = (np.array(announced) + rng.normal(size=20_000)) / errors
    assert np.mean(t > stats.t.ppf(0.975, freedom)) == pytest.approx(0.80, abs=0.015)


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
