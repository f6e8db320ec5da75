from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from task_rows import classification_rows, write_jsonl

from phasewise.errors import DataError
from phasewise.provenance import fingerprint_data
from phasewise.runs import DataConfig
from phasewise.settings import TaskSettings
from phasewise.tasks import data
from phasewise.tasks.examples import Example
from phasewise.tasks.splits import Splits

TaskBuilder = Callable[..., TaskSettings]
UnitBuilder = Callable[..., DataConfig]


def pair_rows(premises: int, prefix: str = "") -> list[dict[str, Any]]:
    """Three guesses of each premise; of every second premise one stands first."""
    rows = []
    for number in range(premises):
        for guess in range(3):
            pair = (f"{prefix}premise {number}", f"{prefix}guess {guess} of {number}")
            first, second = pair[::-1] if number % 2 and guess == 1 else pair
            rows.append({"first": first, "second": second, "label": guess % 2})
    return rows


@pytest.fixture
def pair_task(classification_task: TaskBuilder, tmp_path: Path) -> TaskBuilder:
    """Builds a task of pairs on 60 premises to train and 10 others to report."""

    def build(
        rows: list[dict[str, Any]], dev: list[dict[str, Any]] | None = None, **changes: Any
    ) -> TaskSettings:
        write_jsonl(tmp_path / "train.jsonl", rows)
        write_jsonl(tmp_path / "dev.jsonl", pair_rows(10, "dev ") if dev is None else dev)
        sizes = {"train_rows": 60, "search_rows": 60}
        return classification_task(**{"text": ["first", "second"], **sizes, **changes})

    return build


def single_texts(examples: Any) -> set[str]:
    return {text for example in examples for text in example.texts}


def load(unit: DataConfig) -> Splits:
    return data.load_splits(unit, subset_seed=1)


def test_neither_text_of_a_pair_is_in_two_sets(
    pair_task: TaskBuilder, build_unit_of: UnitBuilder
) -> None:
    splits = {"train": "train", "report": None, "report_rows": 30}
    task = pair_task(pair_rows(60), splits=splits)
    for seed in range(5):
        unit = build_unit_of(task, split_seed=seed)
        drawn, report = load(unit), data._read_report(unit)
        assert (len(drawn.train), len(drawn.search), len(report)) == (60, 60, 30)
        sets = [single_texts(each) for each in (drawn.train, drawn.search, report)]
        assert not sets[0] & sets[1]
        assert not (sets[0] | sets[1]) & sets[2]
        told = "180 rows share a text with another row; they share one set"
        assert drawn.messages == (told,)


def test_texts_link_rows_in_chains_and_swapped(
    pair_task: TaskBuilder, build_unit_of: UnitBuilder
) -> None:
    chains = [
        {"first": f"{n} {a}", "second": f"{n} {b}", "label": n % 2}
        for n in range(40)
        for a, b in ("ab", "bc", "cd", "ba")
    ]
    for seed in range(5):
        drawn = load(build_unit_of(pair_task(chains), split_seed=seed))
        of_chain = [
            {text.split()[0] for text in single_texts(s)} for s in (drawn.train, drawn.search)
        ]
        assert not of_chain[0] & of_chain[1]
        assert len(of_chain[1]) == 14, (
            "chains of four rows: seven of each class, an eighth passes 30"
        )


def test_what_official_splits_share_is_counted(
    pair_task: TaskBuilder, build_unit_of: UnitBuilder
) -> None:
    swapped = [{**r, "first": r["second"], "second": r["first"]} for r in pair_rows(60)[:6]]
    shared = [{"first": "premise 7", "second": "a new guess", "label": 0}]
    dev = [*swapped, *shared, *pair_rows(10, "dev ")]
    messages = load(build_unit_of(pair_task(pair_rows(60), dev))).messages
    told = "7 of 37 rows of the report split 'dev' share a text with split 'train'"
    assert messages[-1] == told


