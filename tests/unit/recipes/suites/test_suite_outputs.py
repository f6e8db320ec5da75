from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

import fake_pool
from fake_pool import FakePool, write_tuning_study
from phasewise.recipes.request import StudyRequest
from phasewise.recipes.suites.experiments import ExperimentTracker
from phasewise.recipes.suites.figures import draw_seconds
from phasewise.recipes.suites.findings import compare_with_reference, describe_findings
from phasewise.recipes.suites.folder import note_troubles
from phasewise.recipes.suites.outputs import collect_runs, write_ablation_outputs
from phasewise.recipes.suites.results import Ablation, ExperimentResult, compute_ablation
from phasewise.recipes.suites.settings import keep_experiments, load_suite
from phasewise.recipes.suites.study import write_ablation_study
from phasewise.records import RunCost, RunRecord
from phasewise.runs import RunConfig
from phasewise.settings import load_study
from phasewise.statistics import Bounds, compare_seeds
from phasewise.tuning.phases import run_defaults
from phasewise.tuning.search import search_unit
from synthetic import make_config, make_record


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


def test_a_difference_too_small_to_count_is_not_called_better() -> None:
    tiny = (0.70004, 0.71005, 0.72004, 0.73005)
    pair = (_result("tiny", tiny, 100, 4), _result("base", (0.70, 0.71, 0.72, 0.73), 100, 16))
    value = replace(ABLATION, experiments=pair, smallest=0.01, smallest_is="the suite's")
    line = describe_findings(value, "base")[0]
    assert "no difference in practice" in line
    assert "better" not in line
    assert "better." in describe_findings(replace(value, smallest=None), "base")[0]
    assert "A difference counts from 0.0100 accuracy on" in "\n".join(
        describe_findings(value, "base")
    )


def test_zero_has_no_minus_and_costs_have_their_spread() -> None:
    pair = [
        _result("less", (0.69999, 0.71, 0.72, 0.72999), 100, 4),
        _result("base", (0.70, 0.71, 0.72, 0.73), 150, 16),
    ]
    pair[0] = replace(pair[0], spreads={"train_seconds": (900.0, 1600.0)})
    pair[1] = replace(pair[1], spreads={"train_seconds": (1400.0, 1700.0)})
    lines = "\n".join(describe_findings(replace(ABLATION, experiments=tuple(pair)), "base"))
    assert "-0.0000" not in lines
    assert "training time 0.67 times (0.53 to 1.14 of single runs: no difference shown)" in lines


@pytest.mark.parametrize(("device", "follows"), [("cpu", True), ("cuda", False)])
def test_peaks_that_follow_the_order_of_the_runs_are_no_effect(
    device: str, follows: bool, tmp_path: Path
) -> None:
    study = write_tuning_study(tmp_path)
    runs: dict[str, dict[str, RunRecord]] = {"r4": {}, "r16": {}}
    for index in range(6):
        name = "r4" if index % 2 else "r16"
        config = make_config(study, "toy", "lora", f"trial-{index:03d}")
        record = make_record(config, 0.7)
        assert record.cost is not None
        later = {
            "cost": record.cost.model_copy(update={"peak_memory_mb": 500.0 + index}),
            "started": f"2026-01-01T10:0{index}:00+00:00",
            "environment": {"device": device},
        }
        runs[name][f"seed {index}"] = record.model_copy(update=later)
    value = compute_ablation(runs)
    assert (value.memory_order is not None) == follows
    assert all((each.memory_mb is None) == follows for each in value.experiments)
    text = "\n".join(describe_findings(value, "r16"))
    assert ("followed the order of the runs" in text) == follows


def test_the_smallest_effect_is_the_search_sets_standard_error(tmp_path: Path) -> None:
    study = write_tuning_study(tmp_path)
    record = make_record(make_config(study, "toy", "lora", "trial-000"), 0.8)
    value = compute_ablation({"r4": {"trial": record}})
    assert value.smallest == pytest.approx((0.8 * 0.2 / record.search_rows) ** 0.5)
    assert compute_ablation({"r4": {"trial": record}}, 0.03).smallest == 0.03


def test_training_time_is_a_bar_with_its_spread() -> None:
    spread = replace(ABLATION.experiments[0], spreads={"train_seconds": (900.0, 1600.0)})
    (bar,) = draw_seconds(replace(ABLATION, experiments=(spread,))).data
    assert bar.type == "bar"
    assert (bar.x[0], bar.error_x.arrayminus[0], bar.error_x.array[0]) == (1000, 100, 600)


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
