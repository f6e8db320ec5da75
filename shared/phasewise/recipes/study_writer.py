"""Studies that a command writes: ordinary files, so that everything else goes on from there.

The same arguments write the same files, so a run that was cut off goes on.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from phasewise.records import write_atomically
from phasewise.settings.space_names import known_names

STUDY_FILE = "study.yaml"
SPACE_FILE = "search_space.yaml"
#: Of a file without splits this share, at most so many rows, is set aside for each held-out set.
CARVED_SHARE = 0.1
MOST_CARVED_ROWS = 1000
#: What a search space may call the tokens of a training example.
_LENGTHS = [name for name, ours in known_names("data").items() if ours == "max_length"]
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
        write_settings(folder / SPACE_FILE, space)
    study |= {
        "experiments_dir": str(folder.resolve() / "experiments"),
        "analysis_dir": str(folder.resolve() / "analysis"),
    }
    write_settings(folder / file, study)
    return folder / file


def bound_lengths(space: Mapping[str, Any], most: int | None) -> dict[str, Any]:
    """Returns a search-space file's content in which no training example is longer than asked.

    Args:
        space: In either form of such a file.
        most: Tokens; None: as it is.
    """

    def bound(value: Any, name: str = "") -> Any:
        if name in _LENGTHS and isinstance(value, dict):
            return _bound_parameter(value, most or 0)
        return {k: bound(v, k) for k, v in value.items()} if isinstance(value, dict) else value

    return {k: v if most is None else bound(v, k) for k, v in space.items()}


def _bound_parameter(parameter: dict[str, Any], most: int) -> dict[str, Any]:
    listed = [value for value in parameter.get("values", ()) if value <= most]
    if listed:
        return {**parameter, "values": listed}
    if parameter.get("min", most) < most:
        return {**parameter, "max": min(parameter["max"], most)}
    if parameter["type"] == "fixed" and parameter["value"] <= most:
        return parameter
    condition = {"when": parameter["when"]} if "when" in parameter else {}
    return {**condition, "type": "fixed", "value": most}


def resolve_source(model: str) -> str:
    """Returns a model's source: the absolute path of a folder, else as it is written."""
    folder = Path(model).expanduser()
    return str(folder.resolve()) if folder.is_dir() else model


def count_carved(rows: int) -> int:
    """Returns how many rows of a file are set aside for each set that has none of its own."""
    return min(MOST_CARVED_ROWS, max(2, round(CARVED_SHARE * rows)))


def write_settings(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a study or a search space as YAML, atomically."""
    text = yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True)
    write_atomically(path, _HEAD + text)
