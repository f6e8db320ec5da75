"""Where names are looked up: a project's own ``shared/`` first, then what Phasewise brings."""

from pathlib import Path

from phasewise.errors import ConfigError, suggest_nearest

_INSTALLED = Path(__file__).resolve().parents[1] / "bundled"
#: The Snakefile, ``workflow/``, ``profiles/`` and ``shared/`` that Phasewise brings: those of the
#: clone, of which a wheel holds a copy (``setup.py``).
BUNDLED = _INSTALLED if _INSTALLED.is_dir() else _INSTALLED.parents[2]
#: The folder of BUNDLED that holds ``tasks/``, ``methods/``, ``spaces/`` and ``studies/``.
REGISTRY = BUNDLED / "shared"


def own_registry() -> Path:
    """Returns the project's ``shared/``: that of the current folder, as with ``experiments/``."""
    return Path.cwd() / "shared"


def find_registered(folder: str, name: str) -> Path | None:
    """Returns the file of that name in ``shared/FOLDER``, the project's own first."""
    files = (root / folder / f"{name}.yaml" for root in (own_registry(), REGISTRY))
    return next((file for file in files if file.is_file()), None)


def require_registered(folder: str, name: str, asked_by: str = "") -> Path:
    """Returns the file of that name in ``shared/FOLDER``.

    Args:
        folder: One of ``phasewise list``.
        name: Of an entry.
        asked_by: What the message begins with: a file, and a key of it.

    Raises:
        ConfigError: There is none; the nearest name is told.
    """
    if file := find_registered(folder, name):
        return file
    prefix = f"{asked_by}: " if asked_by else ""
    near = suggest_nearest(name, registry_names(folder))
    raise ConfigError(f"{prefix}no file {name}.yaml in shared/{folder}/{near}")


def registry_names(folder: str) -> list[str]:
    """Returns the names in ``shared/tasks``, ``methods``, ``spaces`` or ``studies``."""
    roots = (own_registry(), REGISTRY)
    return sorted({file.stem for root in roots for file in (root / folder).glob("*.yaml")})


def find_study(path: Path) -> Path:
    """Returns a study's file: as given, or that of a registered name such as ``demo``."""
    if path.suffix or path.is_file() or len(path.parts) != 1:  # `demo` may be a folder too
        return path
    known = registry_names("studies")
    if file := find_registered("studies", path.name):
        return file
    raise ConfigError(
        f"{path}: no such settings file, nor a study of `phasewise list studies`"
        f"{suggest_nearest(path.name, known)}"
    )
