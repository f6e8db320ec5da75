"""Ranges that an earlier search narrows: the recipe with a ``ranges.py`` knows how."""

from types import ModuleType
from typing import NamedTuple

from phasewise.errors import ConfigError
from phasewise.extensions import recipe_modules
from phasewise.settings import Hyperparameters, Parameter, Study
from phasewise.summaries import RefinedFrom


class Refinement(NamedTuple):
    """What a refined search takes over."""

    parameters: dict[str, Parameter]  # the narrowed space
    best: Hyperparameters  # the earlier search's optimum
    origin: RefinedFrom  # for the record


def narrow_ranges(study: Study, task: str, method: str) -> Refinement | None:
    """Returns the narrowed space of a unit; None where the study refines no other.

    Raises:
        ConfigError: The other study lacks the unit, its search of it has not ended, or nothing
            here narrows ranges.
    """
    if study.settings.search.refine_from is None:
        return None
    found: Refinement = _find_provider(study).refine(study, task, method)
    return found


def unfinished_sources(study: Study, task: str, method: str) -> list[Study]:
    """Returns the studies that this one refines whose search of a unit has not ended.

    The first to be searched comes first; errors are those of ``narrow_ranges``.
    """
    if study.settings.search.refine_from is None:
        return []
    due: list[Study] = _find_provider(study).unfinished_sources(study, task, method)
    return due


def _find_provider(study: Study) -> ModuleType:
    providers = recipe_modules("ranges")
    if not providers:
        raise ConfigError(
            f"{study.path}: search.refine_from: no recipe here narrows ranges; expected "
            "phasewise/recipes/refinement"
        )
    return providers[0]
