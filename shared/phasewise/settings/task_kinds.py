"""The kinds of tasks: one row for each; what it computes stands in its module of ``tasks``."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

TaskKind = Literal["classification", "extractive_qa", "instruction"]


class TaskTraits(NamedTuple):
    """What sets a kind of task apart, wherever that is asked."""

    auto_class: str
    """Name of the transformers class that loads a model for it."""
    architectures: tuple[str, ...]
    """How names of transformers' classes of such models end."""
    peft_type: str
    """PEFT's task type, which makes an adapter reload without further arguments."""
    pipeline_tag: str
    """The hub's name of the kind."""
    baselines: tuple[str, ...]
    """What its tasks are compared with in Phase 0: names of ``training.baselines``."""
    packs: bool = True
    """Whether the packed engine knows its loss."""
    has_classes: bool = False
    """Whether the answer is one of the task's labels."""
    has_contexts: bool = False
    """Whether examples ask about a context, read in overlapping windows, and may go unanswered."""
    generates: bool = False
    """Whether the model writes the answer, as a language model with its pretrained head."""


TASK_KINDS: Mapping[TaskKind, TaskTraits] = {
    "classification": TaskTraits(
        "AutoModelForSequenceClassification",
        ("ForSequenceClassification",),
        "SEQ_CLS",
        "text-classification",
        ("majority_class", "tfidf_logistic_regression", "frozen_encoder_probe", "entailment"),
        has_classes=True,
    ),
    "extractive_qa": TaskTraits(
        "AutoModelForQuestionAnswering",
        ("ForQuestionAnswering",),
        "QUESTION_ANS",
        "question-answering",
        ("no_answer",),
        packs=False,
        has_contexts=True,
    ),
    "instruction": TaskTraits(
        "AutoModelForCausalLM",
        ("ForCausalLM", "LMHeadModel"),
        "CAUSAL_LM",
        "text-generation",
        ("pretrained",),
        generates=True,
    ),
}

#: transformers class whose head is pretrained too, the language model's own.
CAUSAL_LM = TASK_KINDS["instruction"].auto_class
#: transformers class whose head tells classes apart.
CLASSIFIER = TASK_KINDS["classification"].auto_class
