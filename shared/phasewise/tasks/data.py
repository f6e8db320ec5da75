"""The sets of a task, ready for training and scoring; the report set only through its ledger."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from phasewise.provenance import fingerprint_data
from phasewise.runs import DataConfig, Role, hash_content
from phasewise.settings import TaskSettings, describe_meaning
from phasewise.tasks.cache import CACHE_FORMAT, hash_tokenizer, load_or_build
from phasewise.tasks.class_coverage import (
    describe_scored_classes,
    describe_trained_classes,
    require_classes,
)
from phasewise.tasks.examples import EvalSet, Example, Feature
from phasewise.tasks.groups import (
    SetName,
    check_no_overlap,
    describe_split_overlaps,
    keys_of,
)
from phasewise.tasks.instruction import Instruction
from phasewise.tasks.kinds import TaskKind, get_kind
from phasewise.tasks.ledger import append_access
from phasewise.tasks.sources import read_split
from phasewise.tasks.splits import (
    CarvedRows,
    Splits,
    carve_report_set,
    carve_rows,
    limit_report_rows,
    split_examples,
)
from phasewise.tasks.table import RowTable


@dataclass(frozen=True)
class TaskData:
    """What a run trains on and what Phase 1 scores.

    Attributes:
        kind: How the task is scored.
        train: Features of the train sample, with targets.
        train_examples: The train sample as text (extractive_qa: fewer than features).
        search: The search set.
        messages: What a person should know about the sets.
    """

    kind: TaskKind
    train: Sequence[Feature]
    train_examples: Sequence[Example]
    search: EvalSet
    messages: tuple[str, ...]

    @property
    def train_rows(self) -> int:
        """Examples behind ``train``."""
        return len(self.train_examples)


def load_task_data(
    config: DataConfig, tokenizer: Any, subset_seed: int, train_length: int | None = None
) -> TaskData:
    """Returns the tokenized train sample and search set of a task, from the cache if it is there.

    Args:
        config: Names task, rows and split seed.
        tokenizer: The model's; its hash is part of the cache key.
        subset_seed: ``RunSeeds.subset``: draws the train sample.
        train_length: Tokens of a training example; None: the task's ``max_length``, which the
            search set always keeps, so that all runs are scored on the same text.

    Raises:
        DataError: The data are missing, malformed, too few, or shared between sets.
    """
    kind, task, key = get_kind(config.task), config.task, _cache_key(config, tokenizer)

    def _build_train() -> EvalSet:
        examples = load_splits(config, subset_seed).train
        length = train_length or task.max_length
        shortened = task.model_copy(update={"max_length": length})
        features = kind.tokenize_train(examples, tokenizer, shortened)
        return replace(
            kind.tokenize_eval([], tokenizer, task),
            examples=examples,
            features=features,
            notes=_describe_cuts(shortened, "train sample", examples, tokenizer),
        )

    def _build_search() -> EvalSet:
        splits = load_splits(config, subset_seed)
        eval_set = kind.tokenize_eval(splits.search, tokenizer, task)
        cuts = _describe_cuts(task, "search set", splits.search, tokenizer)
        form = kind.describe_prompts(tokenizer, task) if isinstance(kind, Instruction) else ()
        return replace(eval_set, notes=(*splits.messages, *cuts, *form))

    search = load_or_build(f"{key}-search", _build_search)
    at_length = "" if train_length is None else f"-{train_length}"
    train = load_or_build(f"{key}-{_train_name(config, subset_seed)}{at_length}", _build_train)
    return TaskData(kind, train.features, train.examples, search, (*search.notes, *train.notes))


def load_train_eval(config: DataConfig, tokenizer: Any, subset_seed: int, rows: int) -> EvalSet:
    """Returns the train sample's first rows as a set to score, for ``Evaluation.train_metrics``."""

    def _build() -> EvalSet:
        examples = load_splits(config, subset_seed).train[:rows]
        return get_kind(config.task).tokenize_eval(examples, tokenizer, config.task)

    name = _train_name(config, subset_seed)
    return load_or_build(f"{_cache_key(config, tokenizer)}-{name}-eval-{rows}", _build)


def open_report_data(
    config: DataConfig,
    tokenizer: Any,
    *,
    ledger: Path | None,
    run_label: str,
    reason: str,
    role: Role | None = None,
) -> EvalSet:
    """Returns the tokenized report set and notes the access in the ledger.

    ``run_label``, ``reason`` and ``role``: for the ledger; None: another process tells it.

    Raises:
        DataError: The data are missing or malformed.
    """

    def _build() -> EvalSet:
        examples = _read_report(config)
        eval_set = get_kind(config.task).tokenize_eval(examples, tokenizer, config.task)
        cuts = _describe_cuts(config.task, "report set", examples, tokenizer)
        return replace(eval_set, notes=cuts)

    report = load_or_build(f"{_cache_key(config, tokenizer)}-report", _build)
    task, rows = config.task.name, len(report.examples)
    if ledger is not None:
        append_access(ledger, task=task, run=run_label, reason=reason, rows=rows, role=role)
    return report


def load_splits(config: DataConfig, subset_seed: int) -> Splits:
    """Returns train sample and search set as text, everything checked.

    Raises:
        DataError: The data are missing, malformed, too few, or shared between sets.
    """
    return _split(
        config.task,
        config.data_dir,
        config.data_fingerprint,
        config.split_seed,
        subset_seed,
        all_data=config.all_data,
    )


