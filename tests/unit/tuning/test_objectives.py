"""Objectives: parsing, gains, fronts."""

import pytest

from phasewise.settings import SearchSettings, parse_objective
from phasewise.summaries import ScoreSummary
from phasewise.tuning.objectives import Component, Objective, pareto_front

NOTHING = ScoreSummary(scores=(), mean=None, sd=None, standard_error=None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, ("metric", ())),
        ("multi:eval_loss,accuracy", ("multi", ("eval_loss", "accuracy"))),
        ("pareto:accuracy, train_seconds", ("pareto", ("accuracy", "train_seconds"))),
    ],
)
def test_objective_is_parsed(text: str | None, expected: object) -> None:
    assert parse_objective(text) == expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"objective": "accuracy"}, "expected multi:a,b or pareto:a,b"),
        ({"objective": "multi:accuracy"}, "two or more"),
        ({"objective": "best:a,b"}, "expected multi:a,b"),
        ({"objective": "multi:a,a"}, "names one of them twice"),
        ({"objective": "multi:a,b", "objective_weights": [1]}, "1 given; expected one per name"),
        ({"objective": "pareto:a,b", "objective_weights": [1, 2]}, "one per name of multi"),
        ({"objective": "multi:a,b", "objective_weights": [1, 0]}, "must be above 0"),
        ({"objective": "pareto:a,b", "sampler": "cmaes"}, "cmaes has one objective"),
    ],
)
def test_bad_objective_is_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SearchSettings(**settings)


def test_gain_has_the_direction_and_the_scale_of_the_default() -> None:
    assert Component("accuracy", 1, 0.5).gain(0.6) == pytest.approx(0.2)
    assert Component("eval_loss", 1, 0.5).gain(0.4) == pytest.approx(0.2)
    assert Component("memory_gb", 1, 2.0).gain(3.0) == pytest.approx(-0.5)
    assert Component("matthews", 1, 0.0).gain(0.3) == pytest.approx(0.3)


def test_pruner_judges_a_sum_of_metrics_but_not_one_with_a_cost() -> None:
    loss, accuracy = Component("eval_loss", 0.5, 0.5), Component("accuracy", 0.5, 0.5)
    both = Objective("multi", (loss, accuracy), NOTHING)
    assert both.value_during({"eval_loss": 0.25, "accuracy": 0.75}) == pytest.approx(0.5)
    assert both.value_during({"accuracy": 0.75}) is None
    costly = Objective("multi", (accuracy, Component("memory_gb", 0.5, 1.0)), NOTHING)
    assert costly.value_during({"accuracy": 0.75}) is None
    front = Objective("pareto", (accuracy, loss), NOTHING)
    assert front.value_during({"eval_loss": 0.25, "accuracy": 0.75}) is None
    assert front.directions == ["maximize", "minimize"]


def test_front_keeps_ties_and_drops_the_dominated() -> None:
    points = [(0.9, 5.0), (0.8, 4.0), (0.8, 4.0), (0.85, 6.0), (0.7, 1.0)]
    assert pareto_front(points, (1, -1)) == [0, 1, 2, 4]
    assert pareto_front([], (1, -1)) == []
