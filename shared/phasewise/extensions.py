"""What recipes add to the core, found by the names of their files.

A recipe is a folder of ``phasewise/recipes/``. Nothing below imports one by name, so that deleting
its folder takes away what it added and nothing else. A recipe may have

- ``command.py`` with ``register(app)``: its commands, or more options of the core's;
- ``section.py`` with ``SECTIONS``: sections of a study file, by key;
- ``samplers.py`` with ``SAMPLERS``: rows like those of ``phasewise/samplers.py``;
- ``ranges.py``: what narrows a unit's ranges, see ``tuning/narrowing.py``;
- in its ``__init__.py``, which imports nothing: ``TRAINING_COMMANDS`` (that train in workers),
  ``REGISTRIES`` (folders of ``shared/`` for ``phasewise list``), ``LISTED_KEYS`` (folder and key of
  its files that the list shows too), ``USES`` (recipes that it imports,
  inside functions only).
"""

import pkgutil
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

_FOLDER = Path(__file__).with_name("recipes")


def recipe_packages() -> list[ModuleType]:
    """Returns the recipes, by name."""
    found = pkgutil.iter_modules([str(_FOLDER)])
    return [import_module(f"phasewise.recipes.{each.name}") for each in found if each.ispkg]


def recipe_modules(name: str) -> list[ModuleType]:
    """Returns the module of that name of each recipe that has one."""
    full = [f"{recipe.__name__}.{name}" for recipe in recipe_packages()]
    return [import_module(each) for each in full if find_spec(each) is not None]


def recipe_constants(name: str) -> list[Any]:
    """Returns what all recipes list under that name in their ``__init__.py``."""
    return [item for recipe in recipe_packages() for item in getattr(recipe, name, ())]
