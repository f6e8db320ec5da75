from collections.abc import Callable

import pytest

from phasewise.figures import (
    assign_styles,
    compute_budget_curves,
    compute_cost_quality,
    draw_budget_curves,
    draw_cost_quality,
)
from phasewise.records import RunRecord
from phasewise.settings import Study
from synthetic import make_config, make_record

TASK = "rotten_tomatoes"
STYLES = assign_styles(["lora", "full_finetune"])


@pytest.fixture
def build(write_study: Callable[..., Study]) -> Callable[..., RunRecord]:
    study = write_study()

    def make(method: str, name: str, score: float | None, **how: object) -> RunRecord:
        config = make_config(study, TASK, method, name)
        return make_record(config, score, **how)  # type: ignore[arg-type]

    return make


def _cost(record: RunRecord, **costs: object) -> RunRecord:
    assert record.cost is not None
    return record.model_copy(update={"cost": record.cost.model_copy(update=costs)})


def test_failed_trials_spend_their_budget(build: Callable[..., RunRecord]) -> None:
    trials = [build("lora", f"trial-{i:03d}", s) for i, s in enumerate([0.6, 0.8])]
    trials.append(build("lora", "trial-002", None, status="failed"))
    curves = compute_budget_curves({"lora": trials, "full_finetune": []})
    (curve,) = curves.curves
    # the failed one counts as 0.6: mean .6 .8 .6; pairs .8 .6 .8; all .8
    assert curve.values == pytest.approx([2 / 3, 2.2 / 3, 0.8])
    assert curve.without_score == 1
    assert curve.seconds == pytest.approx(12.5)


def test_budget_in_seconds_stretches_by_the_cost_of_a_trial(
    build: Callable[..., RunRecord],
) -> None:
    trials = [build("lora", f"trial-{i:03d}", s) for i, s in enumerate([0.6, 0.8])]
    curves = compute_budget_curves({"lora": trials})
    band, line = draw_budget_curves(curves, STYLES, "seconds").data
    assert list(line.x) == [12.5, 25.0]
    assert list(band.x) == [12.5, 25.0, 25.0, 12.5]
    assert list(draw_budget_curves(curves, STYLES, "trials").data[1].x) == [1, 2]


def test_no_trial_draws_nothing() -> None:
    curves = compute_budget_curves({"lora": []})
    assert curves.curves == ()
    assert len(draw_budget_curves(curves, STYLES, "trials").data) == 0


def test_pareto_front_by_hand(build: Callable[..., RunRecord]) -> None:
    lora = [build("lora", f"seed-0{i}", 0.7, report_score=s) for i, s in enumerate([0.7, 0.8])]
    full = [build("full_finetune", "seed-00", 0.7, report_score=0.7)]
    full = [_cost(record, peak_memory_mb=300.0, total_seconds=20.0) for record in full]
    value = compute_cost_quality({"lora": lora, "full_finetune": full})
    memory = {point.method: point.on_front for point in value.panels["peak MB"]}
    seconds = {point.method: point.on_front for point in value.panels["seconds per run"]}
    assert memory == {"lora": True, "full_finetune": True}  # better, and cheaper
    assert seconds == {"lora": True, "full_finetune": False}  # worse and dearer
    assert value.panels["seconds per run"][0].score == pytest.approx(0.75)
    figure = draw_cost_quality(value, STYLES)
    assert len(figure.data) == 5 * (1 + 2)
    assert {trace.xaxis for trace in figure.data} == {"x", "x2", "x3", "x4", "x5"}


def test_unmeasured_costs_and_runs_without_a_score_are_left_out(
    build: Callable[..., RunRecord],
) -> None:
    scored = build("lora", "seed-00", 0.7, report_score=0.7)
    lost = build("full_finetune", "seed-00", None, status="failed")
    value = compute_cost_quality({"lora": [_cost(scored, peak_memory_mb=None)], "dora": [lost]})
    assert "peak MB" not in value.panels
    assert [point.method for point in value.panels["seconds per run"]] == ["lora"]
    assert compute_cost_quality({"lora": [lost]}).panels == {}