def check_task_data(task: TaskSettings, data_dir: Path | None, split_seed: int = 0) -> Splits:
    """Reads and checks all data of a task, without a model; what ``load_task_data`` would refuse.

    Args:
        task: The task.
        data_dir: Folder that replaces the hub; None for the source itself.
        split_seed: Any; only which rows go where depends on it.

    Raises:
        DataError: The data are missing, malformed, too few, or shared between sets.
    """
    return _split(task, data_dir, fingerprint_data(task, data_dir), split_seed, subset_seed=0)


def _describe_cuts(
    task: TaskSettings, name: str, examples: Sequence[Example], tokenizer: Any
) -> tuple[str, ...]:
    kind = get_kind(task)
    if not isinstance(kind, Instruction):
        return ()
    return tuple(f"{name}: {cut}" for cut in kind.describe_cuts(examples, tokenizer, task))


def _split(
    task: TaskSettings,
    data_dir: Path | None,
    fingerprint: str,
    split_seed: int,
    subset_seed: int,
    *,
    all_data: bool = False,
) -> Splits:
    text, search = task.model_dump_json(), task.splits.search
    carved = _carve_checked(text, data_dir, fingerprint, split_seed)
    splits = split_examples(
        task,
        _parse_split(text, task.splits.train, data_dir, fingerprint),
        get_kind(task).texts_apart,
        split_seed=split_seed,
        subset_seed=subset_seed,
        search=None if search is None else _parse_split(text, search, data_dir, fingerprint),
        all_data=all_data,
        carved=carved,
    )
    untaught = describe_trained_classes(task, splits.train)
    return replace(splits, messages=(*splits.messages, *untaught))


@lru_cache(maxsize=1)  # every train sample of a task needs it, and it reads every row
def _carve_checked(
    task_json: str, data_dir: Path | None, fingerprint: str, split_seed: int
) -> CarvedRows:
    """Checks that the splits share no text, and divides the rows of the train split."""
    task = TaskSettings.model_validate_json(task_json)
    texts_of = get_kind(task).texts_apart
    named: dict[SetName, str | None] = {
        "train": task.splits.train,
        "search": task.splits.search,
        "report": task.splits.report,
    }
    read = {
        name: _parse_split(task_json, split, data_dir, fingerprint)
        for name, split in named.items()
        if split is not None
    }
    check_no_overlap(task, {name: [texts_of(e) for e in read[name]] for name in read})
    keys = {name: [keys_of(e, texts_of) for e in read[name]] for name in read}
    carved = carve_rows(task, read["train"], texts_of, split_seed)
    overlaps = describe_split_overlaps(task, keys)
    absent = _describe_absent_classes(task, read, carved, split_seed)
    return replace(carved, messages=(*carved.messages, *overlaps, *absent))


def _describe_absent_classes(
    task: TaskSettings,
    read: Mapping[SetName, Sequence[Example]],
    carved: CarvedRows,
    split_seed: int,
) -> tuple[str, ...]:
    drawn = {"the search set": carved.search, "the report set": carved.report}
    scored = {name: [read["train"][row] for row in rows] for name, rows in drawn.items()}
    if "search" in read:
        scored["the search set"] = list(read["search"])
    if "report" in read:
        scored["the report set"] = limit_report_rows(task, read["report"], split_seed)
    return describe_scored_classes(task, scored)


def _read_report(config: DataConfig) -> list[Example]:
    """Returns the report set unlogged; its callers write the ledger."""
    task = config.task
    if task.splits.report is None:
        train = _read_examples(config, task.splits.train)
        return carve_report_set(task, train, get_kind(task).texts_apart, config.split_seed)
    return limit_report_rows(task, _read_examples(config, task.splits.report), config.split_seed)


def _read_examples(config: DataConfig, split: str) -> tuple[Example, ...]:
    text = config.task.model_dump_json()
    return _parse_split(text, split, config.data_dir, config.data_fingerprint)


@lru_cache(maxsize=3)  # a worker draws many train samples of one task, one after the other
def _parse_split(
    task_json: str, split: str, data_dir: Path | None, fingerprint: str
) -> tuple[Example, ...]:
    """Reads a split once per process; ``fingerprint`` only keys the cache."""
    task = TaskSettings.model_validate_json(task_json)
    table = read_split(task, split, data_dir)
    examples = get_kind(task).parse(task, split, table)
    require_classes(task, split, examples, table.origin)
    column = task.source.group
    if column is None:
        return tuple(examples)
    groups = [_read_group(table, index, column) for index in range(len(table.rows))]
    return tuple(e._replace(group=name) for e, name in zip(examples, groups, strict=True))


def _read_group(table: RowTable, index: int, column: str) -> str:
    value = table.value(index, column)
    if value is None or not str(value).strip():
        raise table.refuse(index, column, "the name of the row's group", value)
    return str(value)


def _train_name(config: DataConfig, subset_seed: int) -> str:
    """Returns what names a train sample in the cache; all data are the same for every seed."""
    return "train-all" if config.all_data else f"train-{subset_seed}"


def _cache_key(config: DataConfig, tokenizer: Any) -> str:
    """Returns a name for what tokenized data depend on: task, rows, split, tokenizer, code."""
    content = {
        "format": CACHE_FORMAT,
        "data": config.model_copy(update={"all_data": False}),
        "tokenizer": hash_tokenizer(tokenizer),
    }
    return f"{config.task.name}-{hash_content(describe_meaning(content))}"
