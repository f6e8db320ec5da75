import hashlib
import json
from pathlib import Path

import pytest
from task_rows import write_jsonl

from phasewise.errors import ConfigError, DataError
from phasewise.settings import load_task
from phasewise.tasks.files import read_file
from phasewise.tasks.preparing import prepare_data

COUNT = range(40)
ROWS = [
    {"instruction": f"Say {i}", "input": "", "output": f"{i} é\u2028 \"q\", 'x'\n"} for i in COUNT
]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    copies = [{**ROWS[3], "output": "another answer"}, {**ROWS[5], "instruction": " say 5 "}]
    path = tmp_path / "alpaca" / "train.jsonl"
    path.parent.mkdir()
    write_jsonl(path, [*ROWS, *copies])
    return path


def _rows(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def test_all_rows_without_duplicates_keep_their_order(source: Path, tmp_path: Path) -> None:
    done = prepare_data(load_task("alpaca"), output_dir=tmp_path / "out", data_dir=tmp_path)
    assert (done.rows_read, done.duplicates) == (42, 2)
    assert done.files["sample"].name == "alpaca_full_sample.jsonl"
    assert _rows(done.files["sample"]) == ROWS


def test_sample_and_split_are_disjoint_repeatable_and_in_the_manifest(
    source: Path, tmp_path: Path
) -> None:
    def prepare(folder: str, seed: int = 0) -> dict[str, list[dict[str, str]]]:
        done = prepare_data(
            load_task("alpaca"),
            output_dir=tmp_path / folder,
            num_samples=20,
            train_share=0.9,
            seed=seed,
            data_dir=tmp_path,
        )
        manifest = json.loads(done.manifest.read_text())
        for name, each in manifest["files"].items():
            content = (tmp_path / folder / name).read_bytes()
            assert each["sha256"] == hashlib.sha256(content).hexdigest()
            assert each["rows"] == len(_rows(tmp_path / folder / name))
        assert (manifest["seed"], manifest["duplicates_dropped"]) == (seed, 2)
        assert manifest["equal_by"] == ["instruction", "input"]
        return {part: _rows(path) for part, path in done.files.items()}

    first = prepare("a")
    assert (len(first["train"]), len(first["test"])) == (18, 2)
    told = [row["instruction"] for row in (*first["train"], *first["test"])]
    assert len(set(told)) == 20
    assert prepare("b") == first
    assert prepare("c", seed=1) != first


def test_a_table_stands_in_for_the_source(source: Path, tmp_path: Path) -> None:
    done = prepare_data(
        load_task("alpaca"), output_dir=tmp_path, num_samples=5, table=read_file(source)
    )
    assert done.files["sample"].name == "alpaca_5_sample.jsonl"


@pytest.mark.parametrize(
    ("how", "error", "problem"),
    [
        ({"num_samples": 0}, ConfigError, "1 or more, or -1"),
        ({"train_share": 1.0}, ConfigError, "above 0 and below 1"),
        ({"num_samples": 41}, DataError, "at most 40, the rows without duplicates"),
        ({"num_samples": 3, "train_share": 0.9}, ConfigError, "empty part"),
    ],
)
def test_impossible_numbers_are_refused(
    source: Path, tmp_path: Path, how: dict[str, float], error: type[Exception], problem: str
) -> None:
    with pytest.raises(error, match=problem):
        prepare_data(
            load_task("alpaca"),
            output_dir=tmp_path / "out",
            data_dir=tmp_path,
            **how,  # type: ignore[arg-type]
        )


def test_rows_of_another_form_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.jsonl"
    write_jsonl(path, [{"text": "a"}])
    with pytest.raises(DataError, match="none of the columns instruction, input"):
        prepare_data(load_task("alpaca"), output_dir=tmp_path, table=read_file(path))
