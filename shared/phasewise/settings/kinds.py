"""The kinds of tasks and the metrics that they compute: one row for each.

What a kind computes stands in its module of ``tasks``; the functions of its metrics stand there
too, in ``tasks.class_rules``, ``tasks.squad_rules`` and ``tasks.response_rules``.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple

TaskKind = Literal["classification", "extractive_qa", "instruction"]


class TaskTraits(NamedTuple):
    """What sets a kind of task apart, wherever that is asked."""

    implementation: str
    """Module and class in ``tasks`` that read, tokenize and score it: ``tasks.kinds.TaskKind``."""
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
        "classification.Classification",
        "AutoModelForSequenceClassification",
        ("ForSequenceClassification",),
        "SEQ_CLS",
        "text-classification",
        ("majority_class", "tfidf_logistic_regression", "frozen_encoder_probe", "entailment"),
        has_classes=True,
    ),
    "extractive_qa": TaskTraits(
        "extractive_qa.ExtractiveQA",
        "AutoModelForQuestionAnswering",
        ("ForQuestionAnswering",),
        "QUESTION_ANS",
        "question-answering",
        ("no_answer",),
        packs=False,
        has_contexts=True,
    ),
    "instruction": TaskTraits(
        "instruction.Instruction",
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

Direction = Literal["maximize", "minimize"]
#: Which field of a ``tasks.examples.ExamplePrediction`` holds an example's value.
ExampleField = Literal["correct", "f1"]


class Metric(NamedTuple):
    """What is known of a metric without computing it."""

    words: str
    """What it measures, for the report."""
    kinds: Mapping[TaskKind, ExampleField | None]
    """The kinds of tasks that compute it; for each the field whose mean over the examples is the
    metric, None where it is no mean over examples. An instruction task's ``correct`` is that of
    its own metric only."""
    direction: Direction = "maximize"
    low: float = 0.0
    high: float = 1.0
    """The ends of its range; infinite where it has none."""
    share: bool = False
    """Whether it is the share of examples that are right, with a binomial standard error."""
    generated: bool = False
    """Whether it scores responses that the model writes itself."""


#: What measures of overlap count; ``tasks.words`` finds them.
_WORDS = "words (characters where a script has no blanks: Chinese, Japanese, Thai …)"

#: A kind's first metric is its default.
METRICS: Mapping[str, Metric] = {
    "accuracy": Metric(
        "share of examples whose class is right", {"classification": "correct"}, share=True
    ),
    "f1": Metric(
        "F1 of the second of two classes, the macro mean of more classes; of answers their mean "
        f"overlap in {_WORDS}",
        {"classification": None, "extractive_qa": "f1"},
    ),
    "macro_f1": Metric(
        "mean F1 of the classes that the set has an example of", {"classification": None}
    ),
    "matthews": Metric("Matthews correlation coefficient", {"classification": None}, low=-1.0),
    "balanced_accuracy": Metric(
        "mean over the classes that the set has an example of, of the share of their examples "
        "whose class is right",
        {"classification": None},
    ),
    "exact": Metric(
        "share of questions whose answer is right to the word",
        {"extractive_qa": "correct"},
        share=True,
    ),
    "eval_loss": Metric(
        "mean cross-entropy in nats, per example or per response token",
        {"classification": None, "instruction": "correct"},
        direction="minimize",
        high=math.inf,
    ),
    "perplexity": Metric(
        "exponential of the mean cross-entropy per response token",
        {"instruction": None},
        direction="minimize",
        low=1.0,
        high=math.inf,
    ),
    "eval_accuracy": Metric(
        "share of response tokens that are the model's most likely next token",
        {"instruction": None},
    ),
    "exact_answer": Metric(
        "share of responses that end in the right number",
        {"instruction": "correct"},
        share=True,
        generated=True,
    ),
    "function_match": Metric(
        "share of responses that call the right functions with the right arguments",
        {"instruction": "correct"},
        share=True,
        generated=True,
    ),
    "rouge_l": Metric(
        f"ROUGE-L: mean F-measure of the longest common subsequence of {_WORDS}",
        {"instruction": "f1"},
        generated=True,
    ),
}

#: Metrics of responses that the model writes itself.
GENERATED_METRICS = tuple(name for name, metric in METRICS.items() if metric.generated)

if TYPE_CHECKING:  # a type checker reads no table
    MetricName = str
    GeneratedMetric = str
else:
    MetricName = Literal[tuple(METRICS)]
    GeneratedMetric = Literal[GENERATED_METRICS]


def metrics_of(kind: TaskKind) -> tuple[str, ...]:
    """Returns the metrics that a kind of task computes, its default first."""
    return tuple(name for name, metric in METRICS.items() if kind in metric.kinds)


def is_pooled(name: str) -> bool:
    """Returns whether tasks of this metric are pooled: they share a scale that ends at 1."""
    return name in METRICS and METRICS[name].high == 1.0
