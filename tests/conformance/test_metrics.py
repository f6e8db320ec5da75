"""Every metric is what its row says: range, direction, and the mean of its examples' values."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.special import softmax
from sklearn import metrics as reference

from phasewise.settings import METRICS, TaskKind, TaskSettings, metrics_of
from phasewise.tasks.class_rules import CLASS_RULES
from phasewise.tasks.examples import EvalSet, Example, ResponseOutputs, Scored
from phasewise.tasks.kinds import get_kind
from phasewise.tasks.response_rules import RESPONSE_RULES

CLASSES = 3
PAIRS = [(name, kind) for name, metric in METRICS.items() for kind in metric.kinds]
WORDS = ("the", "town", "of", "Bonn", "7", '[{"name": "f", "arguments": {}}]')


def build_task(kind: TaskKind, metric: str) -> TaskSettings:
    own: dict[str, dict[str, Any]] = {
        "classification": {"text": ["text"], "labels": [f"class {i}" for i in range(CLASSES)]},
        "extractive_qa": {},
        "instruction": {
            "prompt": {"template": "{text}"},
            "generation": {"report_metrics": [n for n in METRICS if METRICS[n].generated]},
        },
    }
    source = {"type": "files", "files": {"train": "train.jsonl"}}
    content = {"name": "task", "kind": kind, "source": source, "metric": metric}
    return TaskSettings.model_validate({**content, **own[kind]})


def score_classes(task: TaskSettings, right: float, seed: int) -> Scored:
    """Scores random logits; ``right`` is added to that of the class meant."""
    generator = np.random.default_rng(seed)
    gold = [*range(CLASSES), *generator.integers(CLASSES, size=30).tolist()]
    logits = generator.normal(size=(len(gold), CLASSES)) + right * np.eye(CLASSES)[gold]
    examples = [Example(str(i), ("text",), label) for i, label in enumerate(gold)]
    return get_kind(task).score(task, EvalSet(examples, [], np.arange(len(gold))), logits)


def score_spans(task: TaskSettings, right: float, seed: int) -> Scored:
    """Scores random logits of spans of five words; ``right`` is added to the answer's."""
    generator = np.random.default_rng(seed)
    context = "one two three four five"
    bounds = np.array([(-1, -1), (0, 3), (4, 7), (8, 13), (14, 18), (19, 23)])
    token = generator.integers(6, size=30)
    start, end = generator.normal(size=(2, 30, 6)) + right * np.eye(6)[token]
    examples = [
        Example(
            str(i),
            ("which", context),
            int(t == 0),
            () if t == 0 else (context[bounds[t][0] : bounds[t][1]],),
        )
        for i, t in enumerate(token)
    ]
    nulls = np.zeros(30, dtype=np.int64)
    rows: list[dict[str, Any]] = [{}] * 30
    eval_set = EvalSet(examples, rows, np.arange(30), [bounds] * 30, nulls)
    return get_kind(task).score(task, eval_set, (start, end), 0.0)


def score_responses(task: TaskSettings, right: float, seed: int) -> Scored:
    """Scores random losses and words; with ``right`` the losses are small and all words right."""
    generator = np.random.default_rng(seed)
    meant = [" ".join(generator.choice(WORDS, size=4)) + f" {WORDS[5]} 7" for _ in range(30)]
    said = meant if right else [" ".join(generator.choice(WORDS, size=4)) for _ in meant]
    tokens = generator.integers(1, 9, size=30)
    losses = generator.exponential(1 / (1 + right), size=30) * tokens
    examples = [Example(str(i), ("", "text", text)) for i, text in enumerate(meant)]
    hits = tokens if right else generator.binomial(tokens, 0.3)
    outputs = ResponseOutputs(losses, tokens, tuple(said), hits)
    return get_kind(task).score(task, EvalSet(examples, [], np.arange(30)), outputs)


SCORE: dict[TaskKind, Callable[[TaskSettings, float, int], Scored]] = {
    "classification": score_classes,
    "extractive_qa": score_spans,
    "instruction": score_responses,
}


@pytest.mark.parametrize(("name", "kind"), PAIRS)
@pytest.mark.parametrize("seed", range(4))
def test_a_metric_lies_in_its_range(name: str, kind: TaskKind, seed: int) -> None:
    metric = METRICS[name]
    for right in (0.0, 1.0, 20.0):
        score = SCORE[kind](build_task(kind, name), right, seed).metrics[name]
        assert metric.low <= score <= metric.high


@pytest.mark.parametrize(("name", "kind"), PAIRS)
def test_right_answers_are_better_and_reach_the_good_end(name: str, kind: TaskKind) -> None:
    metric, task = METRICS[name], build_task(kind, name)
    guessed, right = (SCORE[kind](task, sure, 0).metrics[name] for sure in (0.0, 1e9))
    assert (right > guessed) == (metric.direction == "maximize")
    best = metric.high if metric.direction == "maximize" else metric.low
    assert right == pytest.approx(best, abs=1e-6)


@pytest.mark.parametrize(("name", "kind"), PAIRS)
@pytest.mark.parametrize("seed", range(4))
def test_the_examples_values_average_to_the_metric(name: str, kind: TaskKind, seed: int) -> None:
    field = METRICS[name].kinds[kind]
    scored = SCORE[kind](build_task(kind, name), 0.0, seed)
    if field is None:
        assert not METRICS[name].share, "a share is a mean over examples"
        return
    values = [getattr(each, field) for each in scored.predictions]
    assert np.mean(values) == pytest.approx(scored.metrics[name])
    if METRICS[name].share:
        assert set(values) <= {0.0, 1.0}


@pytest.mark.parametrize("kind", SCORE)
def test_a_kind_computes_the_metrics_that_name_it(kind: TaskKind) -> None:
    names = metrics_of(kind)
    scored = SCORE[kind](build_task(kind, names[0]), 0.0, 0)
    parts = {name for name in scored.metrics if name.startswith(("has_ans_", "no_ans_"))}
    assert set(scored.metrics) - parts == set(names)


def test_every_rule_has_its_row() -> None:
    assert {*CLASS_RULES, "eval_loss"} == set(metrics_of("classification"))
    assert set(RESPONSE_RULES) == {name for name in METRICS if METRICS[name].generated}


#: scikit-learn's own, of (gold, predicted, probabilities).
REFERENCE: dict[str, Callable[[Any, Any, Any], float]] = {
    "accuracy": lambda gold, said, _: reference.accuracy_score(gold, said),
    "f1": lambda gold, said, _: reference.f1_score(gold, said, average="macro"),
    "macro_f1": lambda gold, said, _: reference.f1_score(gold, said, average="macro"),
    "matthews": lambda gold, said, _: reference.matthews_corrcoef(gold, said),
    "balanced_accuracy": lambda gold, said, _: reference.balanced_accuracy_score(gold, said),
    "eval_loss": lambda gold, _, shares: reference.log_loss(gold, shares),
}


@pytest.mark.parametrize("name", metrics_of("classification"))
@pytest.mark.parametrize("seed", range(4))
def test_metrics_of_classes_are_scikit_learns(name: str, seed: int) -> None:
    scored = score_classes(build_task("classification", name), 0.5, seed)
    gold = [each.gold[0] for each in scored.predictions]
    said = [each.prediction for each in scored.predictions]
    shares = softmax([each.logits for each in scored.predictions], axis=1)
    assert scored.metrics[name] == pytest.approx(REFERENCE[name](gold, said, shares))
