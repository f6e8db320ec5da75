import numpy as np
import pytest

from phasewise.tasks.squad_rules import fit_threshold, normalize_answer, score_answer


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  Cat!", "cat"),
        ("U.S.", "us"),
        ("an apple-pie, a\ttart", "applepie tart"),
        ("a an the", ""),
        ("theatre", "theatre"),  # an article inside a word stays
        ("", ""),
        ("Éa", "éa"),
        ("“quoted”", "“quoted”"),  # only ASCII punctuation is removed
    ],
)
def test_answers_are_normalized_as_officially(text: str, expected: str) -> None:
    assert normalize_answer(text) == expected


@pytest.mark.parametrize(
    ("prediction", "answers", "exact", "f1"),
    [
        ("", (), 1, 1),
        ("Paris", (), 0, 0),
        ("", ("Paris",), 0, 0),
        ("the Paris.", ("Paris",), 1, 1),
        ("Paris France", ("Paris",), 0, 2 / 3),  # precision 1/2, recall 1
        ("in Paris France", ("Paris", "Paris, France"), 0, 4 / 5),  # the better: 2/3 and 1
        ("cat cat", ("cat",), 0, 2 / 3),  # a token counts as often as the gold has it
        ("London", ("Paris",), 0, 0),
        ("the", (), 1, 1),  # nothing is left of it: no answer
        ("Paris", ("the", "Paris"), 1, 1),  # answers that vanish are dropped
        ("", ("the",), 1, 1),  # all vanish: as if unanswerable
    ],
)
def test_answers_are_scored_as_officially(
    prediction: str, answers: tuple[str, ...], exact: float, f1: float
) -> None:
    assert score_answer(prediction, answers) == pytest.approx((exact, f1))


def best_by_trying_all(diff: np.ndarray, span: np.ndarray, null: np.ndarray) -> float:
    cuts = [diff.min() - 1, *diff, diff.max() + 1]
    return max(float(np.where(diff > cut, null, span).mean()) for cut in cuts)


@pytest.mark.parametrize("seed", range(20))
def test_no_threshold_scores_better_than_the_fitted_one(seed: int) -> None:
    generator = np.random.default_rng(seed)
    diff = np.round(generator.normal(size=40), 1)  # with ties
    null = (generator.random(40) < 0.5).astype(float)
    span = np.where(null == 1, 0.0, generator.random(40))
    cut = fit_threshold(diff, span, null)
    reached = float(np.where(diff > cut, null, span).mean())
    assert reached == pytest.approx(best_by_trying_all(diff, span, null))


def test_the_threshold_lies_midway_and_beyond_the_ends() -> None:
    diff = np.array([-3.0, -1.0, 2.0])
    answerable, not_answerable = np.ones(3), np.zeros(3)
    assert fit_threshold(diff, np.array([1.0, 1, 0]), np.array([0.0, 0, 1])) == 0.5
    assert fit_threshold(diff, answerable, not_answerable) == 3.0
    assert fit_threshold(diff, not_answerable, answerable) == -4.0
    assert fit_threshold(np.zeros(0), np.zeros(0), np.zeros(0)) == 0.0
