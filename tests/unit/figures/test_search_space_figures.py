"""Figures of the searched parameters: importance, slices, parallel coordinates, correlation."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter
from scipy import stats

from phasewise.figures import (
    SearchedTrials,
    assign_styles,
    collect_trials,
    compute_correlation,
    compute_importance,
    compute_parallel,
    compute_slices,
    draw_correlation,
    draw_importance,
    draw_parallel,
    draw_slices,
)
from phasewise.settings import Parameter, Study
from phasewise.summaries import RangeFlag
from synthetic import make_config, make_record

TASK = "rotten_tomatoes"
STYLE = assign_styles(["lora"])["lora"]
SPACE: dict[str, Any] = TypeAdapter(dict[str, Parameter]).validate_python(
    {
        "learning_rate": {"type": "log_uniform", "min": 1e-4, "max": 1e-2},
        "batch_size": {"type": "categorical", "values": [16, 4, 8]},
        "target_modules": {"type": "categorical", "values": ["all", "mlp"]},
        "warmup_ratio": {"type": "uniform", "min": 0.0, "max": 0.2},
        "lora_rank": {"type": "fixed", "value": 8},
    }
)
Collect = Callable[..., SearchedTrials]


@pytest.fixture
def collect(write_study: Callable[..., Study]) -> Collect:
    study = write_study()

    def build(rows: list[dict[str, Any]], best: str | None = None) -> SearchedTrials:
        records = []
        for number, row in enumerate(rows):
            values = {name: row[name] for name in SPACE if name in row}
            config = make_config(study, TASK, "lora", f"trial-{number:03d}", **values)
            records.append(
                make_record(config, row.get("score"), status=row.get("status", "finished"))
            )
        return collect_trials(records[::-1], SPACE, best)

    return build


def _rows(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """The score follows the learning rate alone."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        rate = 10 ** rng.uniform(-4, -2)
        rows.append(
            {
                "learning_rate": rate,
                "batch_size": int(rng.choice([4, 8, 16])),
                "target_modules": str(rng.choice(["all", "mlp"])),
                "warmup_ratio": rng.uniform(0, 0.2),
                "score": 0.9 + 0.1 * math.log10(rate),
            }
        )
    return rows


def test_trials_are_placed_on_the_scales_of_the_space(collect: Collect) -> None:
    trials = collect(
        [
            {"learning_rate": 1e-3, "batch_size": 16, "score": 0.7},
            {"learning_rate": 2e-2, "batch_size": 4, "score": 0.6, "status": "pruned"},
            {"learning_rate": 1e-4, "batch_size": 32, "status": "diverged"},
        ],
        best="trial-000",
    )
    rate, batch, modules, warmup = trials.parameters  # the fixed rank is left out
    assert [each.scale for each in trials.parameters] == ["log", "ordered", "unordered", "linear"]
    assert rate.relative(1e-3) == pytest.approx(0.5)
    assert rate.places == (1e-3, 2e-2, 1e-4)  # a value beyond the range keeps its place
    assert batch.choices == (4, 8, 16)
    assert batch.places[:2] == (2, 0)
    assert math.isnan(batch.places[2])  # 32 is not in the list
    assert (batch.describe(0), batch.describe(math.nan), warmup.describe(0.2)) == ("4", "–", "0.2")
    assert modules.choices == ("all", "mlp")
    assert (trials.best, trials.finished()) == (0, [0])
    assert collect_trials([], SPACE).trials == ()


@pytest.mark.parametrize(("count", "warned"), [(10, True), (19, True), (20, False)])
def test_importance_warns_below_twenty_trials(collect: Collect, count: int, warned: bool) -> None:
    rows = [*_rows(count), {"learning_rate": 1e-3, "score": 0.99, "status": "pruned"}]
    importance = compute_importance(collect(rows))
    assert importance.trials == count  # the pruned one has been trained less
    assert importance.parameters[0].name == "learning_rate"
    words = f"{count} trials: the ranking of importances cannot be trusted"
    assert importance.warning.startswith(words) == warned
    assert "62 % of 10-trial" in importance.warning or not warned
    figure = draw_importance(importance, STYLE)
    assert list(figure.layout.yaxis.categoryarray)[-1] == "learning_rate"
    assert figure.data[0].x == (0.25, 0.25)  # four parameters


def test_importance_leaves_out_what_never_varied(collect: Collect) -> None:
    rows = [{**row, "warmup_ratio": 0.1, "batch_size": 8} for row in _rows(12)]
    names = {each.name for each in compute_importance(collect(rows)).parameters}
    assert names == {"learning_rate", "target_modules"}
    tied = [{**row, "score": 0.5} for row in rows]
    assert compute_importance(collect(tied)).parameters == ()
    assert compute_importance(collect(tied)).warning == ""


