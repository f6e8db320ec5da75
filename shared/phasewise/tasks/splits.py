"""Three disjoint sets: train sample, search set, report set.

Rows that share a text form a group (see ``groups``), and a group is never divided, so that no text
stands in two sets.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phasewise.errors import DataError
from phasewise.seeding import derive_seed
from phasewise.settings import TaskSettings
from phasewise.tasks.examples import Example
from phasewise.tasks.groups import (
    Grouping,
    Keys,
    SetName,
    TextsOf,
    describe_overlap,
    group_equal_rows,
    group_rows,
)


@dataclass(frozen=True)
class Splits:
    """What training and searching may see; the report set is not reachable from here.

    Attributes:
        train: The train sample.
        search: The search set.
        pool_rows: Rows that the train sample was drawn from.
        messages: What a person should know, such as a search set smaller than wanted.
    """

    train: Sequence[Example]
    search: Sequence[Example]
    pool_rows: int
    messages: tuple[str, ...]


@dataclass(frozen=True)
class CarvedRows:
    """Row numbers of the three sets in the train split, each in file order."""

    report: list[int]
    search: list[int]
    pool: list[int]
    messages: tuple[str, ...]


def split_examples(
    task: TaskSettings,
    examples: Sequence[Example],
    texts_of: TextsOf,
    *,
    split_seed: int,
    subset_seed: int,
    search: Sequence[Example] | None = None,
    all_data: bool = False,
    carved: CarvedRows | None = None,
) -> Splits:
    """Returns train sample and search set of the rows of a task's train split.

    Args:
        task: Says how many rows each set gets.
        examples: All rows of the train split.
        texts_of: What no two sets may share.
        split_seed: Draws search set and carved report set; one per study.
        subset_seed: Draws the train sample.
        search: The search set where a split of its own is it; None: carve it.
        all_data: The train sample is every row outside the report set, the search set's too.
        carved: What ``carve_rows`` returned of these rows, for many train samples; None: carve.

    Raises:
        DataError: Too few rows for the sets that the task asks for.
    """
    carved = carved or carve_rows(task, examples, texts_of, split_seed)
    pool = [examples[row] for row in carved.pool]
    wanted = len(pool) if task.train_rows is None else task.train_rows
    sample = _draw_rows([e.label for e in pool], wanted, np.random.default_rng(subset_seed))
    scored = [examples[row] for row in carved.search] if search is None else list(search)
    return Splits(
        train=[*pool, *scored] if all_data else [pool[row] for row in sample],
        search=scored,
        pool_rows=len(pool),
        messages=carved.messages,
    )


def carve_report_set(
    task: TaskSettings,
    examples: Sequence[Example],
    texts_of: TextsOf,
    split_seed: int,
) -> list[Example]:
    """Returns the report set of a task without an official one.

    Only ``report_set`` may call this: it writes the ledger.
    """
    return [examples[row] for row in carve_rows(task, examples, texts_of, split_seed).report]


def limit_report_rows(
    task: TaskSettings, examples: Sequence[Example], split_seed: int
) -> list[Example]:
    """Returns an official report set, or ``report_rows`` of it, drawn by stratum."""
    wanted = task.splits.report_rows
    if wanted is None or wanted >= len(examples):
        return list(examples)
    generator = np.random.default_rng(derive_seed(split_seed, "report"))
    return [examples[row] for row in _draw_rows([e.label for e in examples], wanted, generator)]


def carve_rows(
    task: TaskSettings,
    examples: Sequence[Example],
    texts_of: TextsOf,
    split_seed: int,
) -> CarvedRows:
    """Returns which rows each set gets, whatever the train sample; see ``split_examples``.

    Shared texts stay together unless a set would get less than half of its rows: chains of texts
    longer than the set has room for.
    """
    by_text = group_rows(task, examples, texts_of)
    carved, is_filled = _carve(task, examples, by_text, split_seed)
    if not is_filled and max(map(len, by_text.keys), default=1) > 1:
        by_text = group_equal_rows(task, examples, texts_of)
        carved, _ = _carve(task, examples, by_text, split_seed)
    _check_not_empty(task, carved, by_text)
    return carved


def _check_not_empty(task: TaskSettings, carved: CarvedRows, grouping: Grouping) -> None:
    for name in ("report", "search"):
        if getattr(task.splits, name) is None and not getattr(carved, name):
            most = max(Counter(grouping.groups).values())
            raise DataError(
                f"task '{task.name}': the {name} set gets no rows: up to {most} rows of a text or "
                f"of a group stay together; expected groups smaller than the set: raise "
                f"{'splits.' if name == 'report' else ''}{name}_rows"
            )


def _carve(
    task: TaskSettings, examples: Sequence[Example], grouping: Grouping, split_seed: int
) -> tuple[CarvedRows, bool]:
    """Returns the sets, and whether each got at least half of the rows it asks for."""
    groups, keys, messages = grouping
    labels = [example.label for example in examples]
    rows = list(range(len(examples)))
    report: list[int] = []
    is_filled = True
    if task.splits.report is None:
        wanted = task.splits.report_rows or 0
        if wanted >= len(rows):
            raise DataError(
                f"task '{task.name}': splits.report_rows {wanted} leaves nothing of "
                f"{len(rows)} rows to train on; lower it"
            )
        seed = derive_seed(split_seed, "report")
        report, rows = _take_groups(rows, groups, labels, wanted, seed)
        is_filled = 2 * len(report) >= wanted
        messages += _describe_shared(keys, report, rows, "report")
    if task.splits.search is not None:
        return CarvedRows(report, [], rows, messages), is_filled
    wanted, room = _search_size(task, len(rows))
    size, seed = min(wanted, room), derive_seed(split_seed, "search")
    search, pool = _take_groups(rows, groups, labels, size, seed)
    messages += _describe_shared(keys, search, pool, "search")
    small = (_describe_small_search(task, len(search), wanted),) if wanted > room else ()
    is_filled &= 2 * len(search) >= size
    return CarvedRows(report, search, pool, (*small, *messages)), is_filled


def _describe_shared(
    keys: Sequence[Keys], taken: Sequence[int], left: Sequence[int], name: SetName
) -> tuple[str, ...]:
    """Returns what a set shares with the rows it was carved from, where it could not be helped."""
    rows, others = [keys[row] for row in taken], [keys[row] for row in left]
    return describe_overlap(rows, others, f"the {name} set", "rows that train on")


def _search_size(task: TaskSettings, available: int) -> tuple[int, int]:
    """Returns the rows wanted for the search set, and how many it may have at most.

    The most is what the train sample leaves, or half where the train sample is "the rest".
    """
    train = task.train_rows
    score, error = task.expected_score, task.search_standard_error
    if task.search_rows is not None:
        wanted = task.search_rows
    elif task.search_fraction is not None:
        wanted = max(2, round(task.search_fraction * (train or available)))
    else:
        wanted = math.ceil(round(score * (1 - score) / error**2, 6))
    room = available // 2 if train is None else available - train
    if room < 2:
        raise DataError(
            f"task '{task.name}': train_rows {train} of {available} rows left after the report "
            "set leave none for the search set; expected at least 2: lower train_rows"
        )
    return wanted, room


def _describe_small_search(task: TaskSettings, rows: int, wanted: int) -> str:
    reached = math.sqrt(task.expected_score * (1 - task.expected_score) / rows)
    return (
        f"search set has {rows} rows, {wanted} were wanted: "
        f"standard error about {100 * reached:.2f} points"
    )


def _take_groups(
    rows: Sequence[int],
    groups: Sequence[int],
    labels: Sequence[int],
    wanted: int,
    seed: int,
) -> tuple[list[int], list[int]]:
    """Returns (taken, left), both in file order: whole groups, stratified, never over ``wanted``.

    The stratum of a group is its highest label: one unanswerable question marks its context. A
    stratum keeps its last group, so that no class is taken whole from what trains.
    """
    members: dict[int, list[int]] = {}
    for row in rows:
        members.setdefault(groups[row], []).append(row)
    strata: dict[int, list[list[int]]] = {}
    for group in members.values():
        strata.setdefault(max(labels[row] for row in group), []).append(group)
    names = sorted(strata)
    sizes = [sum(map(len, strata[name])) for name in names]
    generator = np.random.default_rng(seed)
    taken: set[int] = set()
    for name, quota in zip(names, _share(sizes, wanted), strict=True):
        left = len(strata[name])
        for index in generator.permutation(left):
            group = strata[name][index]
            if len(group) <= quota and left > 1:
                taken.update(group)
                quota -= len(group)
                left -= 1
    return [row for row in rows if row in taken], [row for row in rows if row not in taken]


def _draw_rows(labels: Sequence[int], wanted: int, generator: np.random.Generator) -> list[int]:
    """Returns ``wanted`` row numbers, shares of the labels kept, in file order."""
    if wanted >= len(labels):
        return list(range(len(labels)))
    array: NDArray[np.int64] = np.asarray(labels)
    names = np.unique(array)
    sizes = [int((array == name).sum()) for name in names]
    drawn: list[int] = []
    for name, quota in zip(names, _share(sizes, wanted), strict=True):
        drawn.extend(generator.permutation(np.flatnonzero(array == name))[:quota].tolist())
    return sorted(drawn)


def _share(sizes: Sequence[int], wanted: int) -> list[int]:
    """Returns how many of ``wanted`` each stratum gives: by size, largest remainders first.

    A stratum gives at least one where ``wanted`` allows it, so that no class vanishes.
    """
    exact = [wanted * size / sum(sizes) for size in sizes]
    quotas = [int(share) for share in exact]
    by_remainder = sorted(range(len(sizes)), key=lambda i: (quotas[i] - exact[i], i))
    for index in by_remainder[: wanted - sum(quotas)]:
        quotas[index] += 1
    if wanted >= len(sizes):
        for index, quota in enumerate(quotas):
            if quota == 0:
                quotas[quotas.index(max(quotas))] -= 1
                quotas[index] = 1
    return quotas
