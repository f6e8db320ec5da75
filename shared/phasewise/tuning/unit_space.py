"""Whether a unit's space leaves anything to search."""

from phasewise.errors import ConfigError
from phasewise.tuning.startup import grid_draws, sobol_draws
from phasewise.tuning.units import Unit


def check_space(unit: Unit) -> None:
    """Refuses a space in which all is fixed, or nearly all forbidden.

    Raises:
        ConfigError: It is one.
    """
    space = unit.space
    if not space.searched:
        section = unit.study.space.section_of(unit.study.methods[unit.method])
        raise ConfigError(
            f"{unit.study.path}: search.space '{unit.study.space.name}', section '{section}': "
            "every hyperparameter is fixed; expected at least one range or list of values"
        )
    drawn = grid_draws if unit.study.settings.search.sampler == "grid" else sobol_draws
    if not drawn(space, 1, seed=0):
        raise ConfigError(
            f"{unit.study.path}: search.space '{unit.study.space.name}': constraints "
            f"{', '.join(space.constraints)} forbid nearly all draws; widen the ranges"
        )
