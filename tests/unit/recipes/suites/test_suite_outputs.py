from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

import fake_pool
from fake_pool import FakePool, write_tuning_study
from phasewise.recipes.request import StudyRequest
from phasewise.recipes.suites.experiments import ExperimentTracker
from phasewise.recipes.suites.figures import Ablation, ExperimentResult, compute_ablation
from phasewise.recipes.suites.findings import compare_with_reference, describe_findings
from phasewise.recipes.suites.folder import note_troubles
from phasewise.recipes.suites.outputs import collect_runs, write_ablation_outputs
from phasewise.recipes.suites.settings import keep_experiments, load_suite
from phasewise.recipes.suites.study import write_ablation_study
from phasewise.records import RunCost, RunRecord
from phasewise.runs import RunConfig
from phasewise.settings import load_study
from phasewise.statistics import Bounds, compare_seeds
from phasewise.tuning.phases import run_defaults
from phasewise.tuning.search import search_unit


def _result(name: str, scores: Sequence[float], memory: float, weights: int) -> ExperimentResult:
    return ExperimentResult(
        name=name,
        metric="accuracy",
        rank=weights,
        scores={f"seed {index}": score for index, score in enumerate(scores)},
        failed=(),
        train_seconds=10.0 * memory,
        memory_mb=memory,
        adapter_mb=weights / 10,
        trainable_parameters=weights,
        total_parameters=1000,
    )


ABLATION = Ablation(
    "accuracy",
    "maximize",
    "cpu",
    (
        _result("small", (0.70, 0.72, 0.71, 0.73), 100, 4),
        _result("middle", (0.80, 0.83, 0.79, 0.84), 110, 16),
        _result("large", (0.80, 0.82, 0.80, 0.84), 200, 64),
    ),
)


def test_findings_are_paired_differences_with_holms_correction() -> None:
    found = {each.name: each for each in compare_with_reference(ABLATION, "large")}
    assert set(found) == {"small", "middle"}
    small = compare_seeds((0.70, 0.72, 0.71, 0.73), (0.80, 0.82, 0.80, 0.84), bounds=Bounds(0, 1))
    assert found["small"].comparison == small
    assert found["small"].p_holm == pytest.approx(2 * (small.p_value or 0))
    assert found["small"].is_told_apart
    assert not found["middle"].is_told_apart


def test_sentences_say_no_more_than_the_intervals() -> None:
    lines = "\n".join(describe_findings(ABLATION, "large"))
    assert "small - large: -0.1000 accuracy" in lines
    assert "worse." in lines
    assert "middle - large: +0.0000 accuracy" in lines
    assert "cannot be told apart" in lines
    assert "peak memory 0.55 times" in lines
    assert "middle (110 MB)" in lines  # small takes less, and is shown to be worse
    assert "is not shown to be as good" in lines


def test_losses_are_better_when_lower() -> None:
    value = replace(ABLATION, metric="eval_loss", direction="minimize")
    lines = "\n".join(describe_findings(value, "large"))
    assert "small - large: -0.1000 eval_loss" in lines
    assert "better." in lines


@pytest.fixture
def costly(monkeypatch: pytest.MonkeyPatch) -> None:
    plain: Callable[..., RunRecord] = fake_pool.build_record

    def build(config: RunConfig, *arguments: object) -> RunRecord:
        rank = config.hyperparameters.lora_rank
        cost = RunCost(
            train_seconds=2.0,
            total_seconds=3.0,
            peak_memory_mb=100.0 + rank,
            train_tokens=64,
            trainable_parameters=100 * rank,
            total_parameters=10**6,
            adapter_bytes=400 * rank,
            micro_batch_size=4,
        )
        return plain(config, *arguments).model_copy(update={"cost": cost})

    monkeypatch.setattr(fake_pool, "build_record", build)


@pytest.mark.usefixtures("costly")
def test_a_suite_leaves_database_plots_and_findings(tmp_path: Path) -> None:
    suite = keep_experiments(load_suite("rank_sweep"), ["r4", "r64"])
    wanted = StudyRequest(output_dir=tmp_path / "out", study=write_tuning_study(tmp_path).path)
    study = load_study(write_ablation_study(suite, wanted))
    run_defaults(study, "toy", "lora", pool_factory=FakePool)
    search_unit(study, "toy", "lora", pool_factory=FakePool)
    runs: Mapping[str, Mapping[str, RunRecord]] = collect_runs(suite, study, "toy")
    assert {name: sorted(by_seed) for name, by_seed in runs.items()} == {
        name: ["seed 0", "seed 1", "trial"] for name in ("r4", "r16", "r64")
    }
    value = compute_ablation(runs)
    assert [each.memory_mb for each in value.experiments] == [104, 116, 164]
    assert [each.trainable_parameters for each in value.experiments] == [400, 1600, 6400]
    note_troubles(study, {"toy/other": "no memory"})
    write_ablation_outputs(tmp_path / "out")
    tracker = ExperimentTracker(tmp_path / "out" / "experiments.db")
    assert len(tracker.get_all_experiments(status="completed")) == 9
    assert len(tracker.get_experiments_by_type("rank_ablation")) == 9
    plots = {path.name for path in (tmp_path / "out" / "plots" / "rank_sweep").iterdir()}
    names = (
        "rank_comparison",
        "efficiency_frontier",
        "training_time",
        "adapter_size",
        "parameters",
    )
    assert plots == {f"{name}.{end}" for name in names for end in ("png", "svg")}
    text = (tmp_path / "out" / "RESULTS.md").read_text()
    assert "| r64 |" in text
    assert "r4 - r16:" in text
    assert "Not run: toy/other: no memory" in text
    for name in names:
        assert f"plots/rank_sweep/{name}.png" in text
