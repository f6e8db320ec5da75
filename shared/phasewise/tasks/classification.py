"""Classification of one text or a pair: labels, features, scores."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from phasewise.errors import InfeasibleRunError
from phasewise.settings import TASK_KINDS, TaskSettings
from phasewise.tasks.class_rules import score_classes
from phasewise.tasks.examples import (
    EvalSet,
    Example,
    ExamplePrediction,
    Feature,
    Outputs,
    Scored,
)
from phasewise.tasks.table import RowTable


class Classification:
    """One text, or two, to one of several classes."""

    auto_class = TASK_KINDS["classification"].auto_class

    def model_kwargs(self, task: TaskSettings) -> dict[str, Any]:
        """Returns number and names of the classes, and that a text has one: its loss."""
        return {
            "problem_type": "single_label_classification",
            "num_labels": len(task.labels),
            "id2label": dict(enumerate(task.labels)),
            "label2id": {name: index for index, name in enumerate(task.labels)},
        }

    def parse(self, task: TaskSettings, split: str, table: RowTable) -> list[Example]:
        """Returns the rows; labels may be indices or names, but not both in one file."""
        labels = _read_labels(task, table)
        return [
            Example(
                id=f"{split}-{index}",
                texts=tuple(table.text(index, column) for column in task.text),
                label=label,
            )
            for index, label in enumerate(labels)
        ]

    def texts_apart(self, example: Example) -> tuple[str, ...]:
        """Returns each text, of a pair both, with white space evened out."""
        return tuple(" ".join(text.split()) for text in example.texts)

    def tokenize_train(
        self, examples: Sequence[Example], tokenizer: Any, task: TaskSettings
    ) -> list[Feature]:
        """Returns one feature an example; texts beyond ``max_length`` tokens are cut."""
        if not examples:
            return []
        columns = zip(*(example.texts for example in examples), strict=True)
        encoded = tokenizer(*map(list, columns), truncation=True, max_length=task.max_length)
        names = list(encoded.keys())
        features: list[Feature] = []
        for index, example in enumerate(examples):
            feature: Feature = {n: np.asarray(encoded[n][index], dtype=np.int64) for n in names}
            features.append({**feature, "labels": example.label})
        return features

    def tokenize_eval(
        self, examples: Sequence[Example], tokenizer: Any, task: TaskSettings
    ) -> EvalSet:
        """Returns the same features as for training, with their examples."""
        features = self.tokenize_train(examples, tokenizer, task)
        return EvalSet(list(examples), features, np.arange(len(features), dtype=np.int64))

    def score(
        self,
        task: TaskSettings,
        eval_set: EvalSet,
        outputs: Outputs,
        threshold: float | None = None,
    ) -> Scored:
        """Returns the metrics of ``CLASS_RULES`` and eval_loss; ``threshold`` is not used."""
        logits = np.asarray(outputs, dtype=np.float64)  # (examples, classes)
        expected = (len(eval_set.examples), len(task.labels))
        assert logits.shape == expected, f"logits {logits.shape}, expected {expected}"
        if not np.isfinite(logits).all():
            raise InfeasibleRunError(f"task '{task.name}': the model's logits are not finite")
        gold = np.array([example.label for example in eval_set.examples])
        predicted = logits.argmax(axis=1)
        loss = -log_softmax(logits, axis=1)[np.arange(len(gold)), gold].mean()
        metrics = {**score_classes(gold, predicted, len(task.labels)), "eval_loss": float(loss)}
        return Scored(metrics, _describe_predictions(task, eval_set.examples, predicted, logits))


def _describe_predictions(
    task: TaskSettings,
    examples: Sequence[Example],
    predicted: NDArray[Any],
    logits: NDArray[np.float64],
) -> list[ExamplePrediction]:
    return [
        ExamplePrediction(
            id=example.id,
            prediction=task.labels[choice],
            gold=(task.labels[example.label],),
            correct=float(choice == example.label),
            f1=float(choice == example.label),
            logits=tuple(row),
        )
        for example, choice, row in zip(examples, predicted.tolist(), logits.tolist(), strict=True)
    ]


def _read_labels(task: TaskSettings, table: RowTable) -> list[int]:
    indices: list[int] = []
    first_by_name: bool | None = None
    for row in range(len(table.rows)):
        value = table.value(row, task.label)
        index, by_name = _read_label(task, table, row, value)
        if first_by_name is None:
            first_by_name = by_name
        elif by_name != first_by_name:
            form = "a class name" if first_by_name else "an index"
            raise table.refuse(row, task.label, f"{form}, as in the rows before", value)
        indices.append(index)
    return indices


def _read_label(task: TaskSettings, table: RowTable, row: int, value: Any) -> tuple[int, bool]:
    """Returns (index, whether it was given by name); names win where they look like numbers."""
    if isinstance(value, str) and value in task.labels:
        return task.labels.index(value), True
    number = value
    if isinstance(value, str) and value.strip().lstrip("-").isdecimal():
        number = int(value)  # CSV has no types
    if isinstance(number, int) and not isinstance(number, bool):
        if str(number) in task.labels:
            return task.labels.index(str(number)), True
        if 0 <= number < len(task.labels):
            return number, False
    raise table.refuse(row, task.label, _expected_label(task, number), value)


def _expected_label(task: TaskSettings, number: object) -> str:
    named = ", ".join(f"{index} ({name})" for index, name in enumerate(task.labels))
    hidden = " (-1 marks hidden labels: use a split that has them)" if number == -1 else ""
    return f"one of {named}, by index or name{hidden}"
