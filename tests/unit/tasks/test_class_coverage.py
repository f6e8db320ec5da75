"""Sets without a class: needed in train only, told for every other set."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from task_rows import write_jsonl

from phasewise.errors import DataError
from phasewise.runs import DataConfig
from phasewise.settings import TaskSettings
from phasewise.tasks import data

TaskBuilder = Callable[..., TaskSettings]
LABELS = ["abbr", "loc", "num", "rare"]


def _rows(counts: list[int], prefix: str) -> list[dict[str, Any]]:
    return [
        {"text": f"{prefix} {label} number {index}", "label": LABELS[label]}
        for label, count in enumerate(counts)
        for index in range(count)
    ]


@pytest.fixture
def build(tmp_path: Path, classification_task: TaskBuilder) -> TaskBuilder:
    """Builds a task of four classes on 18, 18, 18 and 6 rows to train."""

    def with_classes(*, train: list[int] | None = None, **changes: Any) -> TaskSettings:
        task = classification_task(labels=LABELS, **changes)
        write_jsonl(tmp_path / "train.jsonl", _rows(train or [18, 18, 18, 6], "train"))
        write_jsonl(tmp_path / "dev.jsonl", _rows([10, 10, 10, 0], "dev"))
        return task

    return with_classes


@pytest.mark.parametrize(("metric", "report"), [("accuracy", 30), ("macro_f1", 15)])
def test_a_class_that_the_report_split_lacks_is_told(
    metric: str, report: int, build: TaskBuilder
) -> None:
    splits = {"train": "train", "report": "dev", "report_rows": report}
    found = data.check_task_data(build(metric=metric, splits=splits), None)
    assert found.messages == (
        "the report set has no example of class 'rare': macro scores average over the 3 of 4 "
        "classes that it has",
    )
    assert {example.label for example in found.train} == {0, 1, 2, 3}


def test_a_class_that_the_search_split_lacks_is_told(build: TaskBuilder) -> None:
    splits = {"train": "train", "search": "dev", "report": None, "report_rows": 20}
    (message,) = data.check_task_data(build(splits=splits), None).messages
    assert message.startswith("the search set has no example of class 'rare': macro scores")


def test_a_class_that_train_lacks_is_refused(build: TaskBuilder, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train.jsonl.*'rare' has no example in 54 rows.*abbr"):
        data.check_task_data(build(train=[18, 18, 18, 0]), None)


def test_a_set_of_one_class_is_refused(build: TaskBuilder, tmp_path: Path) -> None:
    task = build()
    write_jsonl(tmp_path / "dev.jsonl", _rows([0, 9, 0, 0], "dev"))
    with pytest.raises(
        DataError, match=r"dev.jsonl.*'abbr' has no example in 9 rows; expected two"
    ):
        data.check_task_data(task, None)


def test_a_train_sample_too_small_for_its_classes_is_told(build: TaskBuilder) -> None:
    (_, message) = data.check_task_data(build(train_rows=2), None).messages
    assert message == (
        "the train sample (2 rows) has no example of 2 classes ('num', 'rare'), which no model "
        "can learn then: raise train_rows"
    )


@pytest.mark.parametrize("rare", [1, 2, 3])
def test_no_class_is_taken_whole_from_what_trains(
    rare: int, build: TaskBuilder, build_unit_of: Callable[..., DataConfig]
) -> None:
    """One row is stratified into the search set first, where nobody can learn from it."""
    splits = {"train": "train", "report": None, "report_rows": 20}
    task = build(train=[18, 18, 18, rare], splits=splits, train_rows=None, search_rows=20)
    for seed in range(5):
        found = data.load_splits(build_unit_of(task, split_seed=seed), 0)
        trained = Counter(example.label for example in found.train)
        scored = Counter(example.label for example in found.search)
        assert trained[3] >= 1
        assert (scored[3] > 0) == (rare == 3)
