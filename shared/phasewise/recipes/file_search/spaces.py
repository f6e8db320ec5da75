"""The search space of a search of files: one that is named, or one that suits the model's size."""

import shutil
from pathlib import Path
from typing import Any

from phasewise.errors import ConfigError, suggest_nearest
from phasewise.recipes.small_models import SMALL_SPACE, fit_space
from phasewise.recipes.study_writer import SPACE_FILE, STUDY_FILE, bound_lengths, write_settings
from phasewise.settings import read_yaml, registry_names, require_registered


def keep_space(default: str, model: dict[str, Any], folder: Path) -> str:
    """Returns the space for a classifier of this size, or the one that an earlier call has chosen.

    A model of the hub may have been of unknown size then: a second call must not change the study.

    Args:
        default: Name of the space for models of other or unknown size.
        model: The study's ``model`` section.
        folder: Of the study.
    """
    written = folder / STUDY_FILE
    known = read_yaml(written)["search"]["space"] if written.is_file() else None
    return str(known) if known in (default, SMALL_SPACE) else fit_space(default, model)


def place_space(name: str, folder: Path, max_length: int | None) -> str:
    """Returns the name of a registered space, or puts a file beside the study and returns it.

    A space that draws texts longer than ``max_length`` is put there too, bounded. So the folder
    repeats the search by itself.

    Args:
        name: A file, or a name in ``shared/spaces/``.
        folder: Of the study.
        max_length: Tokens of a text; None: the task's.

    Raises:
        ConfigError: There is no such space.
    """
    file = Path(name)
    registered = file.suffix not in (".yaml", ".yml")
    if registered:
        known = registry_names("spaces")
        if name not in known:
            near = suggest_nearest(name, known)
            raise ConfigError(
                f"--search-space {name}: expected a .yaml file or a name in shared/spaces/{near}"
            )
        file = require_registered("spaces", name)
    if not file.is_file():
        raise ConfigError(f"--search-space {file}: no such file")
    target = folder / SPACE_FILE
    content = read_yaml(file)
    bounded = bound_lengths(content, max_length)
    if bounded != content:
        write_settings(target, bounded)
        return SPACE_FILE
    if registered:
        return name
    folder.mkdir(parents=True, exist_ok=True)
    if file.resolve() != target.resolve():
        shutil.copyfile(file, target)
    return SPACE_FILE
