"""Search spaces: from settings to Optuna's distributions, drawn values and points of a cube."""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial

from phasewise.settings import (
    CategoricalParameter,
    FixedParameter,
    Hyperparameters,
    Parameter,
    RangeParameter,
    Scalar,
    expression_names,
    is_true,
    merge_hyperparameters,
)

#: Rounding of a unit coordinate must never step out of its cell.
_BELOW_ONE = 1.0 - 1e-12


class DefaultPoint(NamedTuple):
    """A published default in the words of a space."""

    values: dict[str, Scalar]  # searched parameters only
    notes: tuple[str, ...]  # one for each value that the space made different


@dataclass(frozen=True)
class Space:
    """What a unit draws from.

    Attributes:
        parameters: Each comes after those that its condition names.
        default: What a parameter holds that is not drawn.
        constraints: Comparisons that every draw must meet.
        fits: Whether a configuration may be trained at all, such as by its memory.
        first: The optimum of an earlier search, tried first; None: the default is.
    """

    parameters: Mapping[str, Parameter]
    default: Hyperparameters
    constraints: tuple[str, ...] = ()
    fits: Callable[[Hyperparameters], bool] | None = None
    first: Hyperparameters | None = None

    @property
    def searched(self) -> dict[str, RangeParameter | CategoricalParameter]:
        """The parameters that are drawn: all but the fixed ones."""
        items = self.parameters.items()
        return {k: v for k, v in items if not isinstance(v, FixedParameter)}

    @property
    def is_plain(self) -> bool:
        """Whether every point of the box of ranges is a different draw, and allowed."""
        conditional = any(parameter.when for parameter in self.parameters.values())
        return not (conditional or self.constraints or self.fits)

    def fill(
        self, choose: Callable[[str, RangeParameter | CategoricalParameter], Scalar]
    ) -> dict[str, Scalar]:
        """Returns a value for each parameter whose condition holds, the fixed ones included.

        Args:
            choose: Gives the value of a searched parameter; called in order, and only for those
                that apply.
        """
        values: dict[str, Scalar] = {}
        for name, parameter in self.parameters.items():
            if parameter.when is not None and not _holds(parameter.when, values):
                continue
            if isinstance(parameter, FixedParameter):
                values[name] = parameter.value
            else:
                values[name] = choose(name, parameter)
        return values

    def drawn(self, values: Mapping[str, Scalar]) -> dict[str, Scalar]:
        """Returns the values of searched parameters only."""
        return {name: values[name] for name in self.searched if name in values}

    def distance(self, one: Mapping[str, Scalar], other: Mapping[str, Scalar]) -> float:
        """Returns how far two draws are apart, 0 to 1.

        The mean over the parameters of: the share of a range on its own (log) scale; 1 for
        different words, different numbers of a list, or where only one draw has the parameter.
        """
        parts = [
            _part_distance(parameter, one.get(name), other.get(name))
            for name, parameter in self.searched.items()
        ]
        return sum(parts) / len(parts)

    def allows(self, values: Mapping[str, Scalar]) -> bool:
        """Returns whether a draw meets all constraints and fits."""
        if not self.constraints and self.fits is None:
            return True
        merged = merge_hyperparameters(self.default, values)
        complete = merged.model_dump()
        met = all(is_true(constraint, complete) for constraint in self.constraints)
        return met and (self.fits is None or self.fits(merged))


def _part_distance(
    parameter: RangeParameter | CategoricalParameter, one: Scalar | None, other: Scalar | None
) -> float:
    if one == other:
        return 0.0
    if isinstance(parameter, CategoricalParameter) or one is None or other is None:
        return 1.0
    scale = math.log if parameter.type.startswith("log") else float
    width = scale(parameter.max) - scale(parameter.min)
    return min(1.0, abs(scale(float(one)) - scale(float(other))) / width)


def _holds(condition: str, values: Mapping[str, Scalar]) -> bool:
    """A condition on a parameter that does not apply itself does not hold."""
    return set(expression_names(condition)) <= set(values) and is_true(condition, values)


def build_distribution(parameter: RangeParameter | CategoricalParameter) -> BaseDistribution:
    """Returns Optuna's distribution of one searched parameter."""
    if isinstance(parameter, CategoricalParameter):
        return CategoricalDistribution(parameter.values)
    log = parameter.type.startswith("log")
    if parameter.type.endswith("int"):
        low, high, step = int(parameter.min), int(parameter.max), int(parameter.step or 1)
        return IntDistribution(low, high - (high - low) % step, log=log, step=step)
    if parameter.step is None:
        return FloatDistribution(parameter.min, parameter.max, log=log)
    with warnings.catch_warnings():  # Optuna lowers the end to a whole step, in decimal arithmetic
        warnings.simplefilter("ignore", UserWarning)
        return FloatDistribution(parameter.min, parameter.max, step=parameter.step)


