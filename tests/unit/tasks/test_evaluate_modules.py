import pytest
from sklearn.metrics import accuracy_score, f1_score

from phasewise.tasks.evaluate_modules import ClassificationMetric, SquadV2Metric


def test_classification_module_gives_scikit_learns_scores() -> None:
    gold, said = [0, 1, 1, 0, 1], [0, 1, 0, 0, 1]
    scores = ClassificationMetric().compute(predictions=said, references=gold)
    assert scores["accuracy"] == pytest.approx(accuracy_score(gold, said))
    assert scores["f1"] == pytest.approx(f1_score(gold, said))


def test_batches_added_one_by_one_give_the_same() -> None:
    metric = ClassificationMetric()
    metric.add_batch(predictions=[0, 1], references=[0, 0])
    metric.add_batch(predictions=[2], references=[2])
    assert metric.compute(classes=3)["accuracy"] == pytest.approx(2 / 3)


@pytest.mark.parametrize(("threshold", "expected"), [(1.0, 50.0), (0.5, 100.0)])
def test_squad_module_says_no_answer_above_the_threshold(threshold: float, expected: float) -> None:
    """By hand: q1 is right; q2 is unanswerable, so any text scores 0 and no answer 1."""
    predictions = [
        {"id": "q1", "prediction_text": "The Rhine", "no_answer_probability": 0.1},
        {"id": "q2", "prediction_text": "in 1066", "no_answer_probability": 0.9},
    ]
    references = [
        {"id": "q1", "answers": {"text": ["Rhine"], "answer_start": [4]}},
        {"id": "q2", "answers": {"text": [], "answer_start": []}},
    ]
    scores = SquadV2Metric().compute(
        predictions=predictions, references=references, no_answer_threshold=threshold
    )
    assert scores == {"exact": pytest.approx(expected), "f1": pytest.approx(expected), "total": 2}
