"""Spaces: distributions, cube points, the published default, merged hyperparameters."""

from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import TypeAdapter

from phasewise.settings import Hyperparameters, Parameter, merge_hyperparameters
from phasewise.tuning.spaces import (
    Space,
    build_distribution,
    from_unit,
    place_first,
    suggest,
)

_PARAMETER: TypeAdapter[Any] = TypeAdapter(Parameter)


def parse(**content: Any) -> Any:
    return _PARAMETER.validate_python(content)


RATE = parse(type="log_uniform", min=1e-5, max=1e-1)
BATCH = parse(type="categorical", values=[1, 2, 4])
EPOCHS = parse(type="int", min=2, max=6)
DEFAULT = Hyperparameters(
    learning_rate=4e-4, batch_size=16, epochs=3, lora_rank=8, lora_alpha=8, target_modules="core"
)


@pytest.mark.parametrize(
    ("parameter", "expected"),
    [
        (RATE, FloatDistribution(1e-5, 1e-1, log=True)),
        (parse(type="uniform", min=0, max=1), FloatDistribution(0, 1)),
        (parse(type="uniform", min=0, max=1, step=0.3), FloatDistribution(0, 0.9, step=0.3)),
        (EPOCHS, IntDistribution(2, 6)),
        (parse(type="int", min=1, max=6, step=2), IntDistribution(1, 5, step=2)),
        (parse(type="log_int", min=4, max=64), IntDistribution(4, 64, log=True)),
        (BATCH, CategoricalDistribution((1, 2, 4))),
    ],
)
def test_distribution_of_each_type(parameter: Any, expected: Any) -> None:
    assert build_distribution(parameter) == expected


@pytest.mark.parametrize(
    ("parameter", "points"),
    [
        (RATE, [(0.0, 1e-5), (0.25, 1e-4), (0.5, 1e-3), (1.0, 1e-1)]),
        (parse(type="uniform", min=1, max=3), [(0.0, 1.0), (0.5, 2.0), (1.0, 3.0)]),
        (parse(type="uniform", min=0, max=1, step=0.25), [(0.19, 0.0), (0.21, 0.25), (1.0, 1.0)]),
        (EPOCHS, [(0.0, 2), (0.19, 2), (0.21, 3), (0.99, 6), (1.0, 6)]),
        (parse(type="log_int", min=1, max=7), [(0.0, 1), (0.32, 1), (0.34, 2), (1.0, 7)]),
        (BATCH, [(0.0, 1), (0.34, 2), (1.0, 4)]),
    ],
)
def test_unit_coordinate_to_value(parameter: Any, points: list[tuple[float, Any]]) -> None:
    for coordinate, value in points:
        assert from_unit(parameter, coordinate) == pytest.approx(value)
        assert type(from_unit(parameter, coordinate)) is type(value)


def test_suggest_adds_fixed_values_and_stores_only_drawn_ones() -> None:
    trial = optuna.create_study().ask()
    values = suggest(
        trial, Space({"epochs": EPOCHS, "lora_rank": parse(type="fixed", value=4)}, DEFAULT)
    )
    assert values == {"epochs": trial.params["epochs"], "lora_rank": 4}
    assert set(trial.params) == {"epochs"}


def test_default_keeps_its_published_number_outside_a_range() -> None:
    point = place_first(
        Space({"learning_rate": parse(type="log_uniform", min=1e-3, max=1)}, DEFAULT)
    )
    assert point == ({"learning_rate": 4e-4}, ())


@pytest.mark.parametrize(
    ("name", "parameter", "held"),
    [
        ("batch_size", BATCH, 4),  # 16 / 4 is nearer than 16 / 2
        ("warmup_ratio", parse(type="log_uniform", min=0.01, max=0.3), 0.01),  # no log of 0
        ("target_modules", parse(type="categorical", values=["mlp", "attention"]), "mlp"),
        ("target_modules", parse(type="fixed", value="all"), None),
    ],
)
def test_default_that_the_space_cannot_hold_is_noted(name: str, parameter: Any, held: Any) -> None:
    default = DEFAULT.model_copy(update={"warmup_ratio": 0.0})
    point = place_first(Space({name: parameter}, default))
    assert point.values == ({} if held is None else {name: held})
    assert len(point.notes) == 1
    assert point.notes[0].startswith(f"{name} ")


def test_ratio_of_alpha_comes_from_the_default_alpha() -> None:
    ratio = parse(type="categorical", values=[1, 2])
    point = place_first(Space({"lora_alpha_over_rank": ratio}, DEFAULT))
    assert point == ({"lora_alpha_over_rank": 1}, ())


def test_drawn_rank_moves_alpha_with_a_ratio_only() -> None:
    assert merge_hyperparameters(DEFAULT, {"lora_rank": 32}).lora_alpha == 8
    tied = merge_hyperparameters(DEFAULT, {"lora_rank": 32, "lora_alpha_over_rank": 2})
    assert tied.lora_alpha == 64
    assert merge_hyperparameters(tied, {"lora_alpha": 5}).lora_alpha == 5
    assert merge_hyperparameters(tied, {"lora_rank": 4}).lora_alpha == 8
