"""What a method gains on a cheap baseline: on the same examples where they are known."""

from collections.abc import Callable

import numpy as np
import pytest

from phasewise.report.evidence import gather_evidence
from phasewise.report.gains import compare_with_baseline, describe_gain, find_strongest
from phasewise.runs import baseline_predictions_path, task_baselines_path
from phasewise.settings import Study
from phasewise.statistics import compare_crossed
from phasewise.summaries import TaskBaselines
from phasewise.tasks.examples import ExamplePrediction
from phasewise.tasks.predictions import write_predictions
from synthetic import UnitWriter, write_baselines

TASK = "rotten_tomatoes"
Writer = Callable[..., Study]


@pytest.fixture
def study(write_study: Writer) -> Study:
    return write_study(methods={"lora": {}})


def _describe(study: Study) -> str:
    (task,) = gather_evidence(study, study.units_of("all"))
    return " ".join(describe_gain(study, task, task.units[0]))


def test_without_answers_the_interval_is_over_seeds(study: Study) -> None:
    write_baselines(study, TASK)
    UnitWriter(study, TASK, "lora").phase2([0.76, 0.77, 0.75, 0.78])
    # mean 0.765 - 0.685, standard error 0.00645, t(3) = 3.18
    assert _describe(study) == (
        "Against the strongest cheap baseline, frozen-encoder probe (0.685), lora gains +0.080 "
        "[0.059, 0.101] over seeds alone."
    )


def test_a_gain_that_may_be_none_has_not_paid(study: Study) -> None:
    write_baselines(study, TASK)
    UnitWriter(study, TASK, "lora").phase2([0.66, 0.78, 0.65, 0.71])
    assert _describe(study).startswith(
        "No method is shown to beat the strongest cheap baseline, frozen-encoder probe (0.685): "
        "the best one, lora, gains +0.015 [−0.080, 0.110]"
    )
    UnitWriter(study, TASK, "lora").phase2([0.9])  # no interval: the gain itself counts
    assert "lora gains +0.215." in _describe(study)


def test_both_are_compared_on_the_same_examples(study: Study) -> None:
    write_baselines(study, TASK)
    chance = np.random.default_rng(0)
    ease = chance.normal(0.8, 1.5, 200)
    right = (chance.logistic(size=(4, 200)) < ease + 0.5).astype(float)
    probe = (chance.logistic(size=200) < ease).astype(float)
    UnitWriter(study, TASK, "lora").phase2_examples(right)
    path = task_baselines_path(study, TASK)
    content = TaskBaselines.model_validate_json(path.read_text("utf-8"))
    scored = [
        each.model_copy(update={"report_score": float(probe.mean())})
        if each.name == "frozen_encoder_probe"
        else each
        for each in content.baselines
    ]
    path.write_text(content.model_copy(update={"baselines": tuple(scored)}).model_dump_json())
    rows = [ExamplePrediction(f"row-{i}", "", ("",), ok, ok, ()) for i, ok in enumerate(probe)]
    answers = baseline_predictions_path(study, TASK, "frozen_encoder_probe")
    write_predictions(answers, rows)
    (task,) = gather_evidence(study, study.units_of("all"))
    strongest = find_strongest(task)
    assert strongest is not None
    found = compare_with_baseline(study, task.units[0], strongest)
    assert found.interval == compare_crossed(right, np.tile(probe, (4, 1))).interval
    assert found.examples == 200
    write_predictions(answers, rows[1:])  # other examples: its score is taken as given
    given = compare_crossed(right, np.full((4, 200), probe.mean())).interval
    assert compare_with_baseline(study, task.units[0], strongest).interval == pytest.approx(given)
    assert given != found.interval


def test_a_task_without_baselines_has_no_gain(study: Study) -> None:
    UnitWriter(study, TASK, "lora").phase2([0.76, 0.77])
    assert _describe(study) == ""
