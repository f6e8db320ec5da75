import numpy as np
import pytest
from scipy import stats

from phasewise.errors import RecordError
from phasewise.statistics import (
    interquartile_mean,
    pool_intervals,
    prob_superiority,
    prob_superiority_interval,
)


def test_prob_superiority_counts_pairs_and_half_of_the_ties() -> None:
    # 3 beats 1, 2 and ties 3; 1 ties 1: 2 + .5 + .5 of 6
    assert prob_superiority([3.0, 1.0], [1.0, 2.0, 3.0]) == pytest.approx(3 / 6)
    assert prob_superiority([2.0, 3.0], [0.0, 1.0]) == 1.0


def test_prob_superiority_of_nothing_is_refused() -> None:
    with pytest.raises(RecordError, match="got 0 and 1"):
        prob_superiority([], [1.0])
    with pytest.raises(RecordError, match="NaN"):
        prob_superiority([float("nan")], [1.0])


@pytest.mark.parametrize(("runs", "gap"), [(5, 0.0), (5, 1.0), (10, 2.0)])
def test_prob_superiority_interval_covers(runs: int, gap: float) -> None:
    rng = np.random.default_rng(0)
    truth = stats.norm.cdf(gap / np.sqrt(2))
    covered = 0
    for _ in range(1000):
        superiority = prob_superiority(
            rng.normal(gap, 1, runs).tolist(), rng.normal(0, 1, runs).tolist()
        )
        interval = prob_superiority_interval(superiority, runs, runs)
        assert interval is not None
        covered += interval.low <= truth <= interval.high
    assert 0.93 < covered / 1000 < 0.99


def test_prob_superiority_interval_has_a_width_where_runs_do_not_overlap() -> None:
    interval = prob_superiority_interval(1.0, 5, 5)
    assert interval is not None
    assert 0.5 < interval.low < 0.8
    assert interval.high == 1.0
    mirrored = prob_superiority_interval(0.0, 5, 5)
    assert mirrored is not None
    assert mirrored.high == pytest.approx(1 - interval.low)
    assert prob_superiority_interval(0.5, 1, 5) is None


def test_interquartile_mean_is_rliables() -> None:
    # middle half of 1..8: 3 4 5 6
    value, interval = interquartile_mean([[1.0, 2, 3, 4], [5.0, 6, 7, 8]])
    assert value == pytest.approx(4.5)
    assert interval is not None
    assert interval.low < 4.5 < interval.high
    assert interquartile_mean([[1.0], [5.0, 6.0]])[1] is None
    with pytest.raises(RecordError, match="at least one run"):
        interquartile_mean([[1.0], []])


#: Scores of two methods, (runs, tasks), and what rliable 1.2.0 printed for them
#: (NumPy 2.4, arch 7.2), 50,000 and 5,000 resamples:
#:
#:     np.random.seed(0)
#:     iqm = lambda x: np.array([metrics.aggregate_iqm(x)])
#:     library.get_interval_estimates({"a": A, "b": B}, iqm, reps=50000)
#:     better = lambda x, y: np.array([metrics.probability_of_improvement(x, y)])
#:     library.get_interval_estimates({"ab": (A, B)}, better, reps=5000)
A = np.array(
    [
        [0.8001, 0.7649, 0.6863, 0.5555],
        [0.7773, 0.7004, 0.703, 0.667],
        [0.7754, 0.719, 0.7245, 0.6178],
        [0.8053, 0.7035, 0.6985, 0.6348],
        [0.7328, 0.7271, 0.6049, 0.5355],
        [0.7079, 0.7382, 0.6366, 0.6136],
        [0.8078, 0.7407, 0.5742, 0.5731],
        [0.7976, 0.7557, 0.6235, 0.5761],
        [0.7511, 0.7096, 0.753, 0.5596],
        [0.7984, 0.7942, 0.6708, 0.5944],
    ]
)
B = np.array(
    [
        [0.6931, 0.6632, 0.6119, 0.5624],
        [0.6644, 0.7206, 0.6321, 0.6247],
        [0.8278, 0.7996, 0.7184, 0.5773],
        [0.823, 0.8053, 0.6473, 0.6105],
        [0.7779, 0.802, 0.6382, 0.5649],
        [0.7981, 0.7429, 0.598, 0.598],
        [0.7741, 0.718, 0.6722, 0.5909],
        [0.6892, 0.8076, 0.6369, 0.4679],
        [0.7759, 0.8029, 0.6541, 0.6576],
        [0.8578, 0.6869, 0.5567, 0.5182],
    ]
)


@pytest.mark.parametrize(
    ("scores", "mean", "interval"),
    [
        (A, 0.701415, (0.6849598749999999, 0.7172851250000001)),
        (B, 0.6810850000000002, (0.6618899999999999, 0.70345)),
    ],
)
def test_interquartile_mean_and_interval_are_what_rliable_prints(
    scores: np.ndarray, mean: float, interval: tuple[float, float]
) -> None:
    value, found = interquartile_mean(scores.T.tolist())
    assert value == pytest.approx(mean, abs=1e-12)
    # Two sets of random resamples: the ends differ by their Monte Carlo error only.
    assert found == pytest.approx(interval, abs=0.0015)


def test_prob_superiority_over_tasks_is_what_rliable_prints() -> None:
    values = [prob_superiority(A[:, task], B[:, task]) for task in range(4)]
    assert np.mean(values) == pytest.approx(0.52)


def test_prob_superiority_is_scipys_u_with_ties() -> None:
    first, second = [0.7, 0.7, 0.8, 0.9], [0.7, 0.75, 0.6]
    statistic = stats.mannwhitneyu(first, second).statistic
    assert prob_superiority(first, second) == pytest.approx(statistic / 12)


def test_intervals_pool_by_their_arms() -> None:
    pooled = pool_intervals([0.5, 0.7], [(0.2, 0.6), (0.3, 0.8)])  # type: ignore[list-item]
    assert pooled == pytest.approx((0.6 - np.hypot(0.3, 0.4) / 2, 0.6 + np.hypot(0.1, 0.1) / 2))
    assert pool_intervals([0.5, 0.7], [(0.2, 0.6), None]) is None  # type: ignore[list-item]
