import itertools
import math

import numpy as np
import pytest
from scipy import stats

from phasewise.errors import RecordError
from phasewise.statistics import (
    bootstrap_crossed,
    compare_crossed,
    compare_seeds,
    correct_holm,
    pool_comparisons,
)


def test_seeds_alone_are_scipys_paired_t() -> None:
    first, second = [0.75, 0.78, 0.74, 0.80], [0.70, 0.75, 0.735, 0.74]
    found, expected = compare_seeds(first, second), stats.ttest_rel(first, second)
    interval = expected.confidence_interval(0.95)
    assert found.mean == pytest.approx(np.mean(first) - np.mean(second))
    assert found.interval == pytest.approx((interval.low, interval.high))
    assert found.p_value == pytest.approx(expected.pvalue)
    assert (found.seeds, found.examples) == (4, None)


@pytest.mark.parametrize(("pairs", "can"), [(2, False), (3, False), (5, False), (6, True)])
def test_five_pairs_can_never_reach_five_percent(pairs: int, can: bool) -> None:
    found = compare_seeds([1.0 + 0.1 * i for i in range(pairs)], [0.0] * pairs)
    assert found.sign_flip_p == pytest.approx(2 / 2**pairs)  # all signs agree: the smallest p
    assert found.smallest_p == pytest.approx(2 / 2**pairs)
    assert found.can_reach_level is can


def test_sign_flip_is_the_enumeration() -> None:
    differences = [0.03, -0.01, 0.02, 0.05, -0.02, 0.01, 0.04]
    sums = [abs(np.dot(s, differences)) for s in itertools.product([-1, 1], repeat=7)]
    expected = np.mean(np.array(sums) >= abs(sum(differences)) - 1e-12)
    assert compare_seeds(differences, [0.0] * 7).sign_flip_p == pytest.approx(expected)


def test_crossed_variance_by_hand() -> None:
    # rows 0 and 1, columns 0, 1 and -1 apart: mean squares by the two-way layout
    table = np.array([[1.0, 0.0, 0.0], [1.0, 1.0, -1.0]])
    found = compare_crossed(table, np.zeros((2, 3)))
    by_seed, by_example = table.mean(axis=1), table.mean(axis=0)  # 1/3 1/3; 1 1/2 -1/2
    residual = table - by_seed[:, None] - by_example + table.mean()
    noise = (residual**2).sum() / 2 / 6
    assert found.seed_variance == pytest.approx(0.0, abs=1e-15)
    assert found.example_variance == pytest.approx(by_example.var(ddof=1) / 3 - noise)
    assert noise == pytest.approx(1 / 12)  # residuals 0, -1/2, 1/2 and their opposites, by hand
    assert found.mean == pytest.approx(1 / 3)


def test_examples_that_all_agree_leave_the_seeds_alone() -> None:
    first = np.repeat([[0.2], [0.5], [0.3]], 50, axis=1)
    found = compare_crossed(first, np.zeros((3, 50)))
    alone = compare_seeds([0.2, 0.5, 0.3], [0.0] * 3)
    assert found.example_variance == pytest.approx(0)
    assert found.interval == pytest.approx(alone.interval)


def test_few_examples_widen_the_interval() -> None:
    rng = np.random.default_rng(0)
    difference = np.repeat(rng.normal(0.1, 1.0, (1, 40)), 5, axis=0)  # seeds agree, examples not
    found = compare_crossed(difference, np.zeros((5, 40)))
    assert found.seed_variance == pytest.approx(0.0, abs=1e-12)
    expected = stats.t.interval(0.95, 39, difference[0].mean(), stats.sem(difference[0]))
    assert found.interval == pytest.approx(expected, rel=1e-6)
    assert bootstrap_crossed([difference]) == pytest.approx(expected, abs=0.05)


def test_a_tie_by_luck_is_no_certainty() -> None:
    """Two seeds with equal scores that err on different examples: 0 [0, 0] was announced."""
    left = np.tile([[1.0, 0.0], [0.0, 1.0]], 200)  # (2 seeds, 400 examples)
    found = compare_crossed(left, left[::-1])
    assert found.mean == 0
    assert found.interval is not None
    # residual mean square 800 / 399, over 2 x 400 differences, with 1 x 399 degrees of freedom
    half = stats.t.ppf(0.975, 399) * (800 / 399 / 800) ** 0.5
    assert found.interval == pytest.approx((-half, half))
    assert found.p_value == 1


def test_ties_and_single_seeds() -> None:
    same = np.ones((3, 4))
    tie = compare_crossed(same, same)
    assert (tie.mean, tie.p_value, tie.interval, tie.standard_error) == (0.0, 1.0, (0.0, 0.0), 0.0)
    assert compare_seeds([0.5, 0.6, 0.7], [0.5, 0.6, 0.7]).sign_flip_p == 1.0
    single = compare_crossed(np.ones((1, 4)), np.zeros((1, 4)))
    assert (single.mean, single.interval, single.p_value, single.detectable) == (
        1,
        None,
        None,
        None,
    )
    assert not single.can_reach_level


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (np.ones((2, 3)), np.ones((2, 4)), r"\(2, 3\) and \(2, 4\)"),
        (np.ones((0, 3)), np.ones((0, 3)), "at least one"),
        (np.ones(3), np.ones(3), "1 dimensions"),
        (np.full((2, 2), np.nan), np.ones((2, 2)), "NaN"),
    ],
)
def test_what_cannot_be_paired_is_refused(
    first: np.ndarray, second: np.ndarray, message: str
) -> None:
    with pytest.raises(RecordError, match=message):
        compare_crossed(first, second)


def test_unequal_or_no_pairs_are_refused() -> None:
    with pytest.raises(RecordError, match="got 2 and 1"):
        compare_seeds([1.0, 2.0], [1.0])
    with pytest.raises(RecordError, match="got 0 and 0"):
        compare_seeds([], [])
    with pytest.raises(RecordError, match="at least one task"):
        pool_comparisons([])


def test_tasks_pool_with_equal_weight() -> None:
    left = compare_seeds([0.3, 0.5], [0.0, 0.0])
    right = compare_seeds([0.1, 0.2, 0.3, 0.4], [0.0] * 4)
    pooled = pool_comparisons([left, right])
    assert pooled.mean == pytest.approx((0.4 + 0.25) / 2)
    assert np.mean(pooled.by_seed) == pytest.approx(pooled.mean)
    assert pooled.standard_error == pytest.approx(
        math.hypot(left.standard_error or 0, right.standard_error or 0) / 2
    )
    one = compare_seeds([0.3], [0.0])
    assert pool_comparisons([left, one]).interval is None


def test_holm_by_hand() -> None:
    # sorted .01 .02 .03 .04, times 4 3 2 1, never falling: .04 .06 .06 .06
    assert correct_holm([0.03, 0.01, None, 0.04, 0.02]) == pytest.approx(
        [0.06, 0.04, None, 0.06, 0.06]
    )
    assert correct_holm([0.5, 0.9]) == [1.0, 1.0]
    assert correct_holm([0.01, 0.02], family_size=9) == pytest.approx([0.09, 0.16])
    assert correct_holm([]) == []


def test_reversal_swaps_the_methods() -> None:
    first, second = [0.7, 0.8, 0.75], [0.6, 0.75, 0.66]
    there, back = compare_seeds(first, second).reverse(), compare_seeds(second, first)
    assert there.interval == pytest.approx(back.interval)
    assert there.by_seed == pytest.approx(back.by_seed)
