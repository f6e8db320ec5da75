"""How predicted classes are scored: each metric of a classification from counts of the classes.

scikit-learn's import, with scipy.stats, is an eighth of a worker's start, and its checks of the
arguments are most of its time: these are its results.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class ClassCounts(NamedTuple):
    """How often each class is meant and said; whole numbers (classes,)."""

    hits: NDArray[Any]
    """Examples of the class that are predicted as it."""
    gold: NDArray[Any]
    predicted: NDArray[Any]

    @property
    def rows(self) -> int:
        """Number of examples."""
        return int(self.gold.sum())

    @property
    def f1(self) -> NDArray[np.float64]:
        """(classes,): each class's F1; 0 for a class that occurs nowhere."""
        scores: NDArray[np.float64] = 2 * self.hits / np.maximum(self.gold + self.predicted, 1)
        return scores

    @property
    def macro_f1(self) -> float:
        """Mean F1 of the classes that have an example.

        scikit-learn's default also counts, as 0, an absent class that is predicted: methods would
        be means over different numbers of classes. Such a prediction costs recall of the class
        meant, and nothing more.
        """
        return float(self.f1[self.gold > 0].mean())


def count_classes(gold: NDArray[Any], predicted: NDArray[Any], classes: int) -> ClassCounts:
    """Returns the counts of two arrays of class indices, int (examples,)."""
    pairs = np.bincount(gold * classes + predicted, minlength=classes**2).reshape(classes, classes)
    return ClassCounts(pairs.diagonal(), pairs.sum(axis=1), pairs.sum(axis=0))


def score_accuracy(counts: ClassCounts) -> float:
    """Returns the share of examples whose class is right."""
    return float(counts.hits.sum() / counts.rows)


def score_f1(counts: ClassCounts) -> float:
    """Returns with two classes the F1 of class 1 (GLUE's); else the macro mean."""
    return float(counts.f1[1]) if len(counts.gold) == 2 else counts.macro_f1


def score_macro_f1(counts: ClassCounts) -> float:
    """Returns the mean F1 of the classes that have an example."""
    return counts.macro_f1


def score_matthews(counts: ClassCounts) -> float:
    """Returns Matthews' correlation; 0 where it is not defined."""
    rows, gold, predicted = counts.rows, counts.gold, counts.predicted
    spread = float(rows**2 - gold @ gold) * float(rows**2 - predicted @ predicted)
    covariance = rows * counts.hits.sum() - gold @ predicted
    return float(covariance / np.sqrt(spread)) if spread else 0.0


def score_balanced_accuracy(counts: ClassCounts) -> float:
    """Returns the mean recall of the classes that have an example."""
    found = counts.gold > 0
    return float((counts.hits[found] / counts.gold[found]).mean())


#: Name of a metric to what it gives for the counts.
CLASS_RULES: Mapping[str, Callable[[ClassCounts], float]] = {
    "accuracy": score_accuracy,
    "f1": score_f1,
    "macro_f1": score_macro_f1,
    "matthews": score_matthews,
    "balanced_accuracy": score_balanced_accuracy,
}


def score_classes(gold: NDArray[Any], predicted: NDArray[Any], classes: int) -> dict[str, float]:
    """Returns the metrics that need no logits.

    Args:
        gold: int (examples,).
        predicted: int (examples,).
        classes: Number of classes.
    """
    counts = count_classes(gold, predicted, classes)
    return {name: rule(counts) for name, rule in CLASS_RULES.items()}
