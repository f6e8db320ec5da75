"""``extends:``: what a study takes over from another, and what of it no longer fits is dropped."""

import os
from collections.abc import Collection
from copy import deepcopy
from pathlib import Path
from typing import Any

from phasewise.errors import ConfigError
from phasewise.settings.base import merge_mappings, read_yaml

#: Which ones is a choice, not an addition: what the file itself says replaces all of it.
_CHOICES = ("tasks", "methods", "shards")


def read_extended(path: Path, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Returns a study file's content, laid over that of the file it extends.

    ``null`` removes an inherited key, so that its default holds again. Inherited shards and
    resources of tasks and methods that the study does not have are left out.

    Raises:
        ConfigError: A file is missing or no YAML, or the study extends itself.
    """
    own = read_yaml(path)
    parent = own.pop("extends", None)
    if parent is None:
        return own
    file = (path.parent / str(parent)).resolve()
    if file in (*seen, path.resolve()):
        raise ConfigError(f"{path}: extends: {parent}: the study extends itself; name another file")
    if not file.is_file():
        raise ConfigError(
            f"{path}: extends: no file {parent} beside it; the path is relative to it"
        )
    base = _move(read_extended(file, (*seen, path.resolve())), file.parent, path.parent)
    return merge_mappings(_narrow(base, own), own, null_removes=True)


def is_beside(source: str, folder: Path) -> bool:
    """Whether a model's source is a path relative to the folder of the file that names it."""
    if source.startswith(("/", "~", "package:")):
        return False
    return source.startswith(".") or (folder / source).exists()


def _narrow(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Returns what a study inherits, given what it says itself."""
    replaced = [key for key in _CHOICES if own.get(key) is not None]
    kept = {key: value for key, value in base.items() if key not in replaced}
    if "name" in own:  # a folder of its own, or it would overwrite the other's report
        kept.pop("analysis_dir", None)
    both = {**kept, **own}
    tasks, methods = (_mapping(both.get(key)) for key in ("tasks", "methods"))
    if shards := _mapping(kept.get("shards")):
        named = {vm: [task for task in names if task in tasks] for vm, names in shards.items()}
        kept["shards"] = {vm: names for vm, names in named.items() if names}
    if by := _mapping(kept.get("resources_by")):
        kept["resources_by"] = _only(by, {*tasks, *methods})
    return kept


def _only(mapping: dict[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {key: value for key, value in mapping.items() if key in names}


def _mapping(value: Any) -> dict[str, Any]:
    """Anything else is refused later, when the whole study is checked."""
    return value if isinstance(value, dict) else {}


def _move(content: dict[str, Any], old: Path, new: Path) -> dict[str, Any]:
    """Returns the content with its relative paths as seen from another folder."""
    if old == new.resolve():
        return content
    content = deepcopy(content)

    def move(mapping: dict[str, Any], key: str) -> None:
        mapping[key] = os.path.relpath(old / str(mapping[key]), new.resolve())

    search, model = _mapping(content.get("search")), _mapping(content.get("model"))
    for key in ("space", "refine_from"):
        if str(search.get(key)).endswith((".yaml", ".yml")):
            move(search, key)
    if is_beside(str(model.get("source", "/")), old):
        move(model, "source")
    for task in _mapping(content.get("tasks")).values():
        files = _mapping(_mapping(_mapping(task).get("source")).get("files"))
        for split in files:
            move(files, split)
    return content
