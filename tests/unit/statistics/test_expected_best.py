import itertools

import numpy as np
import pytest

from phasewise.errors import RecordError
from phasewise.statistics import expect_best

SCORES = [0.71, 0.52, 0.80, 0.80, 0.65, 0.33]


@pytest.mark.parametrize("maximize", [True, False])
def test_expected_best_is_the_mean_over_all_subsets(maximize: bool) -> None:
    best = max if maximize else min
    found = expect_best(SCORES, maximize=maximize)
    for k in range(1, len(SCORES) + 1):
        every = [best(subset) for subset in itertools.combinations(SCORES, k)]
        assert found.values[k - 1] == pytest.approx(np.mean(every))
        low, high = found.intervals[k - 1]
        assert low <= found.values[k - 1] <= high


def test_it_is_unbiased_and_the_plug_in_is_not() -> None:
    rng = np.random.default_rng(0)
    truth = 3 / 4  # expected largest of three uniform draws
    scores = rng.random((4000, 5))
    found = [expect_best(row.tolist()).values[2] for row in scores[:400]]
    assert np.mean(found) == pytest.approx(truth, abs=4 * np.std(found) / 20)
    ordered = np.sort(scores, axis=1)
    steps = (np.arange(1, 6) / 5) ** 3 - (np.arange(5) / 5) ** 3  # Dodge et al.
    assert (ordered @ steps).mean() < truth - 0.02


def test_large_searches_do_not_overflow() -> None:
    found = expect_best(np.linspace(0, 1, 1500).tolist())
    assert found.values[-1] == pytest.approx(1.0)
    assert np.all(np.diff(found.values) > -1e-9)


def test_none_and_nan() -> None:
    assert expect_best([]) == ((), ())
    with pytest.raises(RecordError, match="NaN"):
        expect_best([0.5, float("nan")])
