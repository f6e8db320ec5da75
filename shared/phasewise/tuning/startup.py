"""Fixed draws: what a sampler tries before it learns, known before the first trial runs.

They are data, computed from the settings alone, so a killed search can neither lose nor repeat
one: trial k of a study is start-up draw k for as long as there is one.
"""

import itertools
import math
import random
import warnings
from collections.abc import Mapping
from typing import Literal, NamedTuple

from phasewise.settings import (
    CategoricalParameter,
    FixedParameter,
    Hyperparameters,
    Parameter,
    RangeParameter,
    Scalar,
    SearchSettings,
)
from phasewise.tuning.spaces import from_unit, place_default, searched

#: How a trial's hyperparameters were chosen.
Origin = Literal["default", "sobol", "grid", "random", "model"]

#: Fewest start-up trials of the schedule, and the share of all trials they take (FACTS F2).
SCHEDULE_FEWEST = 4
SCHEDULE_SHARE = 3
#: Values of a continuous range on a grid, both ends included: 1, 2, 3 or more decades in 4 steps.
GRID_VALUES = 4


class Draw(NamedTuple):
    """One configuration that is fixed beforehand."""

    origin: Origin
    values: dict[str, Scalar]  # searched parameters only


def schedule_startup(trials: int) -> int:
    """Returns how many trials the schedule spends before its model draws."""
    return min(trials, max(SCHEDULE_FEWEST, trials // SCHEDULE_SHARE))


def plan_startup(
    search: SearchSettings,
    parameters: Mapping[str, Parameter],
    default: Hyperparameters,
    *,
    seed: int,
) -> list[Draw]:
    """Returns the fixed draws of a search, in trial order; empty for purely adaptive samplers.

    Raising ``trials`` only ever appends draws, except that a grid too large for the budget is
    sampled anew.

    Args:
        search: Sampler and number of trials.
        parameters: The method's space.
        default: The method's published default; trial 0 of the schedule.
        seed: Of the Sobol scrambling and of the choice among grid points.
    """
    if search.sampler == "schedule":
        first = Draw("default", place_default(parameters, default).values)
        return [first, *sobol_draws(parameters, schedule_startup(search.trials) - 1, seed=seed)]
    if search.sampler == "qmc":
        return sobol_draws(parameters, search.trials, seed=seed)
    if search.sampler == "grid":
        return grid_draws(parameters, search.trials, seed=seed)
    return []


def sobol_draws(parameters: Mapping[str, Parameter], count: int, *, seed: int) -> list[Draw]:
    """Returns the first points of a scrambled Sobol sequence (Owen 1998) over the space."""
    from scipy.stats import qmc  # half a second to import, needed once a study

    names = list(searched(parameters))
    if count < 1 or not names:
        return []
    with warnings.catch_warnings():  # balance needs a power of two; a prefix is good enough here
        warnings.simplefilter("ignore", UserWarning)
        points = qmc.Sobol(len(names), scramble=True, seed=seed).random(count)  # (draws, names)
    return [Draw("sobol", _place(parameters, names, point.tolist())) for point in points]


def grid_draws(parameters: Mapping[str, Parameter], count: int, *, seed: int) -> list[Draw]:
    """Returns up to ``count`` distinct points of the full grid, in a random order.

    A categorical or whole-number range of at most GRID_VALUES values gives all of them, any
    other range GRID_VALUES values evenly spaced on its own (log) scale.
    """
    axes = {name: _grid_axis(parameter) for name, parameter in searched(parameters).items()}
    total = math.prod(len(axis) for axis in axes.values())
    chosen = random.Random(seed).sample(range(total), min(count, total))
    return [Draw("grid", _grid_point(axes, index)) for index in chosen]


def grid_size(parameters: Mapping[str, Parameter]) -> int:
    """Returns the number of points of the full grid."""
    return math.prod(len(_grid_axis(parameter)) for parameter in searched(parameters).values())


def _grid_axis(parameter: Parameter) -> list[Scalar]:
    assert not isinstance(parameter, FixedParameter)
    if isinstance(parameter, CategoricalParameter):
        return list(parameter.values)
    values = [from_unit(parameter, i / (GRID_VALUES - 1)) for i in range(GRID_VALUES)]
    return [value for value, _ in itertools.groupby(values)]


def _grid_point(axes: Mapping[str, list[Scalar]], index: int) -> dict[str, Scalar]:
    point = {}
    for name, axis in axes.items():
        index, position = divmod(index, len(axis))
        point[name] = axis[position]
    return point


def _place(
    parameters: Mapping[str, Parameter], names: list[str], point: list[float]
) -> dict[str, Scalar]:
    placed = {}
    for name, coordinate in zip(names, point, strict=True):
        parameter = parameters[name]
        assert isinstance(parameter, RangeParameter | CategoricalParameter)
        placed[name] = from_unit(parameter, coordinate)
    return placed
