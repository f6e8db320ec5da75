"""`--json` prints one JSON value and nothing else, for programs."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from phasewise.cli.app import app
from phasewise.errors import ConfigError
from phasewise.settings import Study
from synthetic import UnitWriter

TASK = "rotten_tomatoes"
Writer = Callable[..., Study]


def _call(*arguments: str) -> Any:
    result = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture
def study(write_study: Writer) -> Study:
    study = write_study(validation={"seeds": 6})
    rng = np.random.default_rng(0)
    for method, rate in (("lora", 0.9), ("full_finetune", 0.6)):
        unit = UnitWriter(study, TASK, method)
        unit.phase0([0.7, 0.71], [0.7, 0.72])
        unit.phase2_examples((rng.random((6, 300)) < rate).astype(float))
    return study


def test_list(study: Study) -> None:
    assert set(_call("list")) >= {"tasks", "methods", "spaces", "studies", "presets", "suites"}
    assert _call("list", "methods")["methods"]["lora"] == "Low-rank adapters beside frozen weights."


def test_plan(study: Study) -> None:
    found = _call("plan", "--study", str(study.path))
    runs = {"phase 0": 2, "trials": 4, "confirm": 6, "phase 2": 6}
    assert [unit["runs"] for unit in found["units"]] == [runs, runs]
    assert found["trainings"] == 2 * sum(runs.values())
    assert {unit["engine"] for unit in found["units"]} == {"trainer", "packed"}


def test_status(study: Study) -> None:
    units = _call("status", "--study", str(study.path))["units"]
    assert {unit["method"]: unit["defaults_done"] for unit in units} == {
        "full_finetune": 2,
        "lora": 2,
    }


def test_report(study: Study) -> None:
    found = _call("report", "--study", str(study.path), "--figures", "none")
    assert found["report"] == "analysis/small/report.html"
    (verdict,) = found["verdicts"]
    assert (verdict["better"], verdict["verdict"]) == ("lora", "beats")


def test_check_tells_rows_or_problems(write_study: Writer, study_content: dict[str, Any]) -> None:
    path = str(write_study().path)
    found = _call("check", "--study", path)
    assert (found["problems"], found["rows"]) == ([], {TASK: {"train": 32, "search": 40}})
    write_study(search={"trials": 1, "confirm_top": 3})
    result = CliRunner().invoke(app, ["check", "--study", path, "--json"])
    assert isinstance(result.exception, ConfigError)  # exit code 2, see cli.app.main
    (problem,) = json.loads(result.stdout)["problems"]
    assert "search.confirm_top 3: expected at most" in problem
