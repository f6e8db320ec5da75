"""The scoring rules of SQuAD 2.0: text normalization, exact match, F1, no-answer threshold.

Follows the official evaluation script, https://worksheets.codalab.org/rest/bundles/
0x6b567e1cf2e041ec80d7098f031c5c9e/contents/blob/ (Rajpurkar et al., 2018, arXiv 1806.03822),
except that the no-answer threshold is never tuned on the set it is reported for, as the script's
own `best_f1` is, and that F1 counts characters in scripts without blanks (see ``words``).
"""

import re
import string
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from phasewise.tasks.words import split_at_blanks

_ARTICLES = re.compile(r"\b(a|an|the)\b", re.UNICODE)
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize_answer(text: str) -> str:
    """Returns the text in lower case without punctuation, articles and extra white space."""
    without = text.lower().translate(_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", without).split())


def gold_texts(answers: Sequence[str]) -> list[str]:
    """Returns the answers that something is left of; ``[""]`` if the question has none."""
    return [answer for answer in answers if normalize_answer(answer)] or [""]


def score_answer(prediction: str, answers: Sequence[str]) -> tuple[float, float]:
    """Returns (exact, f1), each 0..1, the best over the accepted answers.

    Args:
        prediction: Empty means "no answer".
        answers: Empty means that the question is unanswerable.
    """
    said = normalize_answer(prediction)
    golds = [normalize_answer(answer) for answer in gold_texts(answers)]
    exact = max(float(said == gold) for gold in golds)
    return exact, max(_token_f1(split_at_blanks(said), split_at_blanks(gold)) for gold in golds)


def _token_f1(said: list[str], gold: list[str]) -> float:
    if not said or not gold:
        return float(said == gold)
    shared = sum((Counter(said) & Counter(gold)).values())
    if shared == 0:
        return 0.0
    precision, recall = shared / len(said), shared / len(gold)
    return 2 * precision * recall / (precision + recall)


def fit_threshold(
    differences: NDArray[np.float64],
    span_scores: NDArray[np.float64],
    null_scores: NDArray[np.float64],
) -> float:
    """Returns the threshold above which "no answer" is said, best for the mean score.

    Args:
        differences: (questions,) logit of "no answer" minus logit of the best span.
        span_scores: (questions,) score if the span is said.
        null_scores: (questions,) score if "no answer" is said.

    Ties between thresholds go to the lowest; the value lies midway between two differences, or
    one logit beyond the outermost. An empty input gives 0.
    """
    if len(differences) == 0:
        return 0.0
    order = np.argsort(differences, kind="stable")
    levels = differences[order]
    gains = np.concatenate([[0.0], np.cumsum(span_scores[order] - null_scores[order])])
    cuts = np.concatenate([[levels[0] - 1.0], (levels[:-1] + levels[1:]) / 2, [levels[-1] + 1.0]])
    allowed = np.concatenate([[True], levels[:-1] < levels[1:], [True]])  # never between equals
    return float(cuts[np.where(allowed, gains, -np.inf).argmax()])