def suggest(trial: optuna.Trial | FrozenTrial, space: Space) -> dict[str, Scalar]:
    """Returns a value for every parameter that applies; those the trial already holds are kept.

    Args:
        trial: An open trial, whose new values are written to the storage at once; or an ended
            one, which holds them all.
        space: A method's space; a fixed parameter gives its value and is not stored.
    """
    return space.fill(lambda name, parameter: suggest_one(trial, name, parameter))


def suggest_one(
    trial: optuna.Trial | FrozenTrial, name: str, parameter: RangeParameter | CategoricalParameter
) -> Any:
    """Returns a trial's value of one searched parameter."""
    distribution = build_distribution(parameter)
    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(name, distribution.choices)
    if isinstance(distribution, IntDistribution):
        low, high = distribution.low, distribution.high
        return trial.suggest_int(name, low, high, step=distribution.step, log=distribution.log)
    assert isinstance(distribution, FloatDistribution)
    low_, high_ = distribution.low, distribution.high
    return trial.suggest_float(name, low_, high_, step=distribution.step, log=distribution.log)


def from_unit(parameter: RangeParameter | CategoricalParameter, coordinate: float) -> Scalar:
    """Returns the value at a coordinate of the unit interval, on the parameter's own scale.

    Discrete parameters split the interval into cells of equal width (``log_int``: of equal width
    on the log scale).

    Args:
        parameter: A searched parameter.
        coordinate: In [0, 1]; 0 gives the first value, 1 the last.
    """
    u = min(max(coordinate, 0.0), _BELOW_ONE)
    if isinstance(parameter, CategoricalParameter):
        return parameter.values[int(u * len(parameter.values))]
    low, high = parameter.min, parameter.max
    if parameter.type == "log_int":
        value = math.exp(math.log(low) + u * (math.log(high + 1) - math.log(low)))
        return int(min(math.floor(value + 1e-9), high))
    if parameter.type == "int" or parameter.step is not None:
        step = parameter.step or 1.0
        stepped = low + step * int(u * (_whole_steps(parameter) + 1))
        return int(stepped) if parameter.type == "int" else stepped
    u = coordinate  # continuous: 1 is the upper end itself
    if parameter.type == "log_uniform":
        value = math.exp(math.log(low) + u * (math.log(high) - math.log(low)))
        return min(max(value, low), high)
    return min(max(low + u * (high - low), low), high)


def _whole_steps(parameter: RangeParameter) -> int:
    return math.floor((parameter.max - parameter.min) / (parameter.step or 1.0) + 1e-9)


def place_first(space: Space) -> DefaultPoint:
    """Returns the published default, or an earlier search's optimum, as a point of the space.

    A number outside its range stays as published (Optuna takes it and its samplers cope with it);
    what the space cannot hold at all becomes the nearest value it can, with a note.
    """
    published = _published_values(space.first or space.default)
    values = space.fill(lambda name, parameter: _hold(parameter, published[name]))
    notes = tuple(
        f"{name} {_show(published[name])} -> {_show(held)}"
        for name, held in values.items()
        if held != published[name]
    )
    return DefaultPoint(space.drawn(values), notes)


def _published_values(default: Hyperparameters) -> dict[str, Any]:
    values = default.model_dump()
    if values["lora_alpha_over_rank"] is None:
        values["lora_alpha_over_rank"] = default.lora_alpha / default.lora_rank
    if values["device_batch_size"] is None:
        values["device_batch_size"] = default.batch_size // default.gradient_accumulation_steps
    # A published share of the steps is no number of steps; the least the space has comes nearest.
    values["warmup_steps"] = values["warmup_steps"] or 0
    return values


def _hold(parameter: RangeParameter | CategoricalParameter, wanted: Any) -> Scalar:
    if wanted is None:  # "all that there is", such as max_length
        return from_unit(parameter, 1.0)
    if isinstance(parameter, CategoricalParameter):
        return _nearest_choice(parameter.values, wanted)
    number = float(wanted)
    if parameter.type.startswith("log") and number <= 0:
        number = parameter.min
    return round(number) if parameter.type.endswith("int") else number


def _nearest_choice(choices: Sequence[Scalar], wanted: Any) -> Scalar:
    """Returns the equal choice, else the nearest number by ratio, else the first choice."""
    for choice in choices:
        if choice == wanted and isinstance(choice, str) == isinstance(wanted, str):
            return choice
    numbers = [c for c in choices if isinstance(c, int | float) and not isinstance(c, bool)]
    if isinstance(wanted, str) or len(numbers) < len(choices):
        return choices[0]
    if wanted > 0 and min(numbers) > 0:
        return min(numbers, key=lambda choice: abs(math.log(choice / wanted)))
    return min(numbers, key=lambda choice: abs(choice - wanted))


def _show(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
