"""The tasks' metrics as modules of the ``evaluate`` library, for use outside a study.

``evaluate.load("accuracy")`` asks the hub at run time; these work offline and share the scoring
code of the studies. Importing this loads ``evaluate``, which takes seconds; nothing else does.
"""

from typing import Any

import datasets
import evaluate
import numpy as np

from phasewise.tasks.class_rules import score_classes
from phasewise.tasks.squad_rules import score_answer

_DESCRIPTION = "Scores as a Phasewise study computes them."
_CITATION = "See CITATION.cff of Phasewise."


class ClassificationMetric(evaluate.Metric):  # type: ignore[misc]
    """Accuracy, F1, macro F1 and Matthews correlation of class indices."""

    def _info(self) -> evaluate.MetricInfo:
        columns = {"predictions": datasets.Value("int64"), "references": datasets.Value("int64")}
        return evaluate.MetricInfo(
            description=_DESCRIPTION, citation=_CITATION, features=datasets.Features(columns)
        )

    def _compute(self, predictions: Any, references: Any, classes: int = 2) -> dict[str, float]:
        return score_classes(np.asarray(references), np.asarray(predictions), classes)


class SquadV2Metric(evaluate.Metric):  # type: ignore[misc]
    """Exact match and F1 of SQuAD 2.0 at a given no-answer threshold, in per cent."""

    def _info(self) -> evaluate.MetricInfo:
        text, texts = datasets.Value("string"), datasets.Sequence(datasets.Value("string"))
        starts = datasets.Sequence(datasets.Value("int32"))
        columns = {
            "predictions": {
                "id": text,
                "prediction_text": text,
                "no_answer_probability": datasets.Value("float32"),
            },
            "references": {"id": text, "answers": {"text": texts, "answer_start": starts}},
        }
        return evaluate.MetricInfo(
            description=_DESCRIPTION, citation=_CITATION, features=datasets.Features(columns)
        )

    def _compute(
        self, predictions: Any, references: Any, no_answer_threshold: float = 1.0
    ) -> dict[str, float]:
        gold = {row["id"]: row["answers"]["text"] for row in references}
        scores = [
            score_answer(
                ""
                if row["no_answer_probability"] > no_answer_threshold
                else row["prediction_text"],
                gold[row["id"]],
            )
            for row in predictions
        ]
        exact, f1 = np.mean(scores, axis=0)
        return {"exact": 100 * float(exact), "f1": 100 * float(f1), "total": len(scores)}
