"""The contestants: ``python -m benchmarks.quality.contestants NAME FOLDER``.

FOLDER holds ``train.csv``, ``test.csv`` (no labels) and ``terms.json``; a contestant writes
``predicted.json``, the class of each test row.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

#: Share of the seconds that a search may take; the rest is for training what it found.
SEARCH_SHARE = 0.6


class Terms(NamedTuple):
    """What all contestants get."""

    folder: Path
    train: pd.DataFrame
    test: pd.DataFrame
    model: str
    """Folder of the pretrained model."""
    seconds: float
    seed: int
    deadline: float
    """``time.monotonic()`` at which the seconds are over."""

    @property
    def texts(self) -> list[str]:
        """Text columns, one or two."""
        return [name for name in self.train.columns if name != "label"]


def _join(rows: pd.DataFrame, texts: list[str]) -> list[str]:
    return list(rows[texts].agg(" ".join, axis=1))


def linear(terms: Terms, class_weight: str | None = None) -> list[str]:
    """TF-IDF of words and pairs of words, then logistic regression."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
        LogisticRegression(max_iter=1000, class_weight=class_weight),
    )
    model.fit(_join(terms.train, terms.texts), terms.train["label"])
    return list(model.predict(_join(terms.test, terms.texts)))


def linear_balanced(terms: Terms) -> list[str]:
    """The same with weights that make up for rare classes."""
    return linear(terms, "balanced")


def phasewise(terms: Terms) -> list[str]:
    """As the documentation has it for files: search, train the final models, predict."""
    folder, out = terms.folder, terms.folder / "search"
    rows = terms.train.sample(frac=1, random_state=terms.seed)
    held = max(len(rows) // 5, 20)
    rows[:held].to_csv(folder / "validation.csv", index=False)
    rows[held:].to_csv(folder / "fit.csv", index=False)

    def call(*arguments: str) -> None:
        subprocess.run((sys.executable, "-m", "phasewise", *arguments), check=True, cwd=folder)

    columns = [part for name in terms.texts for part in ("--text-column", name)]
    call(
        "search", "--base-model", terms.model, "--train-file", "fit.csv", "--validation-file",
        "validation.csv", "--output-dir", str(out), "--seed", str(terms.seed), *columns,
        "--label-column", "label", "--num-trials", "1000", "--device", "cpu",
        "--time-budget-hours", str(SEARCH_SHARE * terms.seconds / 3600),
    )  # fmt: skip
    call("train", "--study", str(out / "study.yaml"), "--all-data", "--output", "final")
    call("predict", "--model", "final", "--input", "test.csv", "--output", "predicted.csv")
    return list(pd.read_csv(folder / "predicted.csv")["prediction"])


def setfit(terms: Terms) -> list[str]:
    """SetFit's own trainer with its defaults, stopped when the time is over."""
    from datasets import Dataset
    from setfit import SetFitModel, Trainer, TrainingArguments
    from transformers import TrainerCallback

    class Stop(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            control.should_training_stop = time.monotonic() > terms.deadline - 10

    model = SetFitModel.from_pretrained(terms.model)
    rows = {"text": _join(terms.train, terms.texts), "label": list(terms.train["label"])}
    arguments = TrainingArguments(
        output_dir=str(terms.folder / "setfit"), num_epochs=1, seed=terms.seed, report_to="none",
        save_strategy="no", show_progress_bar=False,
    )  # fmt: skip
    trainer = Trainer(
        model=model, args=arguments, train_dataset=Dataset.from_dict(rows), callbacks=[Stop()]
    )
    trainer.train()
    return [str(each) for each in model.predict(_join(terms.test, terms.texts))]


def _contestants() -> dict[str, Callable[[Terms], list[str]]]:
    from benchmarks.quality import trainers

    return {
        "phasewise": phasewise,
        "hyperparameter_search": trainers.optuna_search,
        "ray-asha": trainers.ray_search,
        "published default": trainers.published_default,
        "setfit": setfit,
        "tf-idf": linear,
        "tf-idf balanced": linear_balanced,
    }


def main() -> None:
    """Runs one contestant."""
    name, folder = sys.argv[1], Path(sys.argv[2]).resolve()
    said = json.loads((folder / "terms.json").read_text())
    terms = Terms(
        folder=folder,
        train=pd.read_csv(folder / "train.csv"),
        test=pd.read_csv(folder / "test.csv"),
        deadline=time.monotonic() + said["seconds"],
        **said,
    )
    predicted = _contestants()[name](terms)
    (folder / "predicted.json").write_text(json.dumps(predicted))


if __name__ == "__main__":
    main()
