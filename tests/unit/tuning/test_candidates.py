"""The choice of the optimum, by hand."""

from typing import Any

import pytest

from phasewise.settings import Hyperparameters
from phasewise.tuning.candidates import build_candidates, rank_candidates, rank_finished
from phasewise.tuning.ended_trials import EndedTrial

SETTINGS = Hyperparameters(learning_rate=1e-3, batch_size=8, epochs=1)


def ended(number: int, value: float | None, status: Any = "finished") -> EndedTrial:
    return EndedTrial(number, status, value, SETTINGS, "model", 100, "")


def test_ranking_leaves_out_what_did_not_finish_and_prefers_the_earlier() -> None:
    trials = [ended(0, 0.5), ended(1, None, "pruned"), ended(2, 0.7), ended(3, 0.5), ended(4, 0.7)]
    assert [trial.number for trial in rank_finished(trials, 1.0)] == [2, 4, 0, 3]
    assert [trial.number for trial in rank_finished(trials, -1.0)] == [0, 3, 2, 4]


@pytest.mark.parametrize(
    ("scores", "number"),
    [
        ({0: [0.70, 0.72], 1: [0.73, 0.71], 2: [0.60, 0.62]}, 1),  # .71, .72, .61
        ({0: [0.71, 0.73], 1: [0.73, 0.71], 2: [0.60, 0.62]}, 0),  # a tie: the earlier
        ({2: [0.10]}, 2),  # the only one with a score
        ({}, 2),  # none confirmed: the raw score, best is trial 2
    ],
)
def test_confirmed_mean_decides(scores: dict[int, list[float]], number: int) -> None:
    trials = [ended(0, 0.74), ended(1, 0.75), ended(2, 0.76)]
    assert rank_candidates(build_candidates(trials, scores), 1.0)[0].number == number


def test_lower_is_better_for_a_loss() -> None:
    candidates = build_candidates([ended(0, 0.3), ended(1, 0.4)], {0: [0.5, 0.5], 1: [0.4, 0.4]})
    assert rank_candidates(candidates, -1.0)[0].number == 1
