import math

import numpy as np
import pytest
from scipy import stats

from phasewise.errors import ConfigError
from phasewise.statistics import (
    accuracy_standard_error,
    expected_gap,
    seeds_needed,
    smallest_detectable_difference,
    welch_power,
)


@pytest.mark.parametrize(("seeds", "sds"), [(3, 3.5), (5, 2.1), (10, 1.3), (20, 0.9)])
def test_smallest_detectable_difference_in_sds(seeds: int, sds: float) -> None:
    assert smallest_detectable_difference(1.0, seeds) == pytest.approx(sds, abs=0.05)
    assert smallest_detectable_difference(0.02, seeds) == pytest.approx(0.02 * sds, rel=0.03)


@pytest.mark.parametrize("seeds", [3, 5, 12])
def test_power_at_the_announced_difference_is_eighty_percent(seeds: int) -> None:
    difference = smallest_detectable_difference(1.0, seeds)
    assert difference is not None
    rng = np.random.default_rng(seeds)
    first = rng.normal(difference, 1.0, size=(seeds, 20_000))
    second = rng.normal(0.0, 1.0, size=(seeds, 20_000))
    rejected = stats.ttest_ind(first, second, equal_var=False).pvalue < 0.05
    assert rejected.mean() == pytest.approx(0.80, abs=0.012)  # 4 standard errors


@pytest.mark.parametrize("seeds", [2, 3, 10, 1000])
def test_power_grows_from_the_level_to_one(seeds: int) -> None:
    shifts = np.linspace(0, 12, 60) * math.sqrt(2 / seeds)
    powers = [welch_power(shift, seeds) for shift in shifts]
    assert powers[0] < 0.0501  # Welch's test keeps its level
    assert np.all(np.diff(powers) > -1e-9)
    assert powers[-1] > 0.8


def test_seeds_needed_is_the_first_number_that_suffices() -> None:
    for difference in (0.5, 1.0, 2.0, 4.0):
        seeds = seeds_needed(difference, 1.0)
        assert seeds is not None
        assert welch_power(difference, seeds) >= 0.8 > welch_power(difference, seeds - 1)


@pytest.mark.parametrize(
    ("difference", "sd", "expected"), [(0.0, 0.02, None), (1e-6, 1.0, None), (0.1, 0.0, 2)]
)
def test_seeds_needed_at_its_limits(difference: float, sd: float, expected: int | None) -> None:
    assert seeds_needed(difference, sd) == expected


def test_fewer_than_two_seeds_detect_nothing() -> None:
    assert smallest_detectable_difference(0.02, 1) is None


@pytest.mark.parametrize(
    ("accuracy", "examples", "expected"), [(0.66, 2244, 0.01), (0.66, 50, 0.067), (0.92, 736, 0.01)]
)
def test_accuracy_standard_error(accuracy: float, examples: int, expected: float) -> None:
    assert accuracy_standard_error(accuracy, examples) == pytest.approx(expected, rel=0.01)


def test_wrong_shares_and_spreads_are_refused() -> None:
    assert accuracy_standard_error(0.5, 0) is None
    with pytest.raises(ConfigError, match=r"got 75\.6"):
        accuracy_standard_error(75.6, 100)
    with pytest.raises(ConfigError, match="at least 0"):
        smallest_detectable_difference(-1.0, 5)


def test_expected_gap_of_identical_configurations() -> None:
    assert expected_gap(1, 1.0) == 0.0
    assert expected_gap(2, 1.0) == pytest.approx(2 / math.sqrt(math.pi))
    assert expected_gap(10, 1.0) == pytest.approx(3.0775, abs=1e-4)  # Tippett's table
    assert expected_gap(10, 0.067) == pytest.approx(0.206, abs=1e-3)  # RTE, 50 examples
