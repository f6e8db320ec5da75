import numpy as np
import pytest
from scipy import stats

from phasewise.errors import RecordError
from phasewise.statistics import balanced_design, estimate_part_effects, split_linearly

NAMES = ("query", "key", "value", "output", "gate", "up", "down")
TRUE = np.array([0.05, 0.0, 0.03, 0.0, -0.02, 0.01, 0.08])


def _scores(seed: int, seeds: int = 3, noise: float = 0.01) -> np.ndarray:
    rng = np.random.default_rng(seed)
    design = balanced_design(7, 12)
    by_seed = rng.normal(0, 0.1, (1, seeds))  # a hard seed is hard for all
    return np.asarray(0.5 + (design @ TRUE)[:, None] + by_seed + rng.normal(0, noise, (12, seeds)))


def test_effects_and_intervals_are_those_of_least_squares() -> None:
    """In an orthogonal design the sums can be done by hand: contrasts, and what they leave."""
    design, scores = balanced_design(7, 12), _scores(0)
    found = estimate_part_effects(NAMES, design, scores)
    means = scores.mean(axis=1)
    contrasts = [means[on].mean() - means[~on].mean() for on in design.T]
    assert [part.effect for part in found.parts] == pytest.approx(contrasts)
    left = ((means - means.mean()) ** 2).sum() - 12 / 4 * sum(c**2 for c in contrasts)
    error = (left / 4 * (1 / 6 + 1 / 6)) ** 0.5
    assert found.standard_error == pytest.approx([error] * 7)
    for part, contrast in zip(found.parts, contrasts, strict=True):
        half = stats.t.ppf(0.975, 4) * error
        assert part.interval == pytest.approx((contrast - half, contrast + half))
        assert part.p_value == pytest.approx(2 * stats.t.sf(abs(contrast) / error, 4))


def test_effects_without_noise_are_the_true_ones() -> None:
    found = estimate_part_effects(NAMES, balanced_design(7, 12), _scores(0, noise=0.0))
    assert [part.effect for part in found.parts] == pytest.approx(list(TRUE))
    assert (found.degrees_of_freedom, found.error_from, found.confounded) == (
        4,
        "configurations",
        (),
    )


def test_intervals_cover_as_often_as_announced() -> None:
    hits = [
        part.interval.low <= true <= part.interval.high
        for seed in range(200)
        for part, true in zip(
            estimate_part_effects(NAMES, balanced_design(7, 12), _scores(seed)).parts,
            TRUE,
            strict=True,
        )
    ]
    assert np.mean(hits) == pytest.approx(0.95, abs=0.025)  # 1,400 intervals, SE 0.6 %


def test_averages_of_groups_credit_a_part_that_does_nothing() -> None:
    """Why a design is needed: with nested groups the plain average of `key` is misled."""
    groups = np.array(
        [[1, 1, 1, 1, 0, 0, 0], [0, 0, 0, 0, 1, 1, 1], [1, 0, 1, 0, 0, 0, 0]], dtype=bool
    )
    with pytest.raises(RecordError, match="cannot tell the parts apart"):
        estimate_part_effects(NAMES, groups, np.zeros((3, 2)))


def test_a_saturated_design_takes_its_error_from_the_seeds() -> None:
    rng = np.random.default_rng(1)
    design = balanced_design(7, 8)
    scores = rng.normal(size=(8, 3))
    found = estimate_part_effects(NAMES, design, scores)
    assert (found.degrees_of_freedom, found.error_from) == (14, "seeds")
    on, off = scores[design[:, 0]].mean(), scores[~design[:, 0]].mean()
    assert found.parts[0].effect == pytest.approx(on - off)
    within = scores - scores.mean(axis=1, keepdims=True) - scores.mean(axis=0) + scores.mean()
    error = ((within**2).sum() / 14 / 3 * (1 / 4 + 1 / 4)) ** 0.5
    half = stats.t.ppf(0.975, 14) * error
    assert found.parts[0].interval.high - on + off == pytest.approx(half)
    with pytest.raises(RecordError, match="nothing to estimate the error from"):
        estimate_part_effects(NAMES, design, scores[:, :1])


def test_amounts_are_split_exactly() -> None:
    design = balanced_design(7, 12)
    weights = np.array([10, 4, 4, 10, 30, 30, 20])
    found = split_linearly(NAMES, design, list(1000 + design @ weights))
    assert list(found.values()) == pytest.approx(list(weights))
