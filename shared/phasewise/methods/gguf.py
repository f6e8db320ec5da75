"""A GGUF file as an ordinary model folder, converted once into the cache."""

import hashlib
import shutil
import tempfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from phasewise.errors import ConfigError
from phasewise.hub import cache_folder


def converted_folder(file: Path) -> Path:
    """Returns a folder with the model of a GGUF file: config, tokenizer, bfloat16 safetensors.

    The weights are those that the file's numbers stand for; what its quantization lost stays
    lost. Converted once per content; several processes may do so at once, the first is kept.

    Raises:
        ConfigError: The package ``gguf`` is missing, or transformers cannot read the file.
    """
    folder = place_converted(file)
    if (folder / "config.json").is_file():
        return folder
    if find_spec("gguf") is None:
        raise ConfigError(f"model.source: {file.name} is a GGUF file; pip install gguf")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".converting."))
    try:
        _convert(file, temporary)
        for written in temporary.iterdir():
            written.chmod(0o644)  # safetensors writes 0600
        temporary.chmod(0o755)
        try:
            temporary.rename(folder)
        except OSError:
            if not (folder / "config.json").is_file():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def place_converted(file: Path) -> Path:
    """Returns where a GGUF file's folder is, or will be."""
    status = file.stat()
    digest = _hash_file(file, status.st_mtime_ns, status.st_size)
    return cache_folder() / "models" / f"{file.stem}-{digest}"


def _convert(file: Path, folder: Path) -> None:
    import torch
    import transformers

    from phasewise.methods.base_config import quiet_loading

    names: dict[str, Any] = {"gguf_file": file.name}
    try:
        with quiet_loading():
            tokenizer = transformers.AutoTokenizer.from_pretrained(file.parent, **names)
            loaded = transformers.AutoModelForCausalLM.from_pretrained(
                file.parent, dtype=torch.bfloat16, **names
            )
            # A model that came from GGUF refuses to be saved; a twin made of its config does not.
            config = type(loaded.config).from_dict(loaded.config.to_dict())
            if hasattr(config, "quantization_config"):
                del config.quantization_config
            model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
            model.load_state_dict(loaded.state_dict())
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
    except (OSError, ValueError, KeyError, NotImplementedError) as error:
        raise ConfigError(f"model.source: {file}: cannot be converted: {error}") from error


@cache
def _hash_file(file: Path, mtime_ns: int, size: int) -> str:
    """Hashes once per process and file state; ``mtime_ns`` and ``size`` only key the cache."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]
