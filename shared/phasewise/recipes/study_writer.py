"""Studies that a command writes: ordinary files, so that everything else goes on from there.

The same arguments write the same files, so a run that was cut off goes on.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from phasewise.records import write_atomically

STUDY_FILE = "study.yaml"
SPACE_FILE = "search_space.yaml"
#: Of a file without splits this share, at most so many rows, is set aside for each held-out set.
CARVED_SHARE = 0.1
MOST_CARVED_ROWS = 1000
_HEAD = "# Written by phasewise; every command takes the study as --study.\n"


def write_study(
    folder: Path,
    content: Mapping[str, Any],
    *,
    space: Mapping[str, Any] | None = None,
    file: str = STUDY_FILE,
) -> Path:
    """Writes a study; returns its file.

    Args:
        folder: Where it goes; its experiments and analysis too.
        content: The study's sections.
        space: The search space, written beside it; None: ``content`` names one.
        file: Name of the study's file.
    """
    study = dict(content)
    if space is not None:
        study["search"] = {"space": SPACE_FILE, **study.get("search", {})}
        _write(folder / SPACE_FILE, space)
    study |= {
        "experiments_dir": str(folder.resolve() / "experiments"),
        "analysis_dir": str(folder.resolve() / "analysis"),
    }
    _write(folder / file, study)
    return folder / file


def resolve_source(model: str) -> str:
    """Returns a model's source: the absolute path of a folder, else as it is written."""
    folder = Path(model).expanduser()
    return str(folder.resolve()) if folder.is_dir() else model


def count_carved(rows: int) -> int:
    """Returns how many rows of a file are set aside for each set that has none of its own."""
    return min(MOST_CARVED_ROWS, max(2, round(CARVED_SHARE * rows)))


def _write(path: Path, content: Mapping[str, Any]) -> None:
    text = yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True)
    write_atomically(path, _HEAD + text)
