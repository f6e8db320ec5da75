"""From start and end logits of windows to the best span of each question."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from phasewise.tasks.examples import EvalSet

#: Stands for "never": far below any logit, yet finite, so that sums stay comparable.
_NEVER = -1e30


class BestSpans(NamedTuple):
    """The best span of each question, over all its windows."""

    texts: list[str]
    """(questions,) text of the best span; empty if no window holds any context."""
    span_scores: NDArray[np.float64]
    """(questions,) start logit + end logit of that span."""
    null_scores: NDArray[np.float64]
    """(questions,) the least start + end logit of the no-answer token over the windows."""


def find_best_spans(
    eval_set: EvalSet,
    outputs: tuple[NDArray[Any], NDArray[Any]],
    max_answer_length: int,
) -> BestSpans:
    """Returns the best span of at most ``max_answer_length`` tokens for each question.

    All spans are compared, not only those among the n best starts and ends.

    Args:
        eval_set: Windows with their offsets.
        outputs: Start and end logits, (windows, at least the longest window's tokens).
        max_answer_length: In tokens.
    """
    start_logits, end_logits = (_restrict(logits, eval_set) for logits in outputs)
    scores, starts, ends = _best_in_windows(start_logits, end_logits, max_answer_length)
    rows, null_tokens = np.arange(len(scores)), eval_set.null_positions
    null = outputs[0][rows, null_tokens].astype(np.float64) + outputs[1][rows, null_tokens]
    questions = len(eval_set.examples)
    null_scores = np.full(questions, np.inf)
    np.minimum.at(null_scores, eval_set.example_of, null)
    # Sorted by score, the last write wins: each question keeps its best window.
    order = np.argsort(scores, kind="stable")
    window = np.zeros(questions, dtype=np.int64)
    window[eval_set.example_of[order]] = order
    texts = []
    for question, row in enumerate(window.tolist()):
        first, last = eval_set.offsets[row][starts[row]], eval_set.offsets[row][ends[row]]
        context = eval_set.examples[question].texts[1]
        texts.append(context[first[0] : last[1]].strip() if scores[row] > _NEVER / 2 else "")
    return BestSpans(texts, scores[window], null_scores)


def _restrict(logits: NDArray[Any], eval_set: EvalSet) -> NDArray[np.float64]:
    """Returns (windows, longest) logits, those of tokens outside the context set to "never"."""
    longest = max(len(offsets) for offsets in eval_set.offsets)
    kept = np.full((len(logits), longest), _NEVER)
    for row, offsets in enumerate(eval_set.offsets):
        inside = np.flatnonzero(offsets[:, 0] >= 0)
        kept[row, inside] = logits[row, inside]
    return kept


def _best_in_windows(
    start: NDArray[np.float64], end: NDArray[np.float64], max_answer_length: int
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Returns per window (score, first token, last token) of its best span.

    Compares one span length after the other: (windows, tokens) sums, not (tokens, tokens) each.
    """
    windows, tokens = start.shape
    rows = np.arange(windows)
    best = np.full(windows, -np.inf)
    first = np.zeros(windows, dtype=np.int64)
    last = np.zeros(windows, dtype=np.int64)
    for extra in range(min(max_answer_length, tokens)):
        sums = start[:, : tokens - extra] + end[:, extra:]
        here = sums.argmax(axis=1)
        better = sums[rows, here] > best
        best[better] = sums[rows, here][better]
        first[better], last[better] = here[better], here[better] + extra
    return best, first, last
