"""Which rows must be in one set: those of one text (of a pair: of either), and of one group.

Texts link rows in chains: a pair shares its first text with one row and its second with another,
and all three stay together. What is not divided is a connected component of that graph.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

from phasewise.errors import DataError
from phasewise.settings import TaskSettings
from phasewise.tasks.examples import Example

#: The sets that may have a split of their own, by their keys in ``splits``.
SetName = Literal["train", "search", "report"]
#: What no two sets may share: the texts of a row, and its group.
Keys = tuple[str, ...]
#: Returns the texts of a row that must not be in two sets.
TextsOf = Callable[[Example], Keys]
#: Opens the key of a group; it counts as white space, which texts have evened out.
_GROUP_MARK = "\x1f"


class Grouping(NamedTuple):
    """How the rows of a split hang together."""

    groups: Sequence[int]
    """(rows,): the number of each row's group, which is not divided."""
    keys: Sequence[Keys]
    """(rows,): what each row should not share with another set."""
    messages: tuple[str, ...]
    """What a person should know."""


def keys_of(example: Example, texts_of: TextsOf) -> Keys:
    """Returns a row's texts and, where it has one, its group."""
    return (*texts_of(example), *_group_key(example))


def group_rows(task: TaskSettings, examples: Sequence[Example], texts_of: TextsOf) -> Grouping:
    """Returns what must not be divided of a split's rows.

    Where shared texts link more than half of all rows in one chain (one hypothesis may fit every
    premise), only equal rows and named groups stay together, and that is told.

    Raises:
        DataError: A named group holds more than half of all rows.
    """
    keys = [keys_of(example, texts_of) for example in examples]
    linked = _link(keys)
    if 2 * _count_largest(linked) <= len(examples) or max(map(len, keys), default=1) == 1:
        return Grouping(linked, keys, _describe_links(task, examples, keys, texts_of))
    return group_equal_rows(task, examples, texts_of)


def group_equal_rows(
    task: TaskSettings, examples: Sequence[Example], texts_of: TextsOf
) -> Grouping:
    """Returns the same where chains of shared texts are too long to be kept together.

    Raises:
        DataError: A named group holds more than half of all rows.
    """
    keys = [keys_of(example, texts_of) for example in examples]
    groups = _link([(_GROUP_MARK.join(sorted(texts_of(e))), *_group_key(e)) for e in examples])
    most = _count_largest(groups)
    if task.source.group is not None and 2 * most > len(examples):
        raise DataError(
            f"task '{task.name}': source.group: column '{task.source.group}' keeps {most} of "
            f"{len(examples)} rows together; expected groups of at most half of the rows"
        )
    largest = _count_largest(_link(keys))
    told = f"shared texts link {largest} of {len(examples)} rows in one chain: only equal rows"
    return Grouping(groups, keys, (f"{told} are sure to share one set",))


def check_no_overlap(task: TaskSettings, texts: Mapping[SetName, Sequence[Keys]]) -> None:
    """Refuses splits that share whole rows.

    Args:
        task: The task.
        texts: Set to the texts of its split's rows; of those that have a split of their own.

    Raises:
        DataError: With the number of rows and an example.
    """
    for first, second in itertools.combinations(texts, 2):
        shared = set(texts[first]) & set(texts[second])
        if not shared:
            continue
        rows = [row for row, each in enumerate(texts[first]) if each in shared]
        other = texts[second].index(texts[first][rows[0]])
        quote = " | ".join(texts[first][rows[0]]).replace("\x1f", " | ")[:60]
        raise DataError(
            f"task '{task.name}': duplicate texts: {len(rows)} rows of split "
            f"'{getattr(task.splits, first)}' are in the {second} split "
            f"'{getattr(task.splits, second)}' too, such as row {rows[0] + 1} = {second} row "
            f"{other + 1} ({quote!r}); expected disjoint sets: remove them from one of the two"
        )


def describe_split_overlaps(
    task: TaskSettings, keys: Mapping[SetName, Sequence[Keys]]
) -> tuple[str, ...]:
    """Returns what official splits share beyond whole rows: a text of a pair, or a group."""
    told: list[str] = []
    for first, second in itertools.combinations(keys, 2):
        names = getattr(task.splits, second), getattr(task.splits, first)
        told += describe_overlap(
            keys[second], keys[first], f"the {second} split '{names[0]}'", f"split '{names[1]}'"
        )
    return tuple(told)


def describe_overlap(
    rows: Sequence[Keys], others: Sequence[Keys], name: str, other_name: str
) -> tuple[str, ...]:
    """Returns how many rows share a text or a group with others, in a sentence; () if none do."""
    known = {key for keys in others for key in keys}
    shared = sum(not known.isdisjoint(keys) for keys in rows)
    if not shared:
        return ()
    what = _name_keys([*rows, *others])
    return (f"{shared} of {len(rows)} rows of {name} share {what} with {other_name}",)


def _group_key(example: Example) -> Keys:
    return (_GROUP_MARK + example.group,) if example.group else ()


def _link(keys: Sequence[Keys]) -> list[int]:
    """Returns (rows,) numbers, equal for rows that share a key, directly or through others."""
    numbers: dict[str, int] = {}
    edges = [
        (row, numbers.setdefault(key, len(numbers))) for row, own in enumerate(keys) for key in own
    ]
    if len(edges) == len(keys):  # one key a row: nothing to follow, and SciPy is slow to import
        return [number for _, number in edges]
    import numpy as np
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    row, key = np.array(edges).T
    nodes = len(keys) + len(numbers)
    graph = coo_array((np.ones(len(edges)), (row, len(keys) + key)), shape=(nodes, nodes))
    components: list[int] = connected_components(graph, directed=False)[1][: len(keys)].tolist()
    return components


def _count_largest(groups: Sequence[int]) -> int:
    return max(Counter(groups).values(), default=0)


def _describe_links(
    task: TaskSettings, examples: Sequence[Example], keys: Sequence[Keys], texts_of: TextsOf
) -> tuple[str, ...]:
    if max(map(len, keys), default=1) > 1:
        counts = Counter(key for own in keys for key in set(own))
        linked = sum(any(counts[key] > 1 for key in own) for own in keys)
        what = _name_keys(keys)
        return (f"{linked} rows share {what} with another row; they share one set",) * bool(linked)
    repeated = len(keys) - len(set(map(texts_of, examples)))
    if not repeated or task.traits.has_contexts:  # there the text is a context
        return ()
    return (f"{repeated} rows repeat another row's text; equal texts share one set",)


def _name_keys(keys: Sequence[Keys]) -> str:
    grouped = any(own and own[-1].startswith(_GROUP_MARK) for own in keys)
    return "a text or a group" if grouped else "a text"
