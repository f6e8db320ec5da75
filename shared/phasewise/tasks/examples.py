"""The values that pass between reading, splitting, tokenizing and scoring."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

#: One row of model input: ``input_ids``, ``attention_mask``, ``token_type_ids`` if the tokenizer
#: gives them (each an int64 array of the row's own length, not padded), and the targets as ints:
#: ``labels``, or ``start_positions`` and ``end_positions``; for instruction ``labels`` is an array
#: of the row's length, -100 on the prompt.
Feature = dict[str, Any]


class Example(NamedTuple):
    """One checked row of a task."""

    id: str
    texts: tuple[str, ...]
    """classification: one text or a pair; extractive_qa: question, context; instruction: system
    message (may be empty), prompt, response."""
    label: int = 0
    """classification: index of the class. extractive_qa: 1 if unanswerable."""
    answers: tuple[str, ...] = ()
    """extractive_qa: the accepted answers; empty if unanswerable."""
    answer_starts: tuple[int, ...] = ()
    """extractive_qa: where each answer starts in the context, characters."""
    line: int = 0
    """instruction: where the row stands in its file, 1-based."""
    group: str = ""
    """What ``source.group`` names: rows of one group stay in one set; empty: none."""


@dataclass(frozen=True)
class EvalSet:
    """A set to score: examples, and the features whose outputs score them, in order.

    Attributes:
        examples: What is scored.
        features: Model inputs. classification: one per example. extractive_qa: one per window.
        example_of: int64 (features,): index of the example that a feature comes from.
        offsets: extractive_qa: for each feature int64 (tokens, 2), start and end character of
            each token in the context, -1 for tokens that are no part of it. Else empty.
        null_positions: extractive_qa: int64 (features,), the token that stands for "no answer".
            Else empty.
        notes: What a person should know about the set, such as that it is smaller than wanted.
    """

    examples: Sequence[Example]
    features: Sequence[Feature]
    example_of: NDArray[np.int64]
    offsets: Sequence[NDArray[np.int64]] = field(default_factory=list)
    null_positions: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    notes: tuple[str, ...] = ()


class ExamplePrediction(NamedTuple):
    """What a run said of one example: a line of its predictions file."""

    id: str
    prediction: str
    """Class name, answer or response; empty means "no answer", or that none was written."""
    gold: tuple[str, ...]
    """Class name, accepted answers (empty: unanswerable), or the row's response."""
    correct: float
    """1 or 0: right class, or exact match. instruction: the task's metric; for a loss the
    example's share in it: its summed loss over the mean number of response tokens."""
    f1: float
    """extractive_qa: overlap with the best accepted answer, 0..1. instruction: ROUGE-L if it was
    asked for. Else the same as correct."""
    logits: tuple[float, ...]
    """classification: one per class. extractive_qa: best span, no answer. instruction: summed loss
    of the response, nats, and its number of tokens."""


class Scored(NamedTuple):
    """Scores of an evaluation set."""

    metrics: dict[str, float]
    predictions: list[ExamplePrediction]
    threshold: float | None = None
    """extractive_qa: no-answer threshold fitted on, or given for, this set; else None."""


@dataclass(frozen=True)
class ResponseOutputs:
    """What a decoder returns for an instruction set.

    Attributes:
        losses: float64 (examples,): negative log likelihood of each response, nats, summed.
        tokens: int64 (examples,): response tokens, the end token with them.
        texts: What it wrote itself, one per example; None if it was not asked to.
        right: int64 (examples,): response tokens that no other token is more likely than; None if
            they were not counted.
    """

    losses: NDArray[np.float64]
    tokens: NDArray[np.int64]
    texts: tuple[str, ...] | None = None
    right: NDArray[np.int64] | None = None


#: What a model returns for an evaluation set, features in order. classification: float
#: (features, classes). extractive_qa: two of float (features, tokens), start and end; rows shorter
#: than the longest may be padded with anything.
Outputs = NDArray[Any] | tuple[NDArray[Any], NDArray[Any]] | ResponseOutputs
