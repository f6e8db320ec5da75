"""The copy of the trials that optuna-dashboard is given."""

import socket
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from typer.testing import CliRunner

from phasewise.cli.app import app
from phasewise.dashboard.optuna_copy import copy_trials
from phasewise.errors import ConfigError
from phasewise.runs import UnitPaths
from phasewise.settings import Study
from phasewise.tuning.storage import connect


def test_every_unit_is_in_one_copy_and_the_live_files_stay(
    write_study: Callable[..., Study], tmp_path: Path
) -> None:
    study = write_study()
    journals = []
    for task, method in study.units_of("all"):
        journal = UnitPaths(study, task, method).storage
        journal.parent.mkdir(parents=True)
        found = optuna.create_study(storage=connect(journal), study_name=f"small_{method}")
        found.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=3)
        journals.append(journal)
    with journals[0].open("ab") as stream:
        stream.write(b'{"op_code": 4, "wor')  # is being written
    before = [journal.read_bytes() for journal in journals]
    copy = tmp_path / "copy.log"
    assert copy_trials([study.path], copy) == 2
    assert [journal.read_bytes() for journal in journals] == before
    summaries = optuna.get_all_study_summaries(connect(copy))
    assert {each.study_name: each.n_trials for each in summaries} == {
        "small_full_finetune": 3,
        "small_lora": 3,
    }


def test_what_is_missing_is_said(
    write_study: Callable[..., Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = write_study()
    monkeypatch.setattr("phasewise.dashboard.optuna_copy.find_spec", lambda name: None)
    done = CliRunner().invoke(app, ["dashboard", str(study.path), "--optuna"])
    assert isinstance(done.exception, ConfigError)
    assert "pip install 'phasewise[optuna]'" in str(done.exception)
    monkeypatch.setattr("phasewise.dashboard.optuna_copy.find_spec", lambda name: object())
    done = CliRunner().invoke(app, ["dashboard", str(study.path), "--optuna"])
    assert "expected a study with trials, got none yet" in str(done.exception)


def test_a_port_that_is_taken_is_said(write_study: Callable[..., Study]) -> None:
    study = write_study()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        done = CliRunner().invoke(app, ["dashboard", str(study.path), "--port", port])
    assert "--port 0 takes any" in str(done.exception)
