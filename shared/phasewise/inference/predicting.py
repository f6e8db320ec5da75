"""Predicts a file with one model or the mean of several: one record per row, in its order."""

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from phasewise.errors import ConfigError, InfeasibleRunError
from phasewise.formatting import guard_cell
from phasewise.inference.given import find_models
from phasewise.inference.inputs import InputRows, read_inputs, task_of_model
from phasewise.inference.loading import (
    Device,
    ModelFolder,
    load_model,
    read_model_folder,
)
from phasewise.inference.running import answer_set, count_truncated, run_model, tokenize
from phasewise.records import write_atomically
from phasewise.settings import TaskSettings
from phasewise.tasks.examples import Outputs
from phasewise.tasks.kinds import get_kind
from phasewise.training.device import release_memory

#: Rows of a forward pass.
DEFAULT_BATCH_SIZE = 32
#: Names a probability column; ``target_{index}`` suits contests that number their classes.
DEFAULT_COLUMN = "{label}"
#: Header of what a model says: the most likely class, an answer or a response.
ANSWER_COLUMN = "prediction"


class _Predicted(NamedTuple):
    """What one model said of all rows."""

    truncated: int
    probabilities: NDArray[np.float64] | None = None
    """classification: (rows, classes)."""
    answers: Sequence[str] = ()
    """Other kinds: one text per row."""


class PredictionReport(NamedTuple):
    """What was predicted.

    Attributes:
        rows: Rows written.
        models: Models whose probabilities were averaged.
        truncated: Rows whose text is longer than the model reads.
        max_length: Tokens that it reads.
    """

    rows: int
    models: int
    truncated: int
    max_length: int


def predict_file(
    folders: Sequence[Path],
    source: Path,
    output_file: Path,
    *,
    text: Sequence[str] = (),
    id_column: str | None = None,
    column: str = DEFAULT_COLUMN,
    batch_size: int = DEFAULT_BATCH_SIZE,
    max_length: int | None = None,
    max_new_tokens: int | None = None,
    allow_empty: bool = False,
    probabilities_only: bool = False,
    device: Device = "auto",
    say: Callable[[str], None] = print,
) -> PredictionReport:
    """Writes the predictions of a file's rows as CSV, in their order.

    Classifiers: the id, the most likely class and one probability per class, in label order; each
    row sums to 1 (to floating point), and several models give the mean of theirs. Question
    answering: the id and the answer, empty for "no answer". Decoders: the id and the response that
    the model writes to the row's prompt, greedily. One model only for both.

    Args:
        folders: Model folders; one that holds several stands for all of them.
        source: CSV, TSV, JSONL or Parquet.
        output_file: The CSV file to write.
        text: Text columns; empty: the task's. Those of a prompt stand in the task's template.
        id_column: See ``read_inputs``.
        column: Name of a probability column, from ``{label}`` and ``{index}``.
        batch_size: Rows a forward pass; halved where memory runs out.
        max_length: Tokens of a text; None: the task's.
        max_new_tokens: Longest response of a decoder, tokens; None: the task's.
        allow_empty: Predict empty texts too.
        probabilities_only: Leave out the column of the class, as submissions to contests want.
        device: Where models go.
        say: Gets a line for each event.

    Raises:
        ConfigError: A model cannot be loaded, or the models' classes differ.
        DataError: The rows cannot be read; see ``read_inputs``.
    """
    if output_file.suffix.lower() != ".csv":
        raise ConfigError(f"--output {output_file}: expected a file that ends in .csv")
    models = [read_model_folder(folder) for folder in find_models(folders)]
    _check_alike(models)
    task = task_of_model(models[0], text, max_length, max_new_tokens)
    rows = read_inputs(source, task, id_column=id_column, allow_empty=allow_empty)
    # Refused before the work, not after it.
    names = _name_columns(task, column, taken=() if probabilities_only else (ANSWER_COLUMN,))
    predicted = []
    for model in models:
        predicted.append(_predict_rows(model, task, rows, batch_size, device))
        say(f"{model.folder}: {len(rows.examples):,} rows predicted")
    labels = () if probabilities_only else task.labels
    write_atomically(output_file, _format_predicted(rows, names, predicted, labels))
    cut = predicted[0].truncated
    return PredictionReport(len(rows.examples), len(models), cut, task.max_length)


