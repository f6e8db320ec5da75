"""Simulated studies with and without an effect: what the report says about each, in words."""

import csv
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from phasewise.report import build_report
from phasewise.report.content import gather_content
from phasewise.report.evidence import gather_evidence
from phasewise.report.sentences import describe_seeds, describe_verdict
from phasewise.report.verdicts import ALL_TASKS, Verdict, judge_tasks
from phasewise.settings import Study
from phasewise.statistics import SeedsNeeded
from synthetic import UnitWriter

TASK = "rotten_tomatoes"
OTHER = "imdb"
Writer = Callable[..., Study]


def _draw(
    rates: dict[str, float],
    *,
    seeds: int,
    examples: int = 600,
    seed: int = 0,
    spread: float = 0.004,
) -> dict[str, np.ndarray]:
    """Right or wrong per method, (seeds, examples); examples are shared, some always right."""
    rng = np.random.default_rng(seed)
    hard = rng.random(examples)
    drawn = {}
    for method, rate in rates.items():
        limit = rate + rng.normal(0, 0.004, (seeds, 1))
        drawn[method] = (hard + rng.normal(0, 0.05, (seeds, examples)) < limit).astype(float)
    return drawn


def _write(study: Study, task: str, drawn: dict[str, np.ndarray]) -> None:
    for method, right in drawn.items():
        UnitWriter(study, task, method).phase2_examples(right)


def _judge(study: Study) -> tuple[Verdict, ...]:
    return judge_tasks(gather_evidence(study, study.units_of("all")))


def _read(study: Study) -> str:
    return (build_report(study, study.units_of("all")).parent / "RESULTS.md").read_text("utf-8")


@pytest.fixture
def pair(write_study: Writer) -> Study:
    return write_study(methods={"lora": {}, "full_finetune": {}}, validation={"seeds": 6})


@pytest.fixture
def two_tasks(write_study: Writer, study_content: dict[str, Any]) -> Study:
    content = study_content["tasks"][TASK]
    return write_study(
        tasks={TASK: content, OTHER: content},
        methods={"lora": {}, "full_finetune": {}, "dora": {}},
        validation={"seeds": 6},
    )


def test_a_planted_effect_of_three_points_is_named(pair: Study) -> None:
    _write(pair, TASK, _draw({"lora": 0.81, "full_finetune": 0.78}, seeds=6))
    (verdict,) = _judge(pair)
    assert (verdict.first, verdict.second) == ("lora", "full_finetune")
    assert verdict.comparison is not None
    assert verdict.comparison.interval is not None
    assert verdict.comparison.interval.low < 0.03 < verdict.comparison.interval.high
    assert verdict.comparison.examples == 600
    text = _read(pair)
    assert f"**lora beats full_finetune on {TASK} by " in text
    assert "not for other examples" not in text
    assert "significant" not in text


def test_no_effect_is_not_named_but_what_would_be(pair: Study) -> None:
    _write(pair, TASK, _draw({"lora": 0.78, "full_finetune": 0.78}, seeds=6, seed=1))
    (verdict,) = _judge(pair)
    assert not verdict.beats
    text = _read(pair)
    assert f"cannot be told apart on {TASK}: difference " in text
    assert "the difference would have to be ≥ " in text
    assert "beats" not in text.split("## Units")[0].split("comparisons.")[1]


def test_five_seeds_say_that_the_sign_flip_cannot_reach_the_level(pair: Study) -> None:
    _write(pair, TASK, _draw({"lora": 0.86, "full_finetune": 0.78}, seeds=5))
    text = _read(pair)
    assert "lora beats full_finetune" in text
    assert "the sign-flip test cannot reach the level (no p below 0.062)" in text


