"""The metrics: one row for each holds all that settings, search and report know of it.

The function that computes it stands with its kind of task: ``tasks.class_rules``,
``tasks.extractive_qa``, ``tasks.response_rules``.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple

from phasewise.settings.task_kinds import TaskKind

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
    in_points: bool = True
    """Whether it is shown, and pooled over tasks, in points: times 100."""
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
        in_points=False,
    ),
    "perplexity": Metric(
        "exponential of the mean cross-entropy per response token",
        {"instruction": None},
        direction="minimize",
        low=1.0,
        high=math.inf,
        in_points=False,
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


def is_in_points(name: str) -> bool:
    """Returns whether a metric is shown times 100; several metrics pooled into one are not."""
    return name in METRICS and METRICS[name].in_points
