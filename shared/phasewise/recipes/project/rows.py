"""What a first study says of a file of rows: columns, classes, lengths and splits."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from phasewise.errors import DataError, suggest_nearest
from phasewise.tasks.files import read_file
from phasewise.tasks.table import RowTable
from phasewise.tasks.words import find_words

#: A label column with more classes than this, or than a share of the rows, holds no classes.
_MOST_CLASSES, _MOST_SHARE = 100, 0.5
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
#: From this ratio of the largest class to the smallest on, accuracy hides the small ones.
_UNEVEN = 3
#: Subword tokens of a word or a mark, roughly, in the languages of common tokenizers.
_TOKENS_PER_WORD = 1.3
_SHORTEST, _LONGEST, _STEP = 16, 512, 16
#: Names of the files beside ``train.csv`` that hold the other sets.
_BESIDE = {"validation": ("validation", "valid", "val", "dev"), "test": ("test",)}


@dataclass(frozen=True)
class Lengths:
    """Tokens of the rows' texts, estimated from their words."""

    half: int
    """The median."""
    most: int
    """Of 95 % of the rows, the longest."""
    longest: int

    @classmethod
    def of_words(cls, words: Sequence[int]) -> "Lengths":
        """Estimates them from the rows' numbers of words, the smallest first."""
        ranks = [words[math.ceil(q * len(words)) - 1] for q in (0.5, 0.95, 1)]
        return cls(*(round(_TOKENS_PER_WORD * count) for count in ranks))

    @property
    def proposed(self) -> int:
        """A ``max_length`` that cuts one row in twenty, in steps of 16."""
        steps = math.ceil((self.most + 2) / _STEP)
        return min(_LONGEST, max(_SHORTEST, steps * _STEP))


def find_texts(table: RowTable, named: Sequence[str], label: str) -> list[str]:
    """Returns the text columns: those named, else the one with the longest texts.

    Raises:
        DataError: A named one is missing, or there is no other column than the label's.
    """
    columns = [column for column in table.rows[0] if column != label]
    for column in named:
        if column not in columns:
            near = suggest_nearest(column, columns)
            raise DataError(f"{table.origin}: no column '{column}'{near}")
    if named:
        return list(named)
    if not columns:
        raise DataError(f"{table.origin}: no column beside '{label}'; expected one with the texts")
    return [max(columns, key=lambda column: fmean(len(str(r.get(column))) for r in table.rows))]


def count_classes(table: RowTable, label: str) -> dict[str, int]:
    """Returns each class with its rows: whole numbers in their order, else by name.

    Raises:
        DataError: No such column, an empty cell, or a column that holds no classes.
    """
    values = [table.value(row, label) for row in range(len(table.rows))]
    for row, value in enumerate(values):
        if value is None or not str(value).strip():
            raise table.refuse(row, label, "a class", value)
    counts = Counter(str(value) for value in values)
    if not 2 <= len(counts) <= max(2, min(_MOST_CLASSES, _MOST_SHARE * len(values))):
        others = ", ".join(column for column in table.rows[0] if column != label)
        raise DataError(
            f"{table.origin}: column '{label}' has {len(counts)} different values in {len(values)} "
            f"rows; expected 2 to {_MOST_CLASSES} classes: {_explain_values(counts, others)}"
        )
    whole = all(re.fullmatch(r"-?\d+", name) for name in counts)
    return {name: counts[name] for name in sorted(counts, key=int if whole else None)}


def _explain_values(values: Iterable[str], others: str) -> str:
    """Returns what a column without classes may be."""
    if all(_NUMBER.fullmatch(value.strip()) for value in values):
        return (
            "numbers are not predicted (there is no regression); write classes, such as ranges of "
            f"them, into a column, or is it another one ({others})?"
        )
    return f"is it another column ({others})? answers to be written are --response"


def choose_metric(classes: dict[str, int]) -> tuple[str, str]:
    """Returns the metric that suits classes of these sizes, and why."""
    ratio = max(classes.values()) / min(classes.values())
    if ratio >= _UNEVEN:
        return "macro_f1", f"the largest class has {ratio:.0f} times the rows of the smallest"
    return "accuracy", "the classes have about as many rows; macro_f1 weighs them alike"


def measure_lengths(table: RowTable, texts: Sequence[str]) -> Lengths:
    """Returns how long the rows' texts are.

    Raises:
        DataError: A cell is empty, or no text.
    """
    rows = range(len(table.rows))
    return Lengths.of_words(sorted(measure_words(table, row, texts) for row in rows))


def measure_words(table: RowTable, row: int, columns: Sequence[str]) -> int:
    """Returns how many words a row's texts have.

    Raises:
        DataError: A cell is empty, or no text.
    """
    return sum(len(find_words(table.text(row, each))) for each in columns)


def find_beside(
    train: Path, given: Mapping[str, Path | None], columns: set[str]
) -> dict[str, RowTable]:
    """Returns the other sets: files that were named, else those that lie beside ``train.csv``.

    A file found is taken only if it has the columns asked for: a test file without labels has none
    to report on.
    """
    found = {}
    for split, names in _BESIDE.items():
        named = given.get(split)
        for path in [named] if named else _name_beside(train, names):
            if named or path.is_file():
                table = read_file(path)
                if named or columns <= set(table.rows[0]):
                    found[split] = table
                    break
    return found


def _name_beside(train: Path, names: Sequence[str]) -> list[Path]:
    if "train" not in train.stem:
        return []
    return [train.with_stem(train.stem.replace("train", name)) for name in names]
