from collections.abc import Callable

import pytest

from phasewise.figures import (
    assign_styles,
    compute_history,
    compute_learning_curves,
    compute_seed_scores,
    draw_history,
    draw_loss_curves,
    draw_search_curves,
    draw_seed_scores,
)
from phasewise.figures.curves import LOSS_POINTS
from phasewise.records import RunRecord, TrainPoint
from phasewise.settings import Study
from phasewise.statistics import Bounds, mean_interval
from synthetic import make_config, make_record

TASK = "rotten_tomatoes"
STYLE = assign_styles(["lora"])["lora"]


@pytest.fixture
def trial(write_study: Callable[..., Study]) -> Callable[..., RunRecord]:
    study = write_study()

    def build(number: int, score: float | None, *, origin: str = "", **how: object) -> RunRecord:
        config = make_config(
            study, TASK, "lora", f"trial-{number:03d}", learning_rate=1e-3 * (number + 1)
        )
        config = config.model_copy(update={"origin": origin})
        return make_record(config, score, **how)  # type: ignore[arg-type]

    return build


def test_history_is_ordered_and_pruned_trials_never_become_best(
    trial: Callable[..., RunRecord],
) -> None:
    records = [
        trial(3, 0.9, status="pruned"),
        trial(0, 0.6, origin="default"),
        trial(2, 0.7, origin="model"),
        trial(1, 0.5, origin="grid"),
        trial(4, None, status="diverged"),
    ]
    history = compute_history(records)
    assert [point.number for point in history.points] == [0, 1, 2, 3]
    assert history.best == (0.6, 0.6, 0.7, 0.7)
    assert history.without_score == 1
    assert [p.origin for p in history.points] == ["default", "grid", "model", "unknown"]
    assert "learning_rate 0.001" in history.points[0].changed
    assert "batch_size" not in history.points[0].changed


def test_history_of_a_loss_looks_for_the_smallest(
    write_study: Callable[..., Study], study_content: dict[str, dict[str, object]]
) -> None:
    task = {**study_content["tasks"][TASK], "metric": "eval_loss"}  # type: ignore[dict-item]
    study = write_study(tasks={TASK: task})
    records = [
        make_record(make_config(study, TASK, "lora", f"trial-{i:03d}"), loss)
        for i, loss in enumerate([0.6, 0.7, 0.5])
    ]
    assert compute_history(records).best == (0.6, 0.6, 0.5)


def test_history_before_any_score(trial: Callable[..., RunRecord]) -> None:
    history = compute_history([trial(0, None, status="failed")])
    assert (history.points, history.without_score) == ((), 1)
    assert compute_history([]).points == ()
    first_pruned = compute_history([trial(0, 0.5, status="pruned"), trial(1, 0.4)])
    assert first_pruned.best[1] == 0.4
    assert draw_history(first_pruned, STYLE).data[0].y == (None, 0.4)


def test_drawn_history_marks_pruned_trials_apart(trial: Callable[..., RunRecord]) -> None:
    history = compute_history([trial(0, 0.6), trial(1, 0.9, status="pruned")])
    figure = draw_history(history, STYLE)
    assert figure.layout.xaxis.dtick == 1, "trials are whole numbers"
    by_name = {trace.name: trace for trace in figure.data}
    assert set(by_name) == {"best so far", "trial", "pruned"}
    assert by_name["pruned"].x == (1,)
    assert by_name["trial"].marker.color == STYLE.color


def test_learning_curves_follow_the_evaluations(trial: Callable[..., RunRecord]) -> None:
    records = [trial(0, 0.8), trial(1, 0.5, status="pruned"), trial(2, None, status="failed")]
    curves = compute_learning_curves(records, "trial-000")
    assert [curve.name for curve in curves.search] == ["trial-000", "trial-001"]
    assert curves.search[0].x == (1, 2, 3)
    assert curves.search[0].y == pytest.approx((0.64, 0.72, 0.8))
    assert curves.search[1].x == (1,)
    drawn = draw_search_curves(curves, STYLE)
    assert [trace.name for trace in drawn.data] == ["pruned", "best trial"]  # bold one on top
    assert drawn.data[0].line.dash == "dot"


def test_long_loss_curves_are_averaged_not_cut(trial: Callable[..., RunRecord]) -> None:
    points = tuple(TrainPoint(step=i, loss=float(i), learning_rate=0.1) for i in range(1, 601))
    record = trial(0, 0.8).model_copy(update={"train_points": points})
    (curve,) = compute_learning_curves([record]).loss
    assert len(curve.x) == LOSS_POINTS
    assert curve.x[0] == curve.y[0] == 5.5  # mean of 1..10
    assert curve.x[-1] == curve.y[-1] == 595.5
    assert len(draw_loss_curves(compute_learning_curves([record]), STYLE).data) == 1


def test_seed_scores_leave_out_methods_without_a_score() -> None:
    scores = {"lora": [0.7, 0.8, 0.75], "dora": [], "full_finetune": [0.6]}
    seeds = compute_seed_scores("accuracy", scores, {"lora": 0.65})
    assert [group.method for group in seeds.groups] == ["lora", "full_finetune"]
    assert seeds.groups[0].mean == pytest.approx(0.75)
    assert seeds.groups[0].interval == mean_interval([0.7, 0.8, 0.75], Bounds(0, 1))
    assert seeds.groups[1].interval is None
    figure = draw_seed_scores(seeds, assign_styles(scores))
    half = mean_interval([0.7, 0.8, 0.75], Bounds(0, 1))
    assert half is not None
    assert figure.data[1].error_x.array[0] == pytest.approx(half.high - 0.75, rel=1e-4)
    assert figure.data[1].error_x.arrayminus[0] == pytest.approx(0.75 - half.low, rel=1e-4)
    assert figure.data[3].error_x.array is None


def test_a_method_looks_the_same_in_every_study() -> None:
    alone = assign_styles(["lora"])
    many = assign_styles(["full_finetune", "mine", "lora", "dora"])
    assert alone["lora"] == many["lora"]
    assert len(set(many.values())) == 4
    assert len({style.color for style in many.values()}) == 4
    assert len(assign_styles(f"m{i}" for i in range(12))) == 12
