"""Range-edge flags, by hand."""

from typing import Any

import pytest
from pydantic import TypeAdapter

from phasewise.settings import Hyperparameters, Parameter
from phasewise.tuning.edges import flag_edges

_SPACE: TypeAdapter[Any] = TypeAdapter(dict[str, Parameter])


def flags(name: str, value: float | str, **parameter: Any) -> list[tuple[str, tuple[float, float]]]:
    base = {"learning_rate": 1e-3, "batch_size": 8, "epochs": 1, name: value}
    space = _SPACE.validate_python({name: parameter})
    found = flag_edges(space, Hyperparameters.model_validate(base))
    assert all(flag.parameter == name and flag.value == value for flag in found)
    return [(flag.edge, flag.proposed) for flag in found]


RATE = {"type": "log_uniform", "min": 1e-6, "max": 1e-4}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1e-5, []),
        (6.2e-5, []),  # log10(.62) = -.208: 10.4 % of two decades from the upper end
        (6.4e-5, [("max", (1e-6, 1e-3))]),  # 9.7 %; wider by half of two decades
        (1e-4, [("max", (1e-6, 1e-3))]),
        (1.5e-6, [("min", (1e-7, 1e-4))]),
        (5e-3, [("max", (1e-6, 5e-3))]),  # a default beyond the range and the proposal
    ],
)
def test_log_range(value: float, expected: list[Any]) -> None:
    found = flags("learning_rate", value, **RATE)
    assert [edge for edge, _ in found] == [edge for edge, _ in expected]
    for (_, proposed), (_, wanted) in zip(found, expected, strict=True):
        assert proposed == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("name", "value", "parameter", "expected"),
    [
        ("epochs", 6, {"type": "int", "min": 2, "max": 6}, [("max", (2, 8))]),
        ("epochs", 5, {"type": "int", "min": 2, "max": 6}, []),
        ("epochs", 2, {"type": "int", "min": 1, "max": 2}, [("max", (1, 3))]),
        ("epochs", 1, {"type": "int", "min": 1, "max": 2}, []),  # 0 epochs train nothing
        ("lora_rank", 1, {"type": "int", "min": 1, "max": 64}, []),  # 1 is the lowest rank
        ("lora_dropout", 0.0, {"type": "uniform", "min": 0.0, "max": 0.3}, []),
        ("lora_dropout", 0.29, {"type": "uniform", "min": 0.0, "max": 0.3}, [("max", (0, 0.45))]),
        ("weight_decay", 1.0, {"type": "uniform", "min": 0.0, "max": 1.0}, []),
        ("weight_decay", 0.9, {"type": "uniform", "min": 0.0, "max": 0.9}, [("max", (0, 1))]),
        ("batch_size", 16, {"type": "categorical", "values": [8, 16]}, []),  # a choice of two
        ("batch_size", 16, {"type": "categorical", "values": [16, 4, 8]}, [("max", (4, 32))]),
        ("batch_size", 8, {"type": "categorical", "values": [4, 8, 16]}, []),
        ("batch_size", 4, {"type": "categorical", "values": [4, 8, 16]}, [("min", (2, 16))]),
        ("batch_size", 1, {"type": "categorical", "values": [1, 2, 4]}, []),  # 1 is the fewest
        ("lora_dropout", 0.0, {"type": "categorical", "values": [0.0, 0.05, 0.1]}, []),
        (
            "lora_dropout",
            0.1,
            {"type": "categorical", "values": [0.0, 0.05, 0.1]},
            [("max", (0, 0.15))],
        ),
        ("target_modules", "all", {"type": "categorical", "values": ["all", "mlp", "core"]}, []),
    ],
)
def test_ranges_end_where_the_hyperparameter_does(
    name: str, value: float | str, parameter: dict[str, Any], expected: list[Any]
) -> None:
    assert flags(name, value, **parameter) == expected
