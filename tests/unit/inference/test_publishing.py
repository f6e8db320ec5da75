"""The hub as a stand-in: what is sent, and that nothing is sent by accident."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from phasewise.cli.app import app
from phasewise.errors import ConfigError, PhasewiseError
from phasewise.inference import publishing
from phasewise.inference.publishing import push_to_hub


class _Hub:
    """Notes its calls, or refuses as the hub does."""

    def __init__(self, refusal: Exception | None = None) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self._refusal = refusal

    def create_repo(self, repository: str, **options: Any) -> None:
        self.calls.append((repository, options))
        if self._refusal:
            raise self._refusal

    def upload_folder(self, **options: Any) -> str:
        self.calls.append((options["repo_id"], options))
        return f"https://hub/{options['repo_id']}"


def test_a_folder_is_uploaded_to_a_private_repository(tmp_path: Path) -> None:
    hub = _Hub()
    assert push_to_hub(tmp_path, "ann/model", api=hub) == "https://hub/ann/model"
    assert hub.calls[0] == (
        "ann/model",
        {"private": True, "exist_ok": True, "repo_type": "model"},
    )
    assert hub.calls[1][1]["folder_path"] == str(tmp_path)


def test_a_refusal_leaves_the_folder_and_tells_how_to_go_on(tmp_path: Path) -> None:
    with pytest.raises(PhasewiseError, match=r"401 Unauthorized.*hf upload ann/model"):
        push_to_hub(tmp_path, "ann/model", api=_Hub(OSError("401 Unauthorized\nmore")))


@pytest.mark.parametrize("name", ["model", "ann/", "a/b/c"])
def test_a_name_without_its_owner_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="expected user/name"):
        push_to_hub(tmp_path, name, api=_Hub())


def test_offline_is_obeyed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="HF_HUB_OFFLINE is set"):
        push_to_hub(tmp_path, "ann/model")


@pytest.mark.parametrize("flag", [[], ["--push-to-hub", "ann/model"]])
def test_train_uploads_only_when_told(
    trained: Callable[[str], Path],
    workplace: Path,
    monkeypatch: pytest.MonkeyPatch,
    flag: list[str],
) -> None:
    folder, hub = trained("lora"), _Hub()
    monkeypatch.setattr(publishing, "_open_hub", lambda: hub)
    optimum = "analysis/small/topics_lora_optimal.yaml"
    command = ["train", "--study", "study.yaml", "--optimal", optimum, "--output", str(folder)]
    done = CliRunner().invoke(app, [*command, "--all-data", *flag])
    assert done.exit_code == 0, done.output
    assert str(folder) in done.output
    assert bool(hub.calls) == bool(flag)
