"""A unit that does not beat the majority class has not learned, and that is said first."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from phasewise.cli.app import app
from phasewise.report import build_report
from phasewise.report.evidence import gather_evidence
from phasewise.report.learning import find_learned, find_not_learned, nobody_learned
from phasewise.report.verdicts import ALL_TASKS, judge_tasks
from phasewise.settings import Study
from phasewise.summaries import Baseline, TaskBaselines, write_optimum
from phasewise.tasks.predictions import read_predictions, write_predictions
from synthetic import UnitWriter, write_baselines

TASK, OTHER, THIRD = "rotten_tomatoes", "imdb", "third"
Writer = Callable[..., Study]
CONSTANT = [0.505] * 4  # exactly the majority class of `write_baselines`
GOOD, BETTER = [0.70, 0.71, 0.70, 0.72], [0.80, 0.82, 0.81, 0.82]


@pytest.fixture
def pair(write_study: Writer) -> Study:
    return write_study(methods={"lora": {}, "full_finetune": {}, "dora": {}})


@pytest.fixture
def three_tasks(write_study: Writer, study_content: dict[str, Any]) -> Study:
    content = study_content["tasks"][TASK]
    return write_study(tasks={TASK: content, OTHER: content, THIRD: {**_source(), **content}})


def _source() -> dict[str, Any]:
    return {
        "kind": "classification",
        "source": {"type": "files", "files": {"train": "t.jsonl", "validation": "v.jsonl"}},
        "text": ["text"],
        "labels": ["no", "yes"],
        "metric": "accuracy",
    }


def _fill(study: Study, task: str, **scores: list[float]) -> None:
    write_baselines(study, task)
    for method, values in scores.items():
        UnitWriter(study, task, method).phase2(values)


def _read(study: Study) -> tuple[str, str]:
    """What stands first, and the verdict."""
    text = (build_report(study, study.units_of("all")).parent / "RESULTS.md").read_text("utf-8")
    first, rest = text.split("## Verdict")
    return first, rest.split("### Every comparison")[0]


def test_a_constant_answer_is_said_first_and_leads_no_comparison(pair: Study) -> None:
    _fill(pair, TASK, lora=CONSTANT, full_finetune=BETTER, dora=GOOD)
    (task,) = gather_evidence(pair, pair.units_of("all"))
    (lost,) = find_not_learned(task)
    assert (lost.method, lost.floor_score, lost.learned) == ("lora", 0.505, False)
    assert {unit.method for unit in find_learned(task)} == {"full_finetune", "dora"}
    first, verdict = _read(pair)
    said = (
        f"{TASK}: lora has not learned: accuracy 0.505 (no spread) over 4 seeds does not beat "
        "the majority class (0.505). Try more training rows (128, now 32), more steps or a higher "
        "learning rate (0.003, now 0.001)."
    )
    assert said in first
    assert f"**full_finetune beats dora on {TASK} by" in verdict
    assert "beats lora" not in verdict
    done = CliRunner().invoke(app, ["status", "--study", str(pair.path)])
    assert done.output.startswith(said)


@pytest.mark.parametrize(
    ("scores", "learned"),
    [([0.4, 0.7, 0.6, 0.5], False), (GOOD, True), ([0.6], True), ([0.5], False)],
)
def test_the_whole_interval_must_be_better(pair: Study, scores: list[float], learned: bool) -> None:
    _fill(pair, TASK, lora=scores)
    (task,) = gather_evidence(pair, pair.units_of("all"))
    assert bool(find_learned(task)) == learned
    assert nobody_learned(task) != learned


def test_nobody_has_learned(pair: Study) -> None:
    _fill(pair, TASK, lora=CONSTANT, full_finetune=[0.51, 0.50, 0.50, 0.51])
    first, verdict = _read(pair)
    assert first.count("has not learned") == 2
    assert f"**{TASK}: no method has learned; the best one, " in verdict
    assert "beats" not in verdict.split("comparisons.")[1].replace("No method beats", "")


def test_without_baseline_or_score_nothing_is_judged(pair: Study) -> None:
    (task,) = gather_evidence(pair, pair.units_of("all"))
    assert (find_not_learned(task), nobody_learned(task)) == ((), False)
    UnitWriter(pair, TASK, "lora").phase2(CONSTANT)
    (task,) = gather_evidence(pair, pair.units_of("all"))
    assert find_not_learned(task) == ()


def test_tasks_that_nobody_learned_are_not_pooled(three_tasks: Study) -> None:
    _fill(three_tasks, TASK, lora=GOOD, full_finetune=BETTER)
    _fill(three_tasks, OTHER, lora=CONSTANT, full_finetune=CONSTANT)
    _fill(three_tasks, THIRD, lora=CONSTANT, full_finetune=CONSTANT)
    tasks = gather_evidence(three_tasks, three_tasks.units_of("all"))
    assert ALL_TASKS not in {verdict.task for verdict in judge_tasks(tasks)}
    _, words = _read(three_tasks)
    assert "Over all tasks: nothing is pooled" in words
    assert f"Not pooled, since no method has learned there: {OTHER} and {THIRD}." in words
    _fill(three_tasks, OTHER, lora=GOOD, full_finetune=BETTER)
    tasks = gather_evidence(three_tasks, three_tasks.units_of("all"))
    (pooled,) = [each for each in judge_tasks(tasks) if each.task == ALL_TASKS]
    assert pooled.comparison is not None
    assert pooled.comparison.seeds == 8
    _, words = _read(three_tasks)
    assert f"Not pooled, since no method has learned there: {THIRD}." in words


def test_a_method_that_failed_one_task_leads_no_pooled_headline(three_tasks: Study) -> None:
    for task in (TASK, THIRD):
        _fill(three_tasks, task, lora=GOOD, full_finetune=BETTER)
    _fill(three_tasks, OTHER, lora=CONSTANT, full_finetune=BETTER)
    _, words = _read(three_tasks)
    assert "**Over all tasks: no two methods have learned on every task.**" in words


def test_a_loss_is_held_against_the_untuned_model(write_study: Writer) -> None:
    answers = {
        "kind": "instruction",
        "source": {"type": "files", "files": {"train": "t.jsonl", "validation": "v.jsonl"}},
        "prompt": {"template": "{question}"},
        "metric": "eval_loss",
    }
    study = write_study(tasks={"answers": answers}, methods={"lora": {}, "full_finetune": {}})
    write_baselines(study, "answers")
    path = UnitWriter(study, "answers", "lora").paths.root.parent / "baselines.json"
    content = TaskBaselines.model_validate_json(path.read_text("utf-8"))
    untuned = Baseline(
        name="zero_shot", search_score=2.0, report_score=2.0, note="the model as it was pretrained"
    )
    content = content.model_copy(update={"baselines": (untuned,)})
    path.write_text(content.model_dump_json(), "utf-8")
    for method, losses in {"lora": [1.9, 2.2, 2.0], "full_finetune": [1.5, 1.51, 1.49]}.items():
        UnitWriter(study, "answers", method).phase2(losses)
    (task,) = gather_evidence(study, study.units_of("all"))
    (lost,) = find_not_learned(task)
    assert (lost.method, lost.floor) == ("lora", "the model as it was pretrained")
    assert lost.found.startswith("eval_loss 2.03 [")


def test_a_unit_that_answers_one_class_only_is_named(pair: Study) -> None:
    """The example values say right or wrong; the class is read from the predictions."""
    write_baselines(pair, TASK)
    writer = UnitWriter(pair, TASK, "lora")
    right = np.repeat([[1.0, 0.0]], 50, axis=0).reshape(1, -1).repeat(3, axis=0)
    writer.phase2_examples(right)
    for index in range(3):
        path = writer.paths.run("phase2", f"seed-{index:02d}") / "predictions.jsonl"
        rows = [row._replace(prediction="positive") for row in read_predictions(path)]
        write_predictions(path, rows)
    first, _ = _read(pair)
    assert "(0.505). Every run answers 'positive' to every example. Try more" in first


def test_before_phase_2_the_final_optimum_says_it(pair: Study) -> None:
    write_baselines(pair, TASK)
    writer = UnitWriter(pair, TASK, "lora")
    optimum = writer.phase1([0.5, 0.51, 0.52], confirm=[0.50, 0.51])
    said = f"{TASK}: lora has not learned: so says the search."
    doubtful = optimum.model_copy(update={"learned": False, "learned_why": said})
    write_optimum(writer.paths.optimum, doubtful)
    assert said in _read(pair)[0]
    shown = CliRunner().invoke(app, ["status", "--study", str(pair.path)]).output
    assert shown.startswith(said)
    assert re.search(r"phase2.*NO", shown)  # the other units wait
    assert "…" not in shown
