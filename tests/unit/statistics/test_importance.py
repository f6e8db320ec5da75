"""Importances against Optuna's evaluator and against worlds whose answer is known."""

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.importance import MeanDecreaseImpurityImportanceEvaluator

from phasewise.errors import ConfigError, RecordError
from phasewise.statistics import estimate_importance


def _world(trials: int, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The first of three parameters matters four times as much as the second, the third not."""
    draws = np.random.default_rng(seed).random((3, trials))
    return dict(zip("abc", draws, strict=True)), 2 * draws[0] + 0.5 * draws[1]


def test_shares_are_those_of_optuna() -> None:
    columns, scores = _world(40, 1)
    study = optuna.create_study()
    for index, score in enumerate(scores):
        params = {name: float(column[index]) for name, column in columns.items()}
        distributions = {name: FloatDistribution(0, 1) for name in columns}
        study.add_trial(
            optuna.create_trial(params=params, distributions=distributions, value=float(score))
        )
    evaluator = MeanDecreaseImpurityImportanceEvaluator(n_trees=200, seed=5)
    theirs = optuna.importance.get_param_importances(study, evaluator=evaluator)
    ours = estimate_importance(columns, list(scores))
    assert [each.name for each in ours] == list(theirs)
    assert [each.share for each in ours] == pytest.approx(list(theirs.values()), abs=0.03)


def test_intervals_narrow_and_the_dominant_parameter_is_found_with_more_trials() -> None:
    widths = []
    for trials in (10, 80):
        (first, *_) = found = estimate_importance(*_world(trials, 2))
        assert sum(each.share for each in found) == pytest.approx(1)
        assert all(each.interval.low <= each.share <= each.interval.high for each in found)
        assert sum(each.first for each in found) == pytest.approx(1)
        widths.append(first.interval.high - first.interval.low)
    assert widths[1] < widths[0] / 2
    assert (first.name, first.first) == ("a", 1.0)


def test_same_seed_same_intervals() -> None:
    columns, scores = _world(12, 3)
    assert estimate_importance(columns, scores) == estimate_importance(columns, scores)
    assert estimate_importance(columns, scores) != estimate_importance(columns, scores, seed=1)


def test_indicators_of_a_list_add_up_and_inactive_values_are_allowed() -> None:
    rng = np.random.default_rng(4)
    words, noise = rng.integers(0, 3, 60), rng.random(60)
    conditional = np.where(words == 0, np.nan, rng.random(60))
    scores = (words == 2) + 0.01 * noise
    columns = {"word": np.eye(3)[words], "conditional": conditional, "noise": noise}
    first, *others = estimate_importance(columns, list(scores))
    assert first.name == "word"
    assert first.share > 0.9
    assert {each.name for each in others} == {"conditional", "noise"}


@pytest.mark.parametrize(
    ("columns", "scores"),
    [
        ({"a": np.arange(4.0)}, [1, 2, 3, 4]),  # too few trials
        ({"a": np.arange(6.0)}, [1] * 6),  # all tied
        ({}, [1, 2, 3, 4, 5, 6]),
        ({"a": np.ones(6)}, [1, 2, 3, 4, 5, 6]),  # nothing to split on
    ],
)
def test_nothing_is_said_where_nothing_can_be(
    columns: dict[str, np.ndarray], scores: list[float]
) -> None:
    assert estimate_importance(columns, scores) == ()


def test_bad_input_is_refused() -> None:
    with pytest.raises(ConfigError, match="importance of a: expected 6 rows"):
        estimate_importance({"a": np.ones(5)}, [1, 2, 3, 4, 5, 6])
    with pytest.raises(RecordError, match="NaN"):
        estimate_importance({"a": np.ones(6)}, [1, 2, 3, 4, 5, np.nan])
