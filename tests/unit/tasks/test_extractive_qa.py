import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from phasewise.errors import ConfigError, InfeasibleRunError
from phasewise.settings import TaskSettings, metrics_of
from phasewise.tasks.examples import EvalSet, Example
from phasewise.tasks.extractive_qa import ExtractiveQA
from phasewise.tasks.squad_rules import fit_threshold

KIND = ExtractiveQA()
CONTEXT = " ".join(f"word{number}" for number in range(60)) + " the end."


def question(answer: str, number: int = 0) -> Example:
    starts = (CONTEXT.index(answer),) if answer else ()
    return Example(
        f"q{number}",
        (f"  which {answer}?", CONTEXT),
        int(not answer),
        (answer,) * bool(answer),
        starts,
    )


def outputs_that_say(
    eval_set: EvalSet, answers: list[str], margin: float = 5.0
) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose best span is the given text, where a window holds it; empty: no answer."""
    longest = max(len(offsets) for offsets in eval_set.offsets)
    start, end = np.zeros((2, len(eval_set.features), longest))
    for row, offsets in enumerate(eval_set.offsets):
        example = int(eval_set.example_of[row])
        context = eval_set.examples[example].texts[1]
        null = eval_set.null_positions[row]
        if not answers[example]:
            start[row, null] = end[row, null] = margin
            continue
        first = context.index(answers[example])
        starts = np.flatnonzero(offsets[:, 0] == first)
        ends = np.flatnonzero(offsets[:, 1] == first + len(answers[example]))
        if len(starts) and len(ends):
            start[row, starts[0]] = end[row, ends[0]] = margin
    return start, end


def test_windows_cover_the_context_and_share_the_stride(
    question_task: Callable[..., TaskSettings], tokenizer: Any
) -> None:
    eval_set = KIND.tokenize_eval([question("word3")], tokenizer, question_task())
    assert len(eval_set.features) > 3
    spans = [rows[rows[:, 0] >= 0] for rows in eval_set.offsets]
    assert spans[0][0, 0] == 0
    assert spans[-1][-1, 1] == len(CONTEXT)
    for left, right in pairwise(spans):
        assert (left[-8:] == right[:8]).all()  # doc_stride
    assert all(len(feature["input_ids"]) <= 48 for feature in eval_set.features)
    assert (eval_set.null_positions == 0).all()


@pytest.mark.parametrize("answer", ["word0", "word31", "word30 word31 word32", "end", "end."])
def test_train_targets_are_the_tokens_of_the_answer(
    answer: str, question_task: Callable[..., TaskSettings], tokenizer: Any
) -> None:
    features = KIND.tokenize_train([question(answer)], tokenizer, question_task())
    found = []
    for feature in features:
        start, end = feature["start_positions"], feature["end_positions"]
        if (start, end) != (0, 0):
            found.append(tokenizer.decode(feature["input_ids"][start : end + 1]))
    assert found
    assert set(found) == {answer}


def test_unanswerable_questions_point_at_cls(
    question_task: Callable[..., TaskSettings], tokenizer: Any
) -> None:
    features = KIND.tokenize_train([question("")], tokenizer, question_task())
    assert {(f["start_positions"], f["end_positions"]) for f in features} == {(0, 0)}


def test_a_long_question_is_cut(question_task: Callable[..., TaskSettings], tokenizer: Any) -> None:
    example = question("word3")._replace(texts=("why " * 500, CONTEXT))
    eval_set = KIND.tokenize_eval([example], tokenizer, question_task())
    spans = [rows[rows[:, 0] >= 0] for rows in eval_set.offsets]
    assert spans[-1][-1, 1] == len(CONTEXT)
    assert all(len(feature["input_ids"]) <= 48 for feature in eval_set.features)


def test_windows_without_room_are_refused(
    question_task: Callable[..., TaskSettings], tokenizer: Any
) -> None:
    task = question_task(max_length=12, doc_stride=9)
    with pytest.raises(ConfigError, match="max_length 12 leaves no room"):
        KIND.tokenize_eval([question("word3")], tokenizer, task)


def test_scores_at_a_given_threshold_by_hand(
    question_task: Callable[..., TaskSettings], tokenizer: Any
) -> None:
    said = ["word3", "word5 word6", "", "word9", ""]
    gold = ["word3", "word6", "word7", "", ""]  # right, f1 2/3, missed, made up, right
    examples = [question(answer, number) for number, answer in enumerate(gold)]
    eval_set = KIND.tokenize_eval(examples, tokenizer, question_task())
    scored = KIND.score(question_task(), eval_set, outputs_that_say(eval_set, said), threshold=0.0)
    assert [prediction.prediction for prediction in scored.predictions] == said
    assert scored.metrics == pytest.approx(
        {
            "f1": (1 + 2 / 3 + 0 + 0 + 1) / 5,
            "exact": 2 / 5,
            "has_ans_f1": (1 + 2 / 3) / 3,
            "has_ans_exact": 1 / 3,
            "no_ans_f1": 1 / 2,
            "no_ans_exact": 1 / 2,
        }
    )
    assert set(metrics_of("extractive_qa")) <= set(scored.metrics)
    assert scored.predictions[1][2:] == (("word6",), 0.0, pytest.approx(2 / 3), (10.0, 0.0))
    assert scored.threshold == 0.0


def fake_set(questions: int) -> tuple[EvalSet, list[str]]:
    """One window a question, a context each: CLS, then five words."""
    offsets = np.array([[-1, -1], *([2 * w, 2 * w + 1] for w in range(5))])
    examples = []
    for number in range(questions):
        answers = ("a",) * (number % 2)
        examples.append(Example(str(number), ("q", f"a b c d e {number}"), 0, answers))
    features = [{"input_ids": np.zeros(6, dtype=np.int64)}] * questions
    null = np.zeros(questions, dtype=np.int64)
    return EvalSet(examples, features, np.arange(questions), [offsets] * questions, null), []


def test_the_search_score_is_not_tuned_on_its_own_half(
    question_task: Callable[..., TaskSettings],
) -> None:
    """On pure noise a threshold tuned on the scored data looks better than it is."""
    cross_fitted, tuned = [], []
    for seed in range(30):
        eval_set, _ = fake_set(30)
        start, end = np.random.default_rng(seed).normal(size=(2, 30, 6))
        scored = KIND.score(question_task(), eval_set, (start, end))
        cross_fitted.append(scored.metrics["exact"])
        own = KIND.score(question_task(), eval_set, (start, end), threshold=scored.threshold)
        tuned.append(own.metrics["exact"])
    assert np.mean(tuned) > 0.5  # optimistic: always silent scores 0.5, and nothing is better
    assert np.mean(cross_fitted) < np.mean(tuned) - 0.02


def test_the_threshold_for_the_report_set_is_fitted_on_the_whole_search_set(
    question_task: Callable[..., TaskSettings],
) -> None:
    eval_set, _ = fake_set(40)
    start, end = np.random.default_rng(0).normal(size=(2, 40, 6))
    scored = KIND.score(question_task(metric="exact"), eval_set, (start, end))
    difference = np.array([p.logits[1] - p.logits[0] for p in scored.predictions])
    at_least = KIND.score(question_task(), eval_set, (start, end), threshold=1e9).predictions
    span = np.array([prediction.correct for prediction in at_least])
    null = np.array([float(not example.answers) for example in eval_set.examples])
    assert scored.threshold == fit_threshold(difference, span, null)


def test_logits_that_are_not_finite_mean_that_the_run_diverged(
    question_task: Callable[..., TaskSettings],
) -> None:
    eval_set, _ = fake_set(2)
    start, end = np.zeros((2, 2, 6))
    end[1, 3] = np.nan
    with pytest.raises(InfeasibleRunError, match="not finite"):
        KIND.score(question_task(), eval_set, (start, end))


def test_as_many_questions_as_squad_has_are_scored_in_seconds(
    question_task: Callable[..., TaskSettings],
) -> None:
    windows, tokens = 7000, 384
    words = np.stack([np.arange(tokens) * 5, np.arange(tokens) * 5 + 4], axis=1)
    offsets = [np.where(np.arange(tokens)[:, None] < 20, -1, words)] * windows
    context = "word " * tokens
    examples = [Example(str(i), ("q", f"{context}{i}"), 0, ("word",)) for i in range(windows)]
    features = [{"input_ids": np.zeros(tokens, dtype=np.int64)}] * windows
    null = np.zeros(windows, dtype=np.int64)
    eval_set = EvalSet(examples, features, np.arange(windows), offsets, null)
    logits = np.random.default_rng(0).normal(size=(windows, tokens)).astype(np.float32)
    began = time.process_time()
    KIND.score(question_task(), eval_set, (logits, logits))
    assert time.process_time() - began < 20
