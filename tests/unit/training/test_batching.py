import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from phasewise.training.batching import (
    BalancedDraw,
    EpochShuffle,
    LengthGroups,
    find_evaluation_steps,
    largest_micro_batch,
    weigh_classes,
)


@pytest.mark.parametrize(
    ("batch_size", "limit", "expected"),
    [(16, 16, 16), (16, 8, 8), (16, 7, 4), (6, 4, 3), (7, 6, 1), (4, 100, 4), (1, 1, 1)],
)
def test_a_micro_batch_divides_the_batch(batch_size: int, limit: int, expected: int) -> None:
    assert largest_micro_batch(batch_size, limit) == expected


@pytest.mark.parametrize(
    ("rows", "batch_size", "epochs", "per_epoch", "expected"),
    [
        (32, 8, 1, 1, {4}),
        (33, 8, 2, 1, {5, 10}),  # 5 steps per epoch
        (32, 8, 2, 2, {2, 4, 6, 8}),
        (32, 8, 1.5, 1, {4, 6}),
        (32, 8, 0.25, 1, {1}),
        (10, 8, 1, 5, {1, 2}),  # more evaluations than steps
    ],
)
def test_the_last_step_is_always_scored(
    rows: int, batch_size: int, epochs: float, per_epoch: int, expected: set[int]
) -> None:
    steps = find_evaluation_steps(
        rows=rows, batch_size=batch_size, epochs=epochs, per_epoch=per_epoch
    )
    assert steps == expected


def test_each_epoch_has_an_order_of_its_own_that_the_seed_repeats() -> None:
    sampler, again = EpochShuffle(50, seed=1), EpochShuffle(50, seed=1)
    first, second = list(sampler), list(sampler)
    assert sorted(first) == sorted(second) == list(range(50))
    assert first != second
    assert [list(again), list(again)] == [first, second]
    assert list(EpochShuffle(50, seed=2)) != first


def test_balanced_draws_give_each_class_the_same_chance() -> None:
    labels = [int(row < 30) for row in range(300)]  # a tenth is of class 1
    sampler = BalancedDraw(labels, seed=1)
    drawn = [row for _ in range(20) for row in sampler]
    assert len(drawn) == 20 * len(sampler) == 6000
    # 6,000 draws of a half: SD .0065
    assert np.mean([row < 30 for row in drawn]) == pytest.approx(0.5, abs=0.03)
    counts = np.bincount(drawn, minlength=300)
    assert counts[:30].min() > counts[30:].max() / 2
    assert drawn[:300] == list(BalancedDraw(labels, seed=1))


def test_grouped_batches_hold_rows_of_about_one_length_in_no_order_of_length() -> None:
    lengths = np.random.default_rng(0).integers(5, 60, size=1003)

    def epochs(seed: int) -> list[list[int]]:
        grouped = LengthGroups(EpochShuffle(1003, seed), lengths.tolist(), 8, seed)
        return [list(grouped) for _ in range(3)]

    first, second, _ = epochs(1)
    assert sorted(first) == sorted(second) == list(range(1003))
    assert first != second
    assert epochs(1) == [first, second, epochs(1)[2]]
    assert epochs(2)[0] != first
    batches = lengths[first[:1000]].reshape(-1, 8)
    # 400 rows of 55 lengths: a batch of 8 spans about one; unsorted ones span 43.
    assert np.mean(batches.max(1) - batches.min(1)) < 2
    assert abs(np.corrcoef(batches.mean(1), np.arange(125))[0, 1]) < 0.3
    # Rows of the last, smaller batch are those that the shuffle ends with.
    assert first[1000:] == list(EpochShuffle(1003, 1))[1000:]


def test_class_weights_are_those_of_scikit_learn() -> None:
    labels = [0] * 60 + [1] * 10 + [3] * 30  # no row of class 2
    features = [{"labels": label} for label in labels]
    assert weigh_classes(features, None) is weigh_classes(features, "none") is None
    balanced = weigh_classes(features, "balanced")
    expected = compute_class_weight("balanced", classes=np.array([0, 1, 3]), y=labels)
    assert balanced == pytest.approx(dict(zip([0, 1, 3], expected, strict=True)))
    root = weigh_classes(features, "sqrt")
    assert balanced is not None
    assert root is not None
    for weights in (balanced, root):
        assert np.mean([weights[label] for label in labels]) == pytest.approx(1)
    assert root[1] / root[0] == pytest.approx((balanced[1] / balanced[0]) ** 0.5)
