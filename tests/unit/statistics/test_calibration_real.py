"""The benchmark on real runs, tried on made-up ones: equal methods and a planted difference."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from phasewise.errors import RecordError
from phasewise.settings import Study, load_study
from synthetic import UnitWriter

ROOT = Path(__file__).parents[3]
_spec = importlib.util.spec_from_file_location(
    "calibration_real", ROOT / "benchmarks" / "calibration_real.py"
)
assert _spec is not None
assert _spec.loader is not None
calibration = importlib.util.module_from_spec(_spec)
sys.modules["calibration_real"] = calibration
_spec.loader.exec_module(calibration)


def _draw(runs: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    hard, level = rng.random(200), 0.75 + rng.normal(0, 0.01, (runs, 1))
    return (hard + rng.normal(0, 0.1, (runs, 200)) < level).astype(float)


def test_equal_runs_are_seldom_told_apart() -> None:
    row = calibration.split_runs(_draw(40), 5, 400)
    assert row.false_beats < 0.1
    assert row.covered > 0.9
    assert row.error == pytest.approx((row.false_beats * (1 - row.false_beats) / 400) ** 0.5)


def test_too_few_runs_are_refused() -> None:
    with pytest.raises(RecordError, match="expected at least 20, got 12"):
        calibration.split_runs(_draw(12), 10, 10)


def test_reads_the_records_of_a_study(
    write_study: Callable[..., Study], capsys: pytest.CaptureFixture[str]
) -> None:
    study = write_study(methods={"lora": {}}, validation={"seeds": 12})
    UnitWriter(study, "rotten_tomatoes", "lora").phase2_examples(_draw(12))
    calibration.main(["--study", str(study.path), "--seeds", "5", "--splits", "50"])
    assert "| rotten_tomatoes/lora | 12 | " in capsys.readouterr().out


def test_the_study_is_one_unit_with_enough_seeds() -> None:
    study = load_study(ROOT / "shared" / "studies" / "calibration.yaml")
    assert study.units_of("all") == [("rotten_tomatoes", "lora")]
    assert study.settings.validation.seeds >= 40
