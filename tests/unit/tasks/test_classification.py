from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.special import softmax
from sklearn import metrics as reference

from phasewise.errors import InfeasibleRunError
from phasewise.settings import TaskSettings, metrics_of
from phasewise.tasks.class_rules import score_classes
from phasewise.tasks.classification import Classification
from phasewise.tasks.examples import EvalSet, Example
from phasewise.tasks.table import RowTable

KIND = Classification()


def set_of(labels: list[int]) -> EvalSet:
    examples = [Example(f"dev-{i}", (f"text {i}",), label) for i, label in enumerate(labels)]
    return EvalSet(examples, [], np.arange(len(labels)))


def test_scores_by_hand(classification_task: Callable[..., TaskSettings]) -> None:
    # gold 1 1 1 0 0, predicted 1 1 0 1 0: tp 2, fp 1, fn 1, tn 1
    logits = np.array([[0, 1], [0, 2], [3, 0], [0, 1], [1, 0]], dtype=np.float32)
    scored = KIND.score(classification_task(), set_of([1, 1, 1, 0, 0]), logits)
    assert scored.metrics["accuracy"] == pytest.approx(3 / 5)
    assert scored.metrics["f1"] == pytest.approx(4 / 6)
    assert scored.metrics["macro_f1"] == pytest.approx((4 / 6 + 2 / 4) / 2)
    assert scored.metrics["matthews"] == pytest.approx((2 * 1 - 1 * 1) / np.sqrt(3 * 3 * 2 * 2))
    losses = [np.log1p(np.exp(x)) for x in (-1, -2, 3, 1, -1)]
    assert scored.metrics["eval_loss"] == pytest.approx(np.mean(losses))
    assert set(scored.metrics) == set(metrics_of("classification"))
    assert scored.threshold is None


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("seed", range(5))
def test_scores_are_scikit_learns(
    classes: int, seed: int, classification_task: Callable[..., TaskSettings]
) -> None:
    generator = np.random.default_rng(seed)
    gold = [*range(classes), *generator.integers(classes, size=50).tolist()]
    logits = generator.normal(size=(len(gold), classes))
    task = classification_task(labels=[f"class {i}" for i in range(classes)])
    scored = KIND.score(task, set_of(gold), logits).metrics
    said = logits.argmax(axis=1)
    average = "binary" if classes == 2 else "macro"
    assert scored["accuracy"] == pytest.approx(reference.accuracy_score(gold, said))
    assert scored["f1"] == pytest.approx(reference.f1_score(gold, said, average=average))
    macro = reference.f1_score(gold, said, average="macro")
    assert scored["macro_f1"] == pytest.approx(macro)
    assert scored["matthews"] == pytest.approx(reference.matthews_corrcoef(gold, said))
    loss = reference.log_loss(gold, softmax(logits, axis=1))
    assert scored["eval_loss"] == pytest.approx(loss)


def test_a_class_that_is_never_said_scores_zero_without_a_warning() -> None:
    scored = score_classes(np.array([0, 1, 0, 1]), np.zeros(4, dtype=int), 2)
    halves = {"accuracy": 0.5, "balanced_accuracy": 0.5}
    assert scored == pytest.approx({**halves, "f1": 0, "macro_f1": 1 / 3, "matthews": 0})


def test_balanced_accuracy_leaves_out_a_class_without_examples() -> None:
    scored = score_classes(np.array([0, 0, 1]), np.array([0, 1, 1]), 3)
    assert scored["balanced_accuracy"] == (1 / 2 + 1) / 2


@pytest.mark.parametrize("seed", range(5))
def test_macro_scores_average_over_the_classes_that_have_an_example(seed: int) -> None:
    """A prediction of an absent class is no further class: every method is a mean over as many."""
    generator = np.random.default_rng(seed)
    gold, said = generator.choice([0, 1, 3], size=50), generator.integers(5, size=50)
    scored = score_classes(gold, said, 5)
    macro = reference.f1_score(gold, said, average="macro", labels=np.unique(gold))
    assert scored["macro_f1"] == scored["f1"] == pytest.approx(macro)
    with pytest.warns(UserWarning, match="not in y_true"):
        balanced = reference.balanced_accuracy_score(gold, said)
    assert scored["balanced_accuracy"] == pytest.approx(balanced)
    assert score_classes(gold, gold, 5)["macro_f1"] == 1


def test_predictions_name_classes_and_keep_logits(
    classification_task: Callable[..., TaskSettings],
) -> None:
    scored = KIND.score(classification_task(), set_of([1, 0]), np.array([[0.5, 2], [0, 1]]))
    first, second = scored.predictions
    assert first == ("dev-0", "positive", ("positive",), 1.0, 1.0, (0.5, 2.0))
    assert (second.prediction, second.gold, second.correct) == ("positive", ("negative",), 0.0)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_logits_that_are_not_finite_mean_that_the_run_diverged(
    bad: float, classification_task: Callable[..., TaskSettings]
) -> None:
    with pytest.raises(InfeasibleRunError, match="not finite"):
        KIND.score(classification_task(), set_of([0, 1]), np.array([[0, bad], [0, 1]]))


def test_features_are_the_tokenizers_cut_and_not_padded(
    classification_task: Callable[..., TaskSettings], tokenizer: Any
) -> None:
    examples = [Example("0", ("a b", "c"), 1), Example("1", ("a " * 90, "b " * 90), 0)]
    task = classification_task(text=["text", "text"], max_length=32)
    short, long = KIND.tokenize_train(examples, tokenizer, task)
    assert short["labels"] == 1
    ids = short["input_ids"].tolist()
    assert tokenizer.convert_ids_to_tokens(ids) == ["[CLS]", "a", "b", "[SEP]", "c", "[SEP]"]
    assert short["token_type_ids"].tolist() == [0, 0, 0, 0, 1, 1]
    assert long["attention_mask"].sum() == 32
    assert KIND.tokenize_train([], tokenizer, task) == []


@pytest.mark.parametrize(
    ("labels", "values", "expected"),
    [
        (["negative", "positive"], [0, 1], [0, 1]),
        (["negative", "positive"], ["positive", "negative"], [1, 0]),
        (["negative", "positive"], ["1", " 0"], [1, 0]),  # CSV
        (["1", "2", "3"], ["3", "1", "2"], [2, 0, 1]),  # names that look like numbers are names
        (["1", "2", "3"], [3, 1, 2], [2, 0, 1]),
    ],
)
def test_labels_are_read_by_index_or_name(
    labels: list[str],
    values: list[Any],
    expected: list[int],
    classification_task: Callable[..., TaskSettings],
) -> None:
    rows = [{"text": f"t{i}", "label": value} for i, value in enumerate(values)]
    table = RowTable("file", rows, range(1, len(rows) + 1), "line")
    examples = KIND.parse(classification_task(labels=labels), "train", table)
    assert [example.label for example in examples] == expected


def test_the_model_learns_the_names_of_the_classes(
    classification_task: Callable[..., TaskSettings],
) -> None:
    assert KIND.model_kwargs(classification_task()) == {
        "num_labels": 2,
        "id2label": {0: "negative", 1: "positive"},
        "label2id": {"negative": 0, "positive": 1},
        "problem_type": "single_label_classification",
    }
