import numpy as np
import pytest

from phasewise.tasks.examples import EvalSet, Example
from phasewise.tasks.spans import find_best_spans

CONTEXT = "aa bb cc dd ee ff"
LONGEST = 3


def eval_set_of(windows: list[tuple[int, int, int]]) -> EvalSet:
    """Windows (question, first word, words); token 0 is CLS, 1 the question, then words."""
    offsets = []
    for _, first, count in windows:
        words = [[3 * word, 3 * word + 2] for word in range(first, first + count)]
        offsets.append(np.array([[-1, -1], [-1, -1], *words, [-1, -1]]))
    examples = [
        Example(str(q), ("question", CONTEXT)) for q in range(max(w[0] for w in windows) + 1)
    ]
    features = [{"input_ids": np.zeros(len(rows), dtype=np.int64)} for rows in offsets]
    example_of = np.array([window[0] for window in windows])
    return EvalSet(examples, features, example_of, offsets, np.zeros(len(windows), dtype=int))


def best_by_trying_all(
    eval_set: EvalSet, start: np.ndarray, end: np.ndarray, question: int
) -> tuple[str, float]:
    found = ("", -np.inf)
    for row in np.flatnonzero(eval_set.example_of == question):
        offsets = eval_set.offsets[row]
        inside = [token for token in range(len(offsets)) if offsets[token][0] >= 0]
        for first in inside:
            for last in inside:
                score = start[row, first] + end[row, last]
                if first <= last < first + LONGEST and score > found[1]:
                    found = (CONTEXT[offsets[first][0] : offsets[last][1]], score)
    return found


@pytest.mark.parametrize("seed", range(15))
def test_spans_are_those_found_by_trying_all(seed: int) -> None:
    eval_set = eval_set_of([(0, 0, 4), (0, 2, 4), (1, 0, 6), (2, 1, 2)])
    generator = np.random.default_rng(seed)
    start, end = generator.normal(size=(2, 4, 12)) * 3  # wider than any window: padding
    start[:, 9:] = end[:, 9:] = 100.0
    best = find_best_spans(eval_set, (start, end), LONGEST)
    for question in range(3):
        text, score = best_by_trying_all(eval_set, start, end, question)
        assert best.texts[question] == text
        assert best.span_scores[question] == pytest.approx(score)
    null = (start + end)[:, 0]
    assert best.null_scores == pytest.approx([min(null[0], null[1]), null[2], null[3]])


def test_a_question_whose_windows_hold_no_context_gets_no_answer() -> None:
    eval_set = eval_set_of([(0, 0, 0), (1, 0, 3)])
    best = find_best_spans(eval_set, (np.ones((2, 6)), np.ones((2, 6))), LONGEST)
    assert best.texts[0] == ""
    assert best.null_scores[0] - best.span_scores[0] > 1e20
    assert best.texts[1] != ""
