from pathlib import Path

import pytest

from phasewise.errors import RecordError
from phasewise.tasks.examples import ExamplePrediction
from phasewise.tasks.predictions import read_predictions, write_predictions


def test_predictions_survive_the_file(tmp_path: Path) -> None:
    rows = [
        ExamplePrediction("dev-0", "a\u2028é", ("x", "y"), 0.0, 0.5, (1.25, -1e-9)),
        ExamplePrediction("dev-1", "", (), 1.0, 1.0, (0.0,)),
    ]
    write_predictions(tmp_path / "p.jsonl", rows)
    assert read_predictions(tmp_path / "p.jsonl") == rows


@pytest.mark.parametrize("content", [None, "{}\n", "no json\n", '{"id": "x", "gold": 1}\n'])
def test_other_files_are_refused(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "p.jsonl").write_text(content)
    with pytest.raises(RecordError, match="not a predictions file"):
        read_predictions(tmp_path / "p.jsonl")