def to_probabilities(logits: Outputs) -> NDArray[np.float64]:
    """Returns softmax probabilities in float64, (rows, classes).

    Raises:
        InfeasibleRunError: A logit is not finite.
    """
    values = np.asarray(logits, dtype=np.float64)
    if not np.isfinite(values).all():
        row = int(np.argwhere(~np.isfinite(values))[0, 0])
        raise InfeasibleRunError(
            f"row {row + 1}: the model's logits are not finite; it has diverged, train it again"
        )
    probabilities: NDArray[np.float64] = softmax(values, axis=1)
    return probabilities


def format_probabilities(
    rows: InputRows,
    names: Sequence[str],
    probabilities: NDArray[np.float64],
    labels: Sequence[str] = (),
) -> str:
    """Returns the CSV text: the id, the most likely class and one column per class.

    Args:
        rows: Whose ids are written.
        names: Headers of the classes.
        probabilities: (rows, classes), in the order of ``rows`` and ``names``.
        labels: Names of the classes; of equal probabilities the first. Empty: no such column.
    """
    lines: list[Sequence[str]] = [(rows.id_column, *([ANSWER_COLUMN] if labels else []), *names)]
    for example, row in zip(rows.examples, probabilities.tolist(), strict=True):
        likely = [labels[int(np.argmax(row))]] if labels else []
        lines.append((example.id, *likely, *map(repr, row)))
    return _format_csv(lines)


def _format_predicted(
    rows: InputRows, names: Sequence[str], predicted: Sequence[_Predicted], labels: Sequence[str]
) -> str:
    """Returns the CSV text of what the models said, their probabilities averaged."""
    found = [each.probabilities for each in predicted if each.probabilities is not None]
    if found:
        return format_probabilities(rows, names, np.mean(found, axis=0), labels)
    return _format_answers(rows, predicted[0].answers)


def _predict_rows(
    source: ModelFolder, task: TaskSettings, rows: InputRows, batch_size: int, device: Device
) -> _Predicted:
    """Returns what a model says; it is freed, so that the next one fits."""
    model = load_model(source, device)
    eval_set = tokenize(model, task, rows.examples)
    truncated = count_truncated(model, task, eval_set)
    if task.traits.generates:
        predicted = _Predicted(truncated, answers=answer_set(model, task, eval_set, batch_size))
    else:
        outputs = run_model(model, task, eval_set, batch_size)
        if task.traits.has_classes:
            predicted = _Predicted(truncated, probabilities=to_probabilities(outputs))
        else:
            # Without a record 0: the models' own scale.
            threshold = (source.record.threshold if source.record else None) or 0.0
            scored = get_kind(task).score(task, eval_set, outputs, threshold)
            predicted = _Predicted(truncated, answers=[p.prediction for p in scored.predictions])
    place = model.device
    del model
    release_memory(place)
    return predicted


def _check_alike(models: Sequence[ModelFolder]) -> None:
    first = models[0]
    for other in models[1:]:
        if (other.auto_class, other.labels) != (first.auto_class, first.labels):
            raise ConfigError(
                f"{other.folder}: its classes ({', '.join(other.labels) or other.auto_class}) are "
                f"not those of {first.folder} ({', '.join(first.labels) or first.auto_class}); "
                "only models of one task can be averaged"
            )
    if len(models) > 1 and not first.labels:
        raise ConfigError("only classifiers can be averaged; name one model")


def _name_columns(task: TaskSettings, column: str, taken: Sequence[str]) -> list[str]:
    try:
        names = [column.format(label=name, index=i) for i, name in enumerate(task.labels)]
    except (KeyError, IndexError, ValueError) as error:
        raise ConfigError(
            f"--column {column}: expected {{label}} or {{index}} between braces ({error})"
        ) from error
    if len(set(names)) < len(names):
        raise ConfigError(f"--column {column}: names two classes alike; use {{label}} or {{index}}")
    if set(names) & set(taken):
        raise ConfigError(
            f"--column {column}: '{taken[0]}' is the column of the most likely class; name the "
            "probabilities otherwise, or give --probabilities-only"
        )
    return names


def _format_answers(rows: InputRows, answers: Sequence[str]) -> str:
    ids = [example.id for example in rows.examples]
    return _format_csv([(rows.id_column, ANSWER_COLUMN), *zip(ids, answers, strict=True)])


def _format_csv(lines: Sequence[Sequence[str]]) -> str:
    stream = io.StringIO(newline="")
    csv.writer(stream, lineterminator="\n").writerows(map(guard_cell, line) for line in lines)
    return stream.getvalue()
