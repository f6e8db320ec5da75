"""Fixed draws: default, Sobol points, grids."""

from typing import Any

import pytest
from pydantic import TypeAdapter

from phasewise.samplers import schedule_startup
from phasewise.settings import Hyperparameters, Parameter, SearchSettings
from phasewise.tuning.spaces import Space
from phasewise.tuning.startup import (
    Draw,
    grid_draws,
    plan_startup,
    sobol_draws,
)

PARAMETERS: dict[str, Any] = TypeAdapter(dict[str, Parameter]).validate_python(
    {
        "learning_rate": {"type": "log_uniform", "min": 1e-4, "max": 1e-1},
        "epochs": {"type": "int", "min": 1, "max": 4},
        "batch_size": {"type": "categorical", "values": [8, 16]},
        "lora_rank": {"type": "fixed", "value": 4},
    }
)
DEFAULT = Hyperparameters(learning_rate=1e-2, batch_size=16, epochs=3)
SPACE = Space(PARAMETERS, DEFAULT)


@pytest.mark.parametrize(
    ("trials", "startup"), [(1, 1), (3, 3), (4, 4), (10, 4), (15, 5), (60, 20)]
)
def test_schedule_starts_with_a_third_but_at_least_four(trials: int, startup: int) -> None:
    assert schedule_startup(trials) == startup
    plan = plan_startup(SearchSettings(trials=trials), SPACE, seed=1)
    assert [draw.origin for draw in plan] == ["default"] + ["sobol"] * (startup - 1)
    assert plan[0].values == {"learning_rate": 1e-2, "epochs": 3, "batch_size": 16}


@pytest.mark.parametrize("sampler", ["tpe", "random", "gp", "cmaes", "nsga2"])
def test_adaptive_samplers_have_no_fixed_draws(sampler: Any) -> None:
    assert plan_startup(SearchSettings(sampler=sampler), SPACE, seed=1) == []


def test_sobol_points_are_spread_and_a_longer_plan_only_appends() -> None:
    draws = sobol_draws(SPACE, 16, seed=3)
    assert sobol_draws(SPACE, 5, seed=3) == draws[:5]
    assert sobol_draws(SPACE, 16, seed=4) != draws
    # 16 scrambled points put 4 into each quarter of each coordinate
    epochs = [draw.values["epochs"] for draw in draws]
    assert sorted(epochs) == sorted([1, 2, 3, 4] * 4)
    assert all("lora_rank" not in draw.values for draw in draws)


def test_whole_grid_has_each_point_once() -> None:
    draws = grid_draws(SPACE, 100, seed=0)
    distinct = {str(sorted(draw.values.items())) for draw in draws}
    assert len(draws) == len(distinct) == 4 * 4 * 2
    rates = sorted({float(draw.values["learning_rate"]) for draw in draws})
    assert rates == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1])


def test_large_grid_is_sampled_without_repeats() -> None:
    draws: list[Draw] = grid_draws(SPACE, 10, seed=0)
    assert len({str(draw.values) for draw in draws}) == 10
