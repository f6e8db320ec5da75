from pathlib import Path

import pytest

from phasewise.tracking import read_marker
from phasewise.tracking.marker import MARKER_FILE, choose_mode


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
