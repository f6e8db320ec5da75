"""Optima at the edge of their range: the best may lie beyond it (FACTS F5)."""

import math
from collections.abc import Callable, Mapping

from phasewise.settings import Hyperparameters, Parameter, RangeParameter
from phasewise.summaries import RangeFlag

#: An optimum this near to an end, as a share of the (log) range, is flagged.
EDGE_SHARE = 0.1
#: The proposed range is wider on that side by this share of the (log) range.
WIDENING = 0.5


def flag_edges(
    parameters: Mapping[str, Parameter], hyperparameters: Hyperparameters
) -> tuple[RangeFlag, ...]:
    """Returns a flag for each searched range whose optimum lies within 10 % of one of its ends.

    An end that is the end of what the hyperparameter may be at all (a dropout of 0, a rank of 1)
    is not flagged. Categorical parameters have no ends.
    """
    flags = []
    for name, parameter in parameters.items():
        if isinstance(parameter, RangeParameter):
            flag = _flag(name, parameter, float(getattr(hyperparameters, name)))
            flags += [flag] if flag is not None else []
    return tuple(flags)


def _flag(name: str, parameter: RangeParameter, value: float) -> RangeFlag | None:
    log = parameter.type.startswith("log")
    low, high = _scale(parameter.min, log), _scale(parameter.max, log)
    at = _scale(value, log) if value > 0 or not log else low
    share = (at - low) / (high - low)
    widening = WIDENING * (high - low)
    if share <= EDGE_SHARE:
        end = _rounded(min(_unscale(low - widening, log), value), parameter, math.floor)
        proposed = (max(end, _lower_bound(name, parameter)), parameter.max)
        return _build_flag(name, value, "min", proposed) if proposed[0] < parameter.min else None
    if share >= 1 - EDGE_SHARE:
        end = _rounded(max(_unscale(high + widening, log), value), parameter, math.ceil)
        proposed = (parameter.min, min(end, _upper_bound(name, parameter)))
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


def _rounded(value: float, parameter: RangeParameter, away: Callable[[float], int]) -> float:
    """Whole numbers, away from the range, for whole parameters; else two significant digits."""
    if parameter.type.endswith("int"):
        return float(away(value))
    return float(f"{value:.2g}")


def _lower_bound(name: str, parameter: RangeParameter) -> float:
    """An open bound cannot be reached: half of the way to it is proposed, or 1 more if whole."""
    closed, open_ = _bound(name, "ge"), _bound(name, "gt")
    if open_ is None:
        return -math.inf if closed is None else closed
    if parameter.type == "log_uniform":
        return open_  # a log scale only nears it
    return open_ + 1 if parameter.type.endswith("int") else (parameter.min + open_) / 2


def _upper_bound(name: str, parameter: RangeParameter) -> float:
    closed, open_ = _bound(name, "le"), _bound(name, "lt")
    if open_ is None:
        return math.inf if closed is None else closed
    return (parameter.max + open_) / 2


def _bound(name: str, kind: str) -> float | None:
    for constraint in Hyperparameters.model_fields[name].metadata:
        if hasattr(constraint, kind):
            return float(getattr(constraint, kind))
    return None
