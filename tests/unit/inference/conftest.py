"""A study of three classes on a CSV, its optimum, and models trained from it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from final_study import TOPICS, write_csv, write_found, write_study_file

from phasewise.inference.final import train_final
from phasewise.settings import Study
from tiny_models import write_tiny_bert


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bert(tmp_path_factory.mktemp("tiny") / "bert")


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A folder of the module's own, gone to, with its own cache."""
    folder = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("PHASEWISE_CACHE", str(folder / "cache"))
        yield folder


@pytest.fixture(scope="module")
def topics(workplace: Path, tiny_bert: Path) -> Study:
    """Three classes, one text, 40 rows in each; every adapter method."""
    rows = [(f"{TOPICS[i % 3]} {i}", i % 3) for i in range(120)]
    write_csv(workplace / "train.csv", ("text", "label"), rows)
    task = {
        "kind": "classification",
        "source": {"type": "files", "files": {"train": "train.csv"}},
        "splits": {"report": None, "report_rows": 30},
        "text": ["text"],
        "labels": ["sport", "film", "letter"],
        "metric": "accuracy",
        "train_rows": 24,
        "search_rows": 30,
        "max_length": 16,
    }
    return write_study_file(workplace / "study.yaml", tiny_bert, {"topics": task})


@pytest.fixture(scope="module")
def trained(topics: Study, workplace: Path) -> Callable[[str], Path]:
    """Trains a final model of a method once per module."""
    folders: dict[str, Path] = {}

    def train(method: str) -> Path:
        if method not in folders:
            (folders[method],) = train_final(
                topics, write_found(topics, method), workplace / "final" / method, all_data=True
            )
        return folders[method]

    return train
