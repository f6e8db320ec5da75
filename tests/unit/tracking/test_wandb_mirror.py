from collections.abc import Callable
from pathlib import Path

import pytest

from phasewise.records import RunRecord
from phasewise.settings import Study
from phasewise.tracking import read_marker, run_id
from phasewise.tracking.wandb_mirror import (
    MARKER_FILE,
    choose_mode,
    describe_config,
    describe_summary,
    list_steps,
    list_tags,
)
from synthetic import make_config, make_record

TASK = "rotten_tomatoes"


@pytest.fixture
def record(write_study: Callable[..., Study]) -> RunRecord:
    config = make_config(write_study(), TASK, "lora", "trial-003", learning_rate=0.002)
    return make_record(config, 0.8)


def test_id_is_stable_and_tells_runs_apart(record: RunRecord) -> None:
    again = RunRecord.model_validate_json(record.model_dump_json())
    assert run_id(record) == run_id(again)
    renamed = record.config.model_copy(update={"index": 4})
    other = record.config.unit_config.model_copy(update={"study": "other"})
    changes = [
        {"config": renamed},
        {"config": record.config.model_copy(update={"unit_config": other})},
        {"config": record.config.model_copy(update={"role": "seed"})},
        {"hash": "0" * 16},
    ]
    ids = {run_id(record.model_copy(update=change)) for change in changes}
    assert len(ids | {run_id(record)}) == 5


def test_steps_rise_and_hold_loss_and_scores(record: RunRecord) -> None:
    steps = list_steps(record)
    assert [step for step, _ in steps] == list(range(1, 31))
    row = dict(steps)[10]  # the first of three evaluations
    assert row["search/accuracy"] == pytest.approx(0.64)
    assert row["epoch"] == 1
    assert row["train/loss"] == pytest.approx(0.7165, abs=1e-4)


def test_config_summary_and_tags(record: RunRecord) -> None:
    config = describe_config(record)
    assert (config["learning_rate"], config["method"], config["phase"]) == (0.002, "lora", "phase1")
    assert config["seeds"] == record.config.seeds.model_dump()
    assert "data_dir" not in str(config)  # no path of this machine
    summary = describe_summary(record)
    assert (summary["status"], summary["final/search/accuracy"]) == ("finished", 0.8)
    assert summary["cost/peak_memory_mb"] == 512.0
    assert list_tags(record) == sorted(["small", TASK, "lora", "phase1", "finished"])


@pytest.mark.parametrize(
    ("environment", "mode"),
    [
        ({}, "offline"),
        ({"WANDB_API_KEY": "k"}, "online"),
        ({"WANDB_API_KEY": "k", "WANDB_MODE": "offline"}, "offline"),
        ({"WANDB_MODE": "online"}, "online"),
        ({"WANDB_MODE": "dryrun", "WANDB_API_KEY": "k"}, "offline"),
    ],
)
def test_mode_follows_key_and_environment(
    environment: dict[str, str], mode: str, tmp_path: Path
) -> None:
    assert choose_mode({"NETRC": str(tmp_path / "none"), **environment}) == mode


@pytest.mark.parametrize(
    ("server", "mode"), [("", "online"), ("https://wandb.example.org", "offline")]
)
def test_netrc_counts_for_its_own_server_only(tmp_path: Path, server: str, mode: str) -> None:
    file = tmp_path / "netrc"
    file.write_text("machine api.wandb.ai login user password secret\n", "utf-8")
    assert choose_mode({"NETRC": str(file), "WANDB_BASE_URL": server}) == mode


def test_a_broken_netrc_is_no_key(tmp_path: Path) -> None:
    file = tmp_path / "netrc"
    file.write_text("machine\n", "utf-8")
    assert choose_mode({"NETRC": str(file)}) == "offline"


def test_a_torn_marker_counts_as_none(tmp_path: Path) -> None:
    (tmp_path / MARKER_FILE).write_text('{"id": "a', "utf-8")
    assert read_marker(tmp_path) is None
