"""Optima at the edge of their range: the best may lie beyond it."""

import math
from collections.abc import Callable, Mapping, Sequence

from phasewise.settings import (
    CategoricalParameter,
    Hyperparameters,
    Parameter,
    RangeParameter,
    applies,
)
from phasewise.summaries import RangeFlag

#: An optimum this near to an end, as a share of the (log) range, is flagged.
EDGE_SHARE = 0.1
#: The proposed range is wider on that side by this share of the (log) range.
WIDENING = 0.5
#: With two numbers to choose from the best is always at an end, which says nothing.
_SHORTEST_LIST = 3


def flag_edges(
    parameters: Mapping[str, Parameter], hyperparameters: Hyperparameters
) -> tuple[RangeFlag, ...]:
    """Returns a flag for each searched range whose optimum lies within 10 % of one of its ends.

    A list of three or more numbers is a range too: its smallest or largest value is flagged, with
    the list's next value as the proposed end. An end that is the end of what the hyperparameter
    may be at all (a dropout of 0, a rank of 1) is not flagged, nor one that was not drawn.
    Other lists have no ends.
    """
    flags = []
    values = hyperparameters.model_dump()
    for name, parameter in parameters.items():
        if not applies(parameter, values) or values[name] is None:
            continue
        if isinstance(parameter, RangeParameter):
            flags.append(_flag(name, parameter, float(getattr(hyperparameters, name))))
        elif numbers := ordered_numbers(parameter):
            flags.append(_flag_list(name, numbers, float(getattr(hyperparameters, name))))
    return tuple(flag for flag in flags if flag is not None)


def ordered_numbers(parameter: Parameter) -> tuple[float, ...]:
    """Returns the values of a list of numbers, smallest first; empty if it is anything else."""
    if not isinstance(parameter, CategoricalParameter):
        return ()
    values = parameter.values
    numbers = {float(v) for v in values if isinstance(v, int | float) and not isinstance(v, bool)}
    return tuple(sorted(numbers)) if len(numbers) == len(values) else ()


def _flag_list(name: str, numbers: Sequence[float], value: float) -> RangeFlag | None:
    if len(numbers) < _SHORTEST_LIST:
        return None
    low, high = numbers[0], numbers[-1]
    whole = Hyperparameters.model_fields[name].annotation is int
    if value <= low:
        end = min(_round_end(_next_number(numbers[::-1]), whole, math.floor), value)
        proposed = (max(end, _lower_bound(name, low, whole=whole)), high)
        return _build_flag(name, value, "min", proposed) if proposed[0] < low else None
    if value >= high:
        end = max(_round_end(_next_number(numbers), whole, math.ceil), value)
        proposed = (low, min(end, _upper_bound(name, high)))
        return _build_flag(name, value, "max", proposed) if proposed[1] > high else None
    return None


def _next_number(numbers: Sequence[float]) -> float:
    """Goes on after the last number as the list does: by the same step, else by the same factor."""
    before, end = numbers[-2], numbers[-1]
    even = math.isclose(numbers[1] - numbers[0], end - before)
    return 2 * end - before if even or before <= 0 or end <= 0 else end * end / before


def _flag(name: str, parameter: RangeParameter, value: float) -> RangeFlag | None:
    log, whole = parameter.type.startswith("log"), parameter.type.endswith("int")
    low, high = _scale(parameter.min, log), _scale(parameter.max, log)
    at = _scale(value, log) if value > 0 or not log else low
    share = (at - low) / (high - low)
    widening = WIDENING * (high - low)
    if share <= EDGE_SHARE:
        end = _round_end(min(_unscale(low - widening, log), value), whole, math.floor)
        lowest = _lower_bound(name, parameter.min, whole=whole, log=log)
        proposed = (max(end, lowest), parameter.max)
        return _build_flag(name, value, "min", proposed) if proposed[0] < parameter.min else None
    if share >= 1 - EDGE_SHARE:
        end = _round_end(max(_unscale(high + widening, log), value), whole, math.ceil)
        proposed = (parameter.min, min(end, _upper_bound(name, parameter.max)))
        return _build_flag(name, value, "max", proposed) if proposed[1] > parameter.max else None
    return None


def _build_flag(name: str, value: float, edge: str, proposed: tuple[float, float]) -> RangeFlag:
    return RangeFlag.model_validate(
        {"parameter": name, "value": value, "edge": edge, "proposed": proposed}
    )


def _scale(value: float, log: bool) -> float:
    return math.log(value) if log else value


def _unscale(value: float, log: bool) -> float:
    return math.exp(value) if log else value


def _round_end(value: float, whole: bool, away: Callable[[float], int]) -> float:
    """Whole numbers, away from the range, for whole parameters; else two significant digits."""
    return float(away(value)) if whole else float(f"{value:.2g}")


def _lower_bound(name: str, low: float, *, whole: bool, log: bool = False) -> float:
    """An open bound cannot be reached: half of the way to it is proposed, or 1 more if whole."""
    closed, open_ = _bound(name, "ge"), _bound(name, "gt")
    if open_ is None:
        return -math.inf if closed is None else closed
    if log and not whole:
        return open_  # a log scale only nears it
    return open_ + 1 if whole else (low + open_) / 2


def _upper_bound(name: str, high: float) -> float:
    closed, open_ = _bound(name, "le"), _bound(name, "lt")
    if open_ is None:
        return math.inf if closed is None else closed
    return (high + open_) / 2


def _bound(name: str, kind: str) -> float | None:
    for constraint in Hyperparameters.model_fields[name].metadata:
        if hasattr(constraint, kind):
            return float(getattr(constraint, kind))
    return None
