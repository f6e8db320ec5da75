"""The predictions file of a run: one JSON line per example."""

import json
from collections.abc import Sequence
from pathlib import Path

from phasewise.errors import RecordError
from phasewise.records import write_atomically
from phasewise.tasks.examples import ExamplePrediction

#: Beside the record of every run that scores the report set.
PREDICTIONS_FILE = "predictions.jsonl"


def write_predictions(path: Path, predictions: Sequence[ExamplePrediction]) -> None:
    """Writes a predictions file (JSONL), atomically."""
    lines = [json.dumps(row._asdict(), ensure_ascii=False) for row in predictions]
    write_atomically(path, "".join(f"{line}\n" for line in lines))


def read_predictions(path: Path) -> list[ExamplePrediction]:
    """Returns the rows of a predictions file.

    Raises:
        RecordError: No such file, or not a predictions file.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
        rows = [json.loads(line) for line in lines if line]
        return [
            ExamplePrediction(**{**row, "gold": tuple(row["gold"]), "logits": tuple(row["logits"])})
            for row in rows
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordError(f"{path}: not a predictions file: {error}") from error
