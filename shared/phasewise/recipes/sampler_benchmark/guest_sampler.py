"""Another library's optimizer behind Optuna's sampler interface.

The library gets a plain request: each parameter on an axis of its own (a number in [0, 1], or the
place of a value in a list), what ended trials scored, and what still runs. Nothing is kept between
draws but Optuna's storage, so a resumed search draws what it would have drawn anyway.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from phasewise.tuning.samplers import TOLD

Coordinates = dict[str, float]


class Axis(NamedTuple):
    """A parameter as a library that knows neither logarithms nor steps sees it."""

    kind: Literal["continuous", "ordered", "choice"]
    size: int = 0  # values of an ordered or a choice axis, at 0 .. size - 1; continuous: [0, 1]

    @property
    def middle(self) -> float:
        """Where a trial is put that does not have the parameter."""
        return 0.5 if self.kind == "continuous" else self.size // 2


class Observation(NamedTuple):
    """A trial; parameters that its conditions left out are missing."""

    number: int
    coordinates: Coordinates
    loss: float | None  # lower is better; None: pruned, diverged or infeasible, so as bad as any


class SuggestRequest(NamedTuple):
    """What a library needs to propose the next trial."""

    axes: dict[str, Axis]
    ended: tuple[Observation, ...]
    running: tuple[Coordinates, ...]
    seed: int


#: Gives proposals without end, each to be used where the one before was refused.
Propose = Callable[[SuggestRequest], Iterator[Coordinates]]


class GuestSampler(BaseSampler):
    """Asks a library for each draw.

    Args:
        propose: The library.
        startup: Trials in ``states`` before it is asked; earlier draws are random.
        states: What it can learn from at the start.
        seed: Of one draw.
    """

    def __init__(
        self, propose: Propose, *, startup: int, states: tuple[TrialState, ...] = TOLD, seed: int
    ) -> None:
        self._propose = propose
        self._startup = startup
        self._states = states
        self._seed = seed
        self._random = RandomSampler(seed=seed)
        self._proposals: tuple[int, Iterator[Coordinates]] | None = None  # trial and its proposals

    def reseed_rng(self) -> None:
        """See BaseSampler."""
        self._random.reseed_rng()

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Returns every parameter that a told trial had; nothing while too few are told."""
        if len(study.get_trials(deepcopy=False, states=self._states)) < self._startup:
            return {}
        told = study.get_trials(deepcopy=False, states=TOLD)
        return {name: axis for each in told for name, axis in sorted(each.distributions.items())}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Returns the library's proposal; called again for the same trial, its next one.

        Raises:
            ValueError: The study has several objectives.
        """
        if len(study.directions) > 1:
            raise ValueError(f"one objective expected, got {len(study.directions)}")
        if not search_space:
            return {}
        if self._proposals is None or self._proposals[0] != trial.number:
            request = _build_request(study, search_space, self._seed)
            self._proposals = trial.number, self._propose(request)
        proposed = next(self._proposals[1])
        return {name: decode(search_space[name], at) for name, at in proposed.items()}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, name: str, distribution: BaseDistribution
    ) -> Any:
        """Returns a random value: at the start, and of parameters that no told trial had."""
        return self._random.sample_independent(study, trial, name, distribution)


def _build_request(
    study: optuna.Study, space: Mapping[str, BaseDistribution], seed: int
) -> SuggestRequest:
    sign = 1.0 if study.direction == StudyDirection.MINIMIZE else -1.0
    trials = study.get_trials(deepcopy=False)
    ended = tuple(
        Observation(t.number, _encode_trial(space, t), sign * t.values[0] if t.values else None)
        for t in trials
        if t.state in TOLD
    )
    running = tuple(
        _encode_trial(space, t) for t in trials if t.state == TrialState.RUNNING and t.params
    )
    axes = {name: axis_of(distribution) for name, distribution in space.items()}
    return SuggestRequest(axes, ended, running, seed)


def _encode_trial(space: Mapping[str, BaseDistribution], trial: FrozenTrial) -> Coordinates:
    return {
        name: encode(space[name], value) for name, value in trial.params.items() if name in space
    }


def axis_of(distribution: BaseDistribution) -> Axis:
    """Returns the axis of a parameter; a logarithmic whole number is continuous."""
    if isinstance(distribution, CategoricalDistribution):
        return Axis("choice", len(distribution.choices))
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    if distribution.log or distribution.step is None:
        return Axis("continuous")
    return Axis("ordered", round((distribution.high - distribution.low) / distribution.step) + 1)


def encode(distribution: BaseDistribution, value: Any) -> float:
    """Returns where a value lies on its axis; the nearest place of one that is out of range."""
    axis = axis_of(distribution)
    if isinstance(distribution, CategoricalDistribution):
        return float(distribution.to_internal_repr(value))
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    if axis.kind == "ordered":
        place: int = round((value - distribution.low) / (distribution.step or 1))
        return min(max(place, 0), axis.size - 1)
    low, high = _bounds(distribution)
    at = math.log(value) if distribution.log else float(value)
    return min(max((at - low) / (high - low), 0.0), 1.0) if high > low else 0.5


def decode(distribution: BaseDistribution, at: float) -> Any:
    """Returns the value at a place of its axis."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[int(at)]
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    if axis_of(distribution).kind == "ordered":
        value = distribution.low + int(at) * (distribution.step or 1)
        return int(value) if isinstance(distribution, IntDistribution) else float(value)
    low, high = _bounds(distribution)
    found = low + at * (high - low)
    found = math.exp(found) if distribution.log else found
    if isinstance(distribution, IntDistribution):
        found = round(found)
    return min(max(found, distribution.low), distribution.high)


def _bounds(distribution: FloatDistribution | IntDistribution) -> tuple[float, float]:
    """Returns the ends on the parameter's own scale; whole numbers own half a unit around them."""
    margin = 0.5 if isinstance(distribution, IntDistribution) else 0.0
    low, high = distribution.low - margin, distribution.high + margin
    return (math.log(low), math.log(high)) if distribution.log else (low, high)


def fill_missing(axes: Mapping[str, Axis], coordinates: Coordinates) -> Coordinates:
    """Returns a place on every axis, for libraries that know no conditions."""
    return {name: coordinates.get(name, axis.middle) for name, axis in axes.items()}


def worst_loss(ended: Sequence[Observation]) -> float:
    """Returns the largest loss of a finished trial; 0 if none has finished."""
    return max((each.loss for each in ended if each.loss is not None), default=0.0)
