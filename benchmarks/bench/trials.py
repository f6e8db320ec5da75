"""The list of trials that every tool gets: rows, settings and how they are scored.

Written by the harness, read by the peers; imports the standard library only.
"""

import json
from pathlib import Path
from typing import Any, Literal, NamedTuple

TRIALS_FILE = "trials.json"
SCORES_FILE = "scores.json"


class Row(NamedTuple):
    """One tokenized example, not padded."""

    input_ids: list[int]
    labels: int | list[int]
    """The class; or a target a token, -100 where there is none."""


class Trial(NamedTuple):
    """One configuration; the units are those of ``phasewise.settings.Hyperparameters``."""

    learning_rate: float
    batch_size: int
    warmup_ratio: float
    weight_decay: float
    lr_scheduler_type: str
    lora_rank: int
    lora_alpha: float
    lora_dropout: float


class TrialList(NamedTuple):
    """What is to be trained and scored."""

    model: str
    """Folder of the pretrained model."""
    layers: int | None
    """Layers that are kept; None: all."""
    auto_class: str
    """Name of the transformers class."""
    task_type: str
    """PEFT's."""
    classes: int | None
    """Of a classifier."""
    metric: Literal["accuracy", "eval_loss"]
    """What is scored on the search rows."""
    targets: tuple[str, ...]
    """Full names of the adapted linear layers."""
    use_dora: bool
    epochs: int
    """Passes over the train rows, for every trial."""
    evaluations: int
    """Scorings of the search rows in a trial, evenly spread; the last at its end."""
    evaluation_batch_size: int
    max_grad_norm: float
    seed: int
    """Of weights, dropout and the order of rows, for every trial."""
    trials: tuple[Trial, ...]
    train: tuple[Row, ...]
    search: tuple[Row, ...]


def write_trials(folder: Path, trials: TrialList) -> None:
    """Writes ``trials.json``."""
    content = trials._asdict()
    content["trials"] = [trial._asdict() for trial in trials.trials]
    (folder / TRIALS_FILE).write_text(json.dumps(content, indent=1), encoding="utf-8")


def read_trials(folder: Path) -> TrialList:
    """Reads ``trials.json``."""
    content: dict[str, Any] = json.loads((folder / TRIALS_FILE).read_text(encoding="utf-8"))
    content["trials"] = tuple(Trial(**trial) for trial in content["trials"])
    for name in ("train", "search"):
        content[name] = tuple(Row(*row) for row in content[name])
    content["targets"] = tuple(content["targets"])
    return TrialList(**content)


def write_scores(folder: Path, scores: list[float | None]) -> None:
    """Writes each trial's metric on the search rows; None where it was stopped early."""
    (folder / SCORES_FILE).write_text(json.dumps(scores), encoding="utf-8")


def read_scores(folder: Path) -> list[float | None]:
    """Reads ``scores.json``."""
    scores: list[float | None] = json.loads((folder / SCORES_FILE).read_text(encoding="utf-8"))
    return scores