def test_tasks_are_pooled_and_all_are_corrected_together(two_tasks: Study) -> None:
    for task, seed in ((TASK, 0), (OTHER, 1)):
        rates = {"lora": 0.84, "full_finetune": 0.80, "dora": 0.80}
        _write(two_tasks, task, _draw(rates, seeds=6, seed=seed))
    verdicts = _judge(two_tasks)
    assert len(verdicts) == 9
    pooled = [verdict for verdict in verdicts if verdict.task == ALL_TASKS]
    raw = [v.comparison.p_value for v in verdicts if v.comparison is not None]
    smallest = min(range(9), key=lambda index: raw[index] or 0.0)
    assert verdicts[smallest].holm_p == pytest.approx(min(1.0, 9 * (raw[smallest] or 0.0)))
    assert [v.comparison.seeds for v in pooled if v.comparison] == [12, 12, 12]
    text = _read(two_tasks)
    assert "over all tasks by 0.04" in text or "over all tasks by 0.03" in text
    assert "Interquartile mean of lora: " in text
    with (two_tasks.settings.analysis_path / "tables" / "verdicts.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 9
    assert all(float(row["difference"]) >= 0 for row in rows)


def test_a_part_of_a_study_says_so_and_is_no_bolder_than_the_whole(two_tasks: Study) -> None:
    for task, seed in ((TASK, 0), (OTHER, 1)):
        rates = {"lora": 0.84, "full_finetune": 0.80, "dora": 0.80}
        _write(two_tasks, task, _draw(rates, seeds=6, seed=seed))
    units = [(TASK, "lora"), (TASK, "dora")]
    (alone,) = gather_content(two_tasks, units).verdicts
    whole = gather_content(two_tasks, two_tasks.units_of("all"))
    assert alone.comparison is not None
    assert alone.holm_p == pytest.approx(min(1.0, 9 * (alone.comparison.p_value or 0.0)))
    pair = {"lora", "dora"}
    (same,) = [v for v in whole.verdicts if v.task == TASK and {v.first, v.second} == pair]
    assert (same.holm_p or 0.0) <= (alone.holm_p or 0.0)
    text = (build_report(two_tasks, units).parent / "RESULTS.md").read_text("utf-8")
    said = "Partial: this report shows 2 of the study's 6 units. Its verdicts are corrected for all"
    assert f"{said} 9 comparisons of the study." in text
    assert "Holm's correction for all 9 comparisons." in text
    assert not any(note.startswith("Partial") for note in whole.notes)


def test_a_method_missing_on_a_task_is_named_and_not_pooled(two_tasks: Study) -> None:
    rates = {"lora": 0.84, "full_finetune": 0.80}
    _write(two_tasks, TASK, _draw({**rates, "dora": 0.80}, seeds=6))
    _write(two_tasks, OTHER, _draw(rates, seeds=6))
    text = _read(two_tasks)
    assert f"dora is not pooled: no Phase 2 score on {OTHER}." in text
    assert "over all tasks" in text


def test_all_runs_failed(pair: Study) -> None:
    for method in pair.methods:
        unit = UnitWriter(pair, TASK, method)
        for index in range(6):
            unit.run(f"seed-{index:02d}", None, status="failed", message="worker died")
        unit._summary("phase2", [], [], [], failed=("seed-00: worker died",))
    assert _judge(pair) == ()
    text = _read(pair)
    assert f"{TASK}: no finding yet, since no method has a Phase 2 score." in text
    assert "Phase 2: none of 6 runs has a score (worker died)" in text


def test_failed_runs_are_counted(pair: Study) -> None:
    drawn = _draw({"lora": 0.84, "full_finetune": 0.80}, seeds=6)
    _write(pair, TASK, {"lora": drawn["lora"], "full_finetune": drawn["full_finetune"][:4]})
    lost = UnitWriter(pair, TASK, "full_finetune")
    lost.run("seed-04", None, status="diverged", message="loss is not finite")
    lost.run("seed-05", None, status="diverged", message="loss is not finite")
    text = _read(pair)
    assert "full_finetune: 2 of 6 runs ended without a score; they are counted here" in text
    (verdict,) = _judge(pair)
    assert verdict.comparison is not None
    assert verdict.comparison.seeds == 4


def test_ties_and_differences_without_spread(pair: Study) -> None:
    UnitWriter(pair, TASK, "lora").phase2([0.7, 0.8, 0.75])
    UnitWriter(pair, TASK, "full_finetune").phase2([0.7, 0.8, 0.75])
    assert f" are tied on {TASK}: the same score on each of 3 seeds." in _read(pair)
    UnitWriter(pair, TASK, "lora").phase2([0.75, 0.85, 0.80])
    text = _read(pair)
    assert "the difference is 0.050 accuracy on each of 3 seeds, and without any spread" in text


def test_nothing_said_leaves_the_scale(pair: Study) -> None:
    UnitWriter(pair, TASK, "lora").phase2([0.3, 0.98])
    UnitWriter(pair, TASK, "full_finetune").phase2([0.9, 0.2])
    (verdict,) = _judge(pair)
    assert verdict.comparison is not None
    assert verdict.comparison.interval == (-1, 1)
    assert verdict.comparison.detectable is None
    said = describe_verdict(verdict)
    assert "no difference on this scale could be shown" in said
    assert said.endswith("; 2 seeds cannot tell how many would resolve 0.090.")
    build_report(pair, pair.units_of("all"))
    with (pair.settings.analysis_path / "tables" / "units.csv").open() as stream:
        for row in csv.DictReader(stream):
            ends = (row["validation_interval_low"], row["validation_interval_high"])
            assert all(0 <= float(end) <= 1 for end in ends)


@pytest.mark.parametrize(
    ("needed", "beyond", "words"),
    [
        (SeedsNeeded(7, 40, needs_examples=False), 5, "about 7 to 40 seeds"),
        (SeedsNeeded(2, 40, needs_examples=False), 5, "about 6 to 40 seeds"),
        (SeedsNeeded(2, 6, needs_examples=False), 5, "about 6 seeds"),
        (SeedsNeeded(2, 5, needs_examples=False), 5, ""),
        (SeedsNeeded(60, None, needs_examples=False), 5, "about 60 to more than 100 seeds"),
        (SeedsNeeded(None, None, needs_examples=False), 5, "more than 100 seeds (not worth it)"),
        (SeedsNeeded(3, None, needs_examples=False), 120, "more than 100 seeds (not worth it)"),
    ],
)
def test_seeds_needed_are_a_range(needed: SeedsNeeded, beyond: int, words: str) -> None:
    assert describe_seeds(needed, beyond=beyond) == words


@pytest.mark.parametrize("damage", ["missing", "not json", "other examples", "other score"])
def test_predictions_that_cannot_be_used_leave_the_seeds(pair: Study, damage: str) -> None:
    drawn = _draw({"lora": 0.84, "full_finetune": 0.80}, seeds=6)
    _write(pair, TASK, drawn)
    path = UnitWriter(pair, TASK, "lora").paths.run("phase2", "seed-00") / "predictions.jsonl"
    content = path.read_text("utf-8")
    if damage == "missing":
        path.unlink()
    elif damage == "not json":
        path.write_text("{", "utf-8")
    elif damage == "other examples":
        path.write_text(content.replace('"row-', '"line-'), "utf-8")
    else:
        path.write_text("\n".join(content.split("\n")[:300]), "utf-8")
    (verdict,) = _judge(pair)
    assert verdict.comparison is not None
    assert verdict.comparison.examples is None
    expected = drawn["lora"].mean(axis=1) - drawn["full_finetune"].mean(axis=1)
    assert verdict.comparison.by_seed == pytest.approx(expected.tolist())
    assert "allow for other seeds, not for other examples: " in _read(pair)


def test_a_record_whose_score_is_no_number_is_left_out_by_name(pair: Study) -> None:
    UnitWriter(pair, TASK, "lora").phase2([0.7, 0.8, 0.75])
    unit = UnitWriter(pair, TASK, "full_finetune")
    for index, score in enumerate([0.6, 0.625, 0.65]):
        unit.run(f"seed-{index:02d}", score, report_score=score)
    path = unit.paths.run("phase2", "seed-01") / "record.json"
    path.write_text(path.read_text("utf-8").replace("0.625", "NaN"), "utf-8")
    (verdict,) = _judge(pair)
    assert verdict.comparison is not None
    assert verdict.comparison.seeds == 2
    text = _read(pair)
    assert "full_finetune: " in text
    assert "seed-01" in text
    assert "not a record this version can read" in text


@pytest.mark.parametrize("better", ["lora", "full_finetune"])
def test_of_two_losses_the_lower_one_is_better_example_by_example(
    write_study: Writer, better: str
) -> None:
    answers = {
        "kind": "instruction",
        "source": {"type": "files", "files": {"train": "train.jsonl"}},
        "splits": {"report": None, "report_rows": 40},
        "prompt": {"template": "{question}"},
        "metric": "eval_loss",
    }
    study = write_study(
        tasks={"answers": answers},
        methods={"lora": {}, "full_finetune": {}},
        validation={"seeds": 6},
    )
    rng = np.random.default_rng(0)
    losses = rng.gamma(4, 0.5, 40) + rng.normal(0, 0.01, (6, 40))  # (seeds, examples)
    worse = {"lora": "full_finetune", "full_finetune": "lora"}[better]
    _write(study, "answers", {better: losses, worse: losses + 0.3})
    (verdict,) = _judge(study)
    assert (verdict.first, verdict.second) == (better, worse)
    assert verdict.comparison is not None
    assert verdict.comparison.mean == pytest.approx(0.3)
    assert verdict.examples_missing == ""
    assert verdict.beats
    assert verdict.prob_superiority == 1
    said = describe_verdict(verdict)
    assert said.startswith(f"{better} beats {worse} on answers by 0.300 eval_loss [")
    assert said.endswith("], lower is better.")
