"""Whether a study's runs can be trained by several devices together, as ``machine`` asks."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phasewise.errors import ConfigError

if TYPE_CHECKING:
    from phasewise.settings.loading import Study


def check_devices(study: "Study") -> None:
    """Checks ``machine.gpus_per_run`` and the files that belong to it.

    Raises:
        ConfigError: Another setting excludes it, or a file is missing or not what it should be.
    """
    machine, where = study.settings.machine, f"{study.path}: machine"
    files = {key: getattr(machine, key) for key in ("fsdp_config", "deepspeed_config")}
    given = {f"{where}.{key}": path for key, path in files.items() if path is not None}
    if len(given) > 1:
        raise ConfigError(f"{where}: fsdp_config and deepspeed_config exclude each other; give one")
    if machine.gpus_per_run == 1:
        for key in given:
            raise ConfigError(
                f"{key} divides a model among the devices of a run; expected gpus_per_run of 2 or "
                "more, got 1"
            )
        return
    if study.settings.training.engine == "packed":
        raise ConfigError(
            f"{where}.gpus_per_run {machine.gpus_per_run}: training.engine packed trains many "
            "runs on one device; use engine: auto or trainer, or gpus_per_run: 1"
        )
    for task in study.tasks:
        for method in study.methods:
            _check_gpus(study, task, method)
    for key, path in given.items():
        _check_file(key, _read(path, key))
    if given and study.settings.training.optimizer != "adamw":
        raise ConfigError(
            f"{study.path}: training.optimizer {study.settings.training.optimizer}: bitsandbytes "
            "holds no moments of divided weights; use adamw"
        )


def _check_gpus(study: "Study", task: str, method: str) -> None:
    asked, needed = study.resources_of(task, method).gpu, study.settings.machine.gpus_per_run
    if 0 < asked < needed:
        raise ConfigError(
            f"{study.path}: resources.gpu {asked} for {task}/{method}: expected 0 or at least "
            f"machine.gpus_per_run, {needed}"
        )


def _read(path: Path, key: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{key}: {path}: {error.strerror}; expected a JSON file") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{key}: {path}: not JSON: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{key}: {path}: expected a JSON object, got {type(content).__name__}")
    return content


def _check_file(key: str, content: dict[str, Any]) -> None:
    if key.endswith("deepspeed_config") and find_spec("deepspeed") is None:
        raise ConfigError(
            f"{key}: the package deepspeed is not installed; pip install deepspeed, or use "
            "fsdp_config"
        )
    version = content.get("version", content.get("fsdp_version", 2))
    if key.endswith("fsdp_config") and version != 2:
        # version 1 wraps the model in another, which scoring and saving here do not know
        raise ConfigError(f"{key}: version {version!r}: expected 2, or nothing")
