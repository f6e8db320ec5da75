import math

import numpy as np
import pytest
from scipy import stats

from phasewise.errors import RecordError
from phasewise.statistics import (
    bootstrap_interval,
    compare_paired,
    pooled_sd,
    summarise_scores,
    t_interval,
)


def test_summary_by_hand() -> None:
    summary = summarise_scores([1.0, 2.0, 6.0])
    assert summary.mean == pytest.approx(3.0)
    assert summary.sd == pytest.approx(math.sqrt((4 + 1 + 9) / 2))
    assert summary.standard_error == pytest.approx(math.sqrt(7 / 3))
    assert summary.scores == (1.0, 2.0, 6.0)


@pytest.mark.parametrize(("scores", "mean"), [((), None), ((0.5,), 0.5)])
def test_too_few_scores_have_no_spread(scores: tuple[float, ...], mean: float | None) -> None:
    summary = summarise_scores(scores)
    assert (summary.mean, summary.sd, summary.standard_error) == (mean, None, None)
    assert t_interval(scores) is None


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_score_that_is_not_finite_is_refused_everywhere(bad: float) -> None:
    with pytest.raises(RecordError, match="finite"):
        summarise_scores([0.5, bad])
    with pytest.raises(RecordError, match="finite"):
        bootstrap_interval([[0.5, 0.4], [0.5, bad]])
    with pytest.raises(RecordError, match="finite"):
        compare_paired([0.5, bad], [0.5, 0.5])


def test_t_interval_is_scipys() -> None:
    scores = [0.71, 0.74, 0.69, 0.77, 0.75]
    expected = stats.ttest_1samp(scores, 0).confidence_interval(0.95)
    assert t_interval(scores) == pytest.approx((expected.low, expected.high))


def test_t_interval_covers_the_mean_as_often_as_it_says() -> None:
    draws = np.random.default_rng(0).normal(0.8, 0.02, size=(2000, 5))
    hits = [low <= 0.8 <= high for low, high in map(t_interval, draws.tolist())]  # type: ignore[misc]
    assert 0.935 < np.mean(hits) < 0.965


def test_bootstrap_of_one_task_lies_inside_the_scores_and_repeats() -> None:
    scores = [0.71, 0.74, 0.69, 0.77, 0.75, 0.73]
    first, second = bootstrap_interval(scores), bootstrap_interval(scores)
    assert first == second
    assert first is not None
    assert min(scores) <= first.low < np.mean(scores) < first.high <= max(scores)


def test_bootstrap_over_tasks_ignores_differences_between_tasks() -> None:
    rng = np.random.default_rng(1)
    noise = rng.normal(0, 0.01, size=(12, 3))
    narrow = bootstrap_interval(noise)
    shifted = bootstrap_interval(noise + np.array([0.5, 0.7, 0.9]))
    assert narrow is not None
    assert shifted is not None
    assert shifted.high - shifted.low == pytest.approx(narrow.high - narrow.low)
    assert shifted.low - narrow.low == pytest.approx(0.7)


def test_bootstrap_of_equal_or_too_few_scores() -> None:
    assert bootstrap_interval([0.5]) is None
    assert bootstrap_interval([0.5, 0.5, 0.5]) == (0.5, 0.5)


def test_paired_difference_is_scipys_paired_t() -> None:
    first, second = [0.75, 0.78, 0.74, 0.80], [0.70, 0.75, 0.735, 0.74]
    found = compare_paired(first, second)
    expected = stats.ttest_rel(first, second).confidence_interval(0.95)
    assert found.mean == pytest.approx(np.mean(first) - np.mean(second))
    assert found.interval == pytest.approx((expected.low, expected.high))
    assert found.pairs == 4


@pytest.mark.parametrize(("pairs", "can"), [(2, False), (3, False), (5, False), (6, True)])
def test_five_pairs_can_never_reach_five_percent(pairs: int, can: bool) -> None:
    found = compare_paired([1.0 + 0.1 * i for i in range(pairs)], [0.0] * pairs)
    assert found.p_value == pytest.approx(2 / 2**pairs)  # all signs agree: the smallest p
    assert found.smallest_p == pytest.approx(2 / 2**pairs)
    assert found.can_reach_level is can


def test_ties_stay_in_and_give_no_evidence() -> None:
    found = compare_paired([0.5, 0.6, 0.7], [0.5, 0.6, 0.7])
    assert (found.mean, found.p_value) == (0.0, 1.0)


def test_a_single_pair_has_neither_interval_nor_test() -> None:
    found = compare_paired([0.7], [0.6])
    assert (found.interval, found.p_value, found.can_reach_level) == (None, None, False)


def test_unequal_or_no_pairs_are_refused() -> None:
    with pytest.raises(RecordError, match="got 2 and 1"):
        compare_paired([1.0, 2.0], [1.0])
    with pytest.raises(RecordError, match="got 0 and 0"):
        compare_paired([], [])


def test_pooled_sd_weighs_by_degrees_of_freedom() -> None:
    groups = [[1.0, 3.0], [10.0, 10.0, 13.0], [5.0]]  # squares 2 + 6, freedom 1 + 2
    assert pooled_sd(groups) == pytest.approx(math.sqrt(8 / 3))
    assert pooled_sd([[1.0], []]) is None
