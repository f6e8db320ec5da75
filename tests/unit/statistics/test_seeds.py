import math

import numpy as np
import pytest
from scipy import stats

from phasewise.errors import RecordError
from phasewise.statistics import (
    UNBOUNDED,
    bootstrap_interval,
    compare_seeds,
    mean_interval,
    pooled_sd,
    summarize_scores,
)


def test_summary_by_hand() -> None:
    summary = summarize_scores([1.0, 2.0, 6.0])
    assert summary.mean == pytest.approx(3.0)
    assert summary.sd == pytest.approx(math.sqrt((4 + 1 + 9) / 2))
    assert summary.standard_error == pytest.approx(math.sqrt(7 / 3))
    assert summary.scores == (1.0, 2.0, 6.0)


@pytest.mark.parametrize(("scores", "mean"), [((), None), ((0.5,), 0.5)])
def test_too_few_scores_have_no_spread(scores: tuple[float, ...], mean: float | None) -> None:
    summary = summarize_scores(scores)
    assert (summary.mean, summary.sd, summary.standard_error) == (mean, None, None)
    assert mean_interval(scores, UNBOUNDED) is None


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_score_that_is_not_finite_is_refused_everywhere(bad: float) -> None:
    with pytest.raises(RecordError, match="finite"):
        summarize_scores([0.5, bad])
    with pytest.raises(RecordError, match="finite"):
        bootstrap_interval([[0.5, 0.4], [0.5, bad]])
    with pytest.raises(RecordError, match="finite"):
        compare_seeds([0.5, bad], [0.5, 0.5])


def test_t_interval_is_scipys() -> None:
    scores = [0.71, 0.74, 0.69, 0.77, 0.75]
    expected = stats.ttest_1samp(scores, 0).confidence_interval(0.95)
    assert mean_interval(scores, UNBOUNDED) == pytest.approx((expected.low, expected.high))


def test_t_interval_covers_the_mean_as_often_as_it_says() -> None:
    draws = np.random.default_rng(0).normal(0.8, 0.02, size=(2000, 5))
    hits = [
        low <= 0.8 <= high
        for low, high in (mean_interval(row, UNBOUNDED) for row in draws.tolist())
    ]  # type: ignore[misc]
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


def test_pooled_sd_weighs_by_degrees_of_freedom() -> None:
    groups = [[1.0, 3.0], [10.0, 10.0, 13.0], [5.0]]  # squares 2 + 6, degrees of freedom 1 + 2
    assert pooled_sd(groups) == pytest.approx(math.sqrt(8 / 3))
    assert pooled_sd([[1.0], []]) is None
