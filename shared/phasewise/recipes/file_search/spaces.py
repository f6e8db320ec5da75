"""The search space of a search of files: one that is named, or one that suits the model's size."""

import shutil
from pathlib import Path
from typing import Any

from phasewise.errors import ConfigError, suggest_nearest
from phasewise.methods.model_shape import read_shape
from phasewise.recipes.study_writer import SPACE_FILE, STUDY_FILE, bound_lengths, write_settings
from phasewise.settings import ModelSettings, read_yaml, registry_names, require_registered

#: Classifiers below so many weights learn in these ranges, not in those for larger ones.
_SMALL_WEIGHTS, _SMALL_SPACE = 50_000_000, "small_encoder"
#: Where they begin: the published defaults, for larger models, leave them at the majority class.
_SMALL_ADAPTER = {
    "learning_rate": 1.2e-3,
    "batch_size": 4,
    "epochs": 3,
    "warmup_ratio": 0.1,
    "target_modules": "all",
}
_SMALL_DEFAULTS = {
    "full_finetune": {"learning_rate": 1.5e-4, "batch_size": 16, "epochs": 3},
    "lora": _SMALL_ADAPTER,
    "dora": _SMALL_ADAPTER,
}


def fit_space(default: str, model: dict[str, Any], folder: Path) -> str:
    """Returns the name of the space for a classifier of this size.

    The one that an earlier call has chosen stays: a model of the hub may have been of unknown size
    then, and a second call must not change the study.

    Args:
        default: Name of the space for models of other or unknown size.
        model: The study's ``model`` section.
        folder: Of the study.
    """
    written = folder / STUDY_FILE
    known = read_yaml(written)["search"]["space"] if written.is_file() else None
    if known in (default, _SMALL_SPACE):
        return str(known)
    shape = read_shape(ModelSettings(**model))
    return _SMALL_SPACE if shape and shape.weights < _SMALL_WEIGHTS else default


def fit_defaults(space: str, method: str) -> dict[str, Any]:
    """Returns the method's section of the study: what Phase 0 and the search begin with."""
    begins = _SMALL_DEFAULTS.get(method) if space == _SMALL_SPACE else None
    return {"defaults": begins} if begins else {}


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