def test_slices_mark_each_status_and_the_wider_range(collect: Collect) -> None:
    rows = _rows(4)
    rows += [{"learning_rate": 1e-3, "score": 0.5, "status": "pruned"}]
    rows += [{"learning_rate": 1e-3, "status": "diverged"}]
    flags = [
        RangeFlag(parameter="learning_rate", value=9e-3, edge="max", proposed=(1e-4, 1e-1)),
        RangeFlag(parameter="batch_size", value=4, edge="min", proposed=(2, 16)),
    ]
    slices = compute_slices(collect(rows, best="trial-002"), flags)
    assert [panel.wider for panel in slices.panels] == [(1e-2, 1e-1), (-1, 0), None, None]
    figure = draw_slices(slices, STYLE)
    first = {trace.name: trace for trace in figure.data if trace.xaxis == "x"}
    assert set(first) == {"wider range to search", "trial", "best trial", "pruned", "no score"}
    assert len(first["trial"].x) == 3
    assert first["best trial"].x[0] == pytest.approx(rows[2]["learning_rate"], rel=1e-4)
    assert first["no score"].y[0] < min(first["trial"].y)
    assert figure.layout.xaxis.type == "log"
    assert figure.layout.xaxis.range[1] > -1  # the proposed end is in sight
    assert list(figure.layout.xaxis2.ticktext) == ["4", "8", "16", "2"]
    assert sum(trace.showlegend for trace in figure.data) == 5


def test_parallel_lines_run_from_worst_to_best(collect: Collect) -> None:
    rows = [{**row, "score": 0.5 + 0.05 * i} for i, row in enumerate(_rows(8))]
    rows += [{"learning_rate": 1e-3, "score": 0.5, "status": "pruned"}, {"status": "failed"}]
    parallel = compute_parallel(collect(rows, best="trial-007"))
    assert [axis.title for axis in parallel.axes][-1] == "accuracy"
    assert [line.number for line in parallel.lines] == list(range(9))
    groups = [line.group for line in parallel.lines]
    assert groups == ["other trial"] * 6 + ["best quarter", "best trial", "pruned"]
    assert parallel.lines[0].heights[-1] == 0
    assert parallel.lines[7].heights[-1] == 1
    assert math.log10(rows[0]["learning_rate"]) == pytest.approx(
        2 * parallel.lines[0].heights[0] - 4
    )
    figure = draw_parallel(parallel, STYLE)
    names = [trace.name for trace in figure.data[:4]]
    assert names == ["pruned", "other trial", "best quarter", "best trial"]
    other = figure.data[1]
    assert len(other.x) == 6 * (5 + 1)  # four parameters, the score and a gap


def test_parallel_of_a_loss_has_the_smallest_on_top(
    write_study: Callable[..., Study], study_content: dict[str, Any]
) -> None:
    task = {**study_content["tasks"][TASK], "metric": "eval_loss"}
    study = write_study(tasks={TASK: task})
    records = [
        make_record(make_config(study, TASK, "lora", f"trial-{i:03d}"), loss)
        for i, loss in enumerate([0.6, 0.4, 0.8])
    ]
    lines = compute_parallel(collect_trials(records, SPACE)).lines
    assert [line.heights[-1] for line in lines] == pytest.approx([0.5, 1, 0])
    assert [line.group for line in lines] == ["other trial", "best quarter", "other trial"]
    assert compute_parallel(collect_trials(records[:1], SPACE)).lines == ()


def test_correlation_is_spearmans_of_all_drawn_trials(collect: Collect) -> None:
    rows = _rows(9)
    rows[3]["score"], rows[3]["status"] = None, "diverged"
    for row in rows:
        row["warmup_ratio"] = 0.1 + 0.04 * math.log10(row["learning_rate"] / 1e-3)
    found = compute_correlation(collect(rows))
    assert found.names == ("learning_rate", "batch_size", "warmup_ratio")
    assert found.left_out == ("target_modules",)
    assert found.strongest() == ("learning_rate", "warmup_ratio", pytest.approx(1))
    expected = stats.spearmanr(
        [row["learning_rate"] for row in rows], [row["batch_size"] for row in rows]
    ).statistic
    assert found.rho[1, 0] == pytest.approx(expected)
    heat = draw_correlation(found).data[0]
    assert list(heat.y) == ["batch_size", "warmup_ratio"]
    assert heat.z[0][1] is None  # above the diagonal


def test_correlation_without_variation_says_nothing(collect: Collect) -> None:
    rows = [{"learning_rate": 1e-3, "batch_size": 8, "score": 0.5}] * 5
    assert compute_correlation(collect(rows)).strongest() is None
    assert compute_correlation(collect(rows[:2])).strongest() is None
