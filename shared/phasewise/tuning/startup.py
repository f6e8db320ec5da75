"""Fixed draws: what a sampler tries before it learns, known before the first trial runs.

They are data, computed from the settings alone, so a killed search can neither lose nor repeat
one: trial k of a study is start-up draw k for as long as there is one.
"""

import itertools
import math
import random
import warnings
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from phasewise.samplers import SamplerKind, sampler_kind
from phasewise.settings import CategoricalParameter, RangeParameter, Scalar, SearchSettings
from phasewise.tuning.spaces import Space, from_unit, place_first

#: How a trial's hyperparameters were chosen.
Origin = Literal["default", "earlier", "sobol", "grid", "random", "model"]

#: Values of a continuous range on a grid, both ends included: 1, 2, 3 or more decades in 4 steps.
GRID_VALUES = 4
#: Sobol points looked at for each that is wanted; a space may forbid nearly all of them.
REJECTIONS = 64
#: Points of a grid looked at where conditions or constraints leave out some.
MOST_GRID_POINTS = 100_000


class Draw(NamedTuple):
    """One configuration that is fixed beforehand."""

    origin: Origin
    values: dict[str, Scalar]  # searched parameters only


def plan_startup(search: SearchSettings, space: Space, *, seed: int) -> list[Draw]:
    """Returns the fixed draws of a search, in trial order; none for purely adaptive samplers.

    A search that refines another starts with that one's optimum, whatever the sampler.

    Raising ``trials`` only ever appends draws, except that a grid too large for the budget is
    sampled anew. Draws that the space does not allow are left out, the published default too.

    Args:
        search: Sampler and number of trials.
        space: The method's space; its default is trial 0 of the schedule.
        seed: Of the Sobol scrambling and of the choice among grid points.
    """
    sampler = sampler_kind(search.sampler)
    first, fixed = _first_draws(space, sampler), sampler.fixed
    if fixed is None:
        return first
    draw = sobol_draws if fixed.points == "sobol" else grid_draws
    return [*first, *draw(space, fixed.count(search.trials) - len(first), seed=seed)]


def _first_draws(space: Space, sampler: SamplerKind) -> list[Draw]:
    """Returns an earlier search's optimum, else the default where the sampler starts with it."""
    if space.first is None and not sampler.starts_with_default:
        return []
    values = place_first(space).values
    origin: Origin = "default" if space.first is None else "earlier"
    return [Draw(origin, values)] if space.allows(values) else []


def sobol_draws(space: Space, count: int, *, seed: int) -> list[Draw]:
    """Returns the first points of a scrambled Sobol sequence (Owen 1998) over the space.

    Points that the space does not allow are skipped, so the sequence keeps its spread within what
    is allowed. Fewer than ``count`` come back where REJECTIONS times as many points hold no more.
    """
    from scipy.stats import qmc  # half a second to import, needed once per study

    names = list(space.searched)
    if count < 1 or not names:
        return []
    tries = count if space.is_plain else REJECTIONS * count
    with warnings.catch_warnings():  # balance needs a power of two; a prefix is good enough here
        warnings.simplefilter("ignore", UserWarning)
        points = qmc.Sobol(len(names), scramble=True, seed=seed).random(tries)  # (tries, names)
    placed = (_place(space, dict(zip(names, point, strict=True))) for point in points.tolist())
    return [Draw("sobol", values) for values in _take_allowed(space, placed, count)]


def grid_draws(space: Space, count: int, *, seed: int) -> list[Draw]:
    """Returns up to ``count`` distinct points of the full grid, in a random order.

    A categorical or whole-number range of at most GRID_VALUES values gives all of them, any
    other range GRID_VALUES values evenly spaced on its own (log) scale.
    """
    axes = {name: _grid_axis(parameter) for name, parameter in space.searched.items()}
    total = math.prod(len(axis) for axis in axes.values())
    tries = min(count, total) if space.is_plain else min(total, MOST_GRID_POINTS)
    chosen = random.Random(seed).sample(range(total), tries)
    points = (_grid_point(space, axes, index) for index in chosen)
    return [Draw("grid", values) for values in _take_allowed(space, points, count)]


def _take_allowed(
    space: Space, points: Iterable[dict[str, Scalar]], count: int
) -> list[dict[str, Scalar]]:
    """Returns the first ``count`` allowed points; of equal ones (conditions cut them) the first."""
    taken: list[dict[str, Scalar]] = []
    for values in points:
        if len(taken) == count:
            break
        if space.is_plain or (values not in taken and space.allows(values)):
            taken.append(values)
    return taken


def _grid_axis(parameter: RangeParameter | CategoricalParameter) -> list[Scalar]:
    if isinstance(parameter, CategoricalParameter):
        return list(parameter.values)
    values = [from_unit(parameter, i / (GRID_VALUES - 1)) for i in range(GRID_VALUES)]
    return [value for value, _ in itertools.groupby(values)]


def _grid_point(space: Space, axes: Mapping[str, list[Scalar]], index: int) -> dict[str, Scalar]:
    point = {}
    for name, axis in axes.items():
        index, position = divmod(index, len(axis))
        point[name] = axis[position]
    return space.drawn(space.fill(lambda name, _: point[name]))


def _place(space: Space, point: Mapping[str, float]) -> dict[str, Scalar]:
    """Returns the values at a point of the unit cube; only of parameters that apply."""
    return space.drawn(space.fill(lambda name, parameter: from_unit(parameter, point[name])))
