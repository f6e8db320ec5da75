"""What commands on models are given, refused before PyTorch, which takes seconds to import."""

from collections.abc import Sequence
from pathlib import Path

from phasewise.errors import ConfigError
from phasewise.records import RECORD_FILE
from phasewise.settings import Study
from phasewise.summaries import Optimum, read_optimum

ADAPTER_FILE = "adapter_config.json"
#: In the folder of a baseline that was kept as a model.
BASELINE_FILE = "baseline.json"


def read_final_optimum(study: Study, path: Path) -> Optimum:
    """Returns the optimum of a unit of a study.

    Raises:
        ConfigError: It is missing, not final, or of another study.
    """
    optimum = read_optimum(path)
    if optimum is None:
        raise ConfigError(
            f"{path}: no such file; expected an optimum that `phasewise search` wrote"
        )
    if not optimum.final:
        raise ConfigError(f"{path}: final: false: its search has not ended; run it again to resume")
    expected = f"{study.settings.name}_{optimum.task}_{optimum.method}"
    known = optimum.task in study.tasks and optimum.method in study.methods
    if optimum.study_name != expected or not known:
        raise ConfigError(
            f"{path}: study_name: expected {expected}, got {optimum.study_name}: the optimum is of "
            f"another study than {study.path}; name its file with --study"
        )
    return optimum


def require_new(folder: Path, held: str) -> None:
    """Checks that a model can be written into a folder: it is absent or empty.

    Args:
        folder: Where it is to go.
        held: What else it may hold, ``model`` or ``baseline``, in the message.

    Raises:
        ConfigError: It holds something.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(
            f"{folder}: expected a new folder, it holds something else (or a {held} of other "
            "settings); remove it or choose another --output"
        )


def require_model(folder: Path) -> None:
    """Checks that a folder holds a model.

    Raises:
        ConfigError: It is missing, or holds none; what it holds is told.
    """
    if not _is_model(folder):
        raise ConfigError(
            f"{folder}: expected a model folder (with {ADAPTER_FILE} or config.json)"
            f"{_describe_content(folder)}"
        )


def find_models(folders: Sequence[Path]) -> list[Path]:
    """Returns the model folders among or directly inside the given ones, in their order.

    Raises:
        ConfigError: A folder is no model and holds none.
    """
    found: list[Path] = []
    for folder in folders:
        inside = [] if _is_model(folder) else sorted(filter(_is_model, folder.glob("*")))
        if not inside:
            require_model(folder)
        found.extend(inside or [folder])
    return found


def _is_model(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (ADAPTER_FILE, "config.json", BASELINE_FILE))


def _describe_content(folder: Path) -> str:
    if not folder.is_dir():
        return ", no such folder"
    inside = sorted(file.parent.name for file in folder.glob(f"*/{RECORD_FILE}"))
    return f"; it holds several: {', '.join(inside)}" if inside else ", it holds none"