def test_where_one_text_links_most_rows_the_overlap_is_counted(
    pair_task: TaskBuilder, build_unit_of: UnitBuilder
) -> None:
    rows = [
        {"first": f"premise {n}", "second": "someone sleeps", "label": n % 2} for n in range(150)
    ]
    rows += [{**r, "first": r["second"], "second": r["first"]} for r in rows[:50]]
    drawn = load(build_unit_of(pair_task(rows)))
    assert len(drawn.search) == 60
    pairs = [{tuple(sorted(e.texts)) for e in each} for each in (drawn.train, drawn.search)]
    assert not pairs[0] & pairs[1], "a pair and its swapped form are equal rows"
    assert drawn.messages == (
        "shared texts link 200 of 200 rows in one chain: only equal rows are sure to share one set",
        "60 of 60 rows of the search set share a text with rows that train on",
    )


def test_chains_longer_than_a_set_leave_it_its_rows(
    pair_task: TaskBuilder, build_unit_of: UnitBuilder
) -> None:
    """Three answers to 90 questions: no chain holds most rows, and none fits the search set."""
    rows = [
        {"first": f"why, {n}?", "second": f"because {n % 3}", "label": n % 2} for n in range(90)
    ]
    drawn = load(build_unit_of(pair_task(rows, train_rows=30, search_rows=20)))
    assert (len(drawn.train), len(drawn.search)) == (30, 20)
    assert drawn.messages[0].startswith("shared texts link 30 of 90 rows in one chain")


def test_a_named_column_keeps_rows_together(
    classification_task: TaskBuilder, build_unit_of: UnitBuilder, tmp_path: Path
) -> None:
    rows = [{**row, "author": n // 4} for n, row in enumerate(classification_rows(60, "t"))]
    dev = [{**row, "author": 14 + n} for n, row in enumerate(classification_rows(20, "d"))]
    write_jsonl(tmp_path / "train.jsonl", rows)
    write_jsonl(tmp_path / "dev.jsonl", dev)
    plain = classification_task()
    source = {**plain.source.model_dump(mode="json"), "group": "author"}
    task = classification_task(source=source)
    for seed in range(5):
        drawn = load(build_unit_of(task, split_seed=seed))
        authors = [{example.group for example in each} for each in (drawn.train, drawn.search)]
        assert not authors[0] & authors[1]
        assert len(drawn.search) == 8, "two of four rows each; a third would pass ten"
        assert drawn.messages[-1] == (
            "1 of 20 rows of the report split 'dev' share a text or a group with split 'train'"
        )
    assert fingerprint_data(task, None) != fingerprint_data(plain, None)


@pytest.mark.parametrize(
    ("author", "message"),
    [
        (lambda n: n // 40, "column 'author' keeps 40 of 60 rows together"),
        (lambda n: n // 20, "the search set gets no rows: up to 20 rows of a text or of a group"),
        (lambda n: None if n == 2 else n, "line 3: column 'author': expected the name of the row"),
        (lambda n: " ", "line 1: column 'author'"),
    ],
)
def test_groups_that_cannot_be_kept_are_refused(
    author: Callable[[int], Any], message: str, classification_task: TaskBuilder, tmp_path: Path
) -> None:
    rows = [{**row, "author": author(n)} for n, row in enumerate(classification_rows(60, "t"))]
    dev = [{**row, "author": f"d{n}"} for n, row in enumerate(classification_rows(20, "d"))]
    source = {**classification_task().source.model_dump(mode="json"), "group": "author"}
    write_jsonl(tmp_path / "train.jsonl", rows)
    write_jsonl(tmp_path / "dev.jsonl", dev)
    with pytest.raises(DataError, match=message):
        data.check_task_data(classification_task(source=source), None)


def test_the_group_of_a_row_comes_back_from_the_cache(
    classification_task: TaskBuilder, build_unit_of: UnitBuilder, tmp_path: Path, tokenizer: Any
) -> None:
    source = {**classification_task().source.model_dump(mode="json"), "group": "text"}
    unit = build_unit_of(classification_task(source=source))
    first, second = (data.load_task_data(unit, tokenizer, 1).search.examples for _ in range(2))
    assert first == second
    assert all(isinstance(each, Example) and each.group for each in second)
