import numpy as np
import pytest
from scipy import stats

from phasewise.errors import RecordError
from phasewise.statistics import (
    chance_interval,
    chance_of_better,
    interquartile_mean,
    pool_intervals,
)


def test_chance_counts_pairs_and_half_of_the_ties() -> None:
    # 3 beats 1, 2 and ties 3; 1 ties 1: 2 + .5 + .5 of 6
    assert chance_of_better([3.0, 1.0], [1.0, 2.0, 3.0]) == pytest.approx(3 / 6)
    assert chance_of_better([2.0, 3.0], [0.0, 1.0]) == 1.0


def test_chance_of_nothing_is_refused() -> None:
    with pytest.raises(RecordError, match="got 0 and 1"):
        chance_of_better([], [1.0])
    with pytest.raises(RecordError, match="NaN"):
        chance_of_better([float("nan")], [1.0])


@pytest.mark.parametrize(("runs", "gap"), [(5, 0.0), (5, 1.0), (10, 2.0)])
def test_chance_interval_covers(runs: int, gap: float) -> None:
    rng = np.random.default_rng(0)
    truth = stats.norm.cdf(gap / np.sqrt(2))
    covered = 0
    for _ in range(1000):
        chance = chance_of_better(
            rng.normal(gap, 1, runs).tolist(), rng.normal(0, 1, runs).tolist()
        )
        interval = chance_interval(chance, runs, runs)
        assert interval is not None
        covered += interval.low <= truth <= interval.high
    assert 0.93 < covered / 1000 < 0.99


def test_chance_interval_has_a_width_where_runs_do_not_overlap() -> None:
    interval = chance_interval(1.0, 5, 5)
    assert interval is not None
    assert 0.5 < interval.low < 0.8
    assert interval.high == 1.0
    mirrored = chance_interval(0.0, 5, 5)
    assert mirrored is not None
    assert mirrored.high == pytest.approx(1 - interval.low)
    assert chance_interval(0.5, 1, 5) is None


def test_interquartile_mean_is_rliables() -> None:
    # middle half of 1..8: 3 4 5 6
    value, interval = interquartile_mean([[1.0, 2, 3, 4], [5.0, 6, 7, 8]])
    assert value == pytest.approx(4.5)
    assert interval is not None
    assert interval.low < 4.5 < interval.high
    assert interquartile_mean([[1.0], [5.0, 6.0]])[1] is None
    with pytest.raises(RecordError, match="at least one run"):
        interquartile_mean([[1.0], []])


def test_intervals_pool_by_their_arms() -> None:
    pooled = pool_intervals([0.5, 0.7], [(0.2, 0.6), (0.3, 0.8)])  # type: ignore[list-item]
    assert pooled == pytest.approx((0.6 - np.hypot(0.3, 0.4) / 2, 0.6 + np.hypot(0.1, 0.1) / 2))
    assert pool_intervals([0.5, 0.7], [(0.2, 0.6), None]) is None  # type: ignore[list-item]
