"""The files of a new project: those of the clone, and a Snakefile that uses its rules."""

from pathlib import Path

from phasewise.errors import ConfigError
from phasewise.records import write_atomically
from phasewise.settings import BUNDLED

#: Folder of what is written.
TEMPLATES = Path(__file__).with_name("files")
#: The profiles that a project begins with; ``demo`` and ``test`` name studies of the clone.
_PROFILES = ("local", "vm1", "vm2", "slurm")


def write_project(folder: Path) -> list[Path]:
    """Writes a new project; returns its files.

    Raises:
        ConfigError: One of them is there already: nothing has been written.
    """
    files = {folder / name: text for name, text in _list_files().items()}
    require_absent(*files)
    for path, text in files.items():
        write_atomically(path, text)
    for name in ("tasks", "methods", "spaces", "studies"):
        (folder / "shared" / name).mkdir(exist_ok=True)
    return list(files)


def require_absent(*files: Path) -> None:
    """Refuses to write over a file.

    Raises:
        ConfigError: One is there.
    """
    for file in files:
        if file.exists():
            raise ConfigError(
                f"{file}: is there already, and init overwrites nothing; move it, or give another "
                "folder"
            )


def _list_files() -> dict[str, str]:
    copied = ["shared/config.yaml", *(f"profiles/{name}/config.yaml" for name in _PROFILES)]
    return {
        "Snakefile": (TEMPLATES / "Snakefile.jinja").read_text(encoding="utf-8"),
        ".gitignore": (TEMPLATES / "gitignore.jinja").read_text(encoding="utf-8"),
        **{name: (BUNDLED / name).read_text(encoding="utf-8") for name in copied},
    }
