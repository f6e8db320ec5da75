"""The rates of benchmarks/calibration.py, over fewer studies: bounds are 4 standard errors wide."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "calibration.py"
STUDIES = 1000


@pytest.fixture(scope="module")
def calibration() -> ModuleType:
    spec = importlib.util.spec_from_file_location("calibration", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "noise", [{}, {"by_run": 0.3}, {"by_method": 0.7}], ids=["quiet", "seeds", "examples"]
)
def test_rates_are_what_the_report_promises(
    calibration: ModuleType, noise: dict[str, float]
) -> None:
    world = calibration.World("test", seeds=5, examples=150, **noise)
    rates = calibration.calibrate(world, STUDIES, seed=3)
    assert 0.023 < rates.false_beats < 0.078
    assert 0.922 < rates.coverage < 0.977
    assert 0.74 < rates.power < 0.86
