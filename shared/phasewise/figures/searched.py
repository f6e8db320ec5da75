"""The trials of one unit as points of its search space, on the scales of the space."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from phasewise.figures.history import last_score
from phasewise.records import RunRecord, RunStatus
from phasewise.settings import FixedParameter, Parameter, RangeParameter, Scalar, applies
from phasewise.tuning.edges import ordered_numbers

#: ``ordered`` and ``unordered`` are lists, of numbers and of words; their places are 0, 1, 2, ...
Scale = Literal["linear", "log", "ordered", "unordered"]


@dataclass(frozen=True)
class SearchedParameter:
    """One searched hyperparameter and its value in every trial."""

    name: str
    scale: Scale
    low: float  # end of the range; of a list the first place
    high: float
    choices: tuple[Scalar, ...]  # of a list, smallest first if they are numbers; else empty
    places: tuple[float, ...]  # one per trial: its value, or its place in the list; NaN: not active

    def relative(self, place: float) -> float:
        """Returns where a place lies between the ends, 0 to 1 on the parameter's own scale."""
        low, high, at = self.low, self.high, place
        if self.scale == "log":
            low, high, at = math.log(low), math.log(high), math.log(place)
        return (at - low) / (high - low) if high > low else 0.5

    def describe(self, place: float) -> str:
        """Returns the value at a place as one would type it; a dash where it was not active."""
        if math.isnan(place):
            return "–"
        return str(self.choices[int(place)]) if self.choices else f"{place:.3g}"


@dataclass(frozen=True)
class SearchedTrial:
    """One trial; its place in every parameter is at the same index."""

    number: int
    status: RunStatus
    score: float | None  # a pruned one's last


@dataclass(frozen=True)
class SearchedTrials:
    """The trials of a unit in order, with the parameters that were searched."""

    metric: str
    maximize: bool
    trials: tuple[SearchedTrial, ...]
    parameters: tuple[SearchedParameter, ...]
    best: int | None  # index of the trial to bring out

    def finished(self) -> list[int]:
        """Returns the indices of the trials that trained to their end and have a score."""
        pairs = enumerate(self.trials)
        return [i for i, trial in pairs if trial.status == "finished" and trial.score is not None]


def collect_trials(
    records: Sequence[RunRecord], parameters: Mapping[str, Parameter], best: str | None = None
) -> SearchedTrials:
    """Places the trials of one unit in its search space.

    Args:
        records: Of the unit's trials, in any order; not its confirmations.
        parameters: The method's search space; fixed parameters are left out.
        best: Name of the trial to bring out.

    Returns:
        Values that the space cannot hold, such as a published default beyond a range, keep their
        own place; a value that is not of its list counts as not active.
    """
    ordered = sorted(records, key=lambda record: record.config.index)
    if not ordered:
        return SearchedTrials("", True, (), (), None)
    task = ordered[0].config.unit_config.task
    names = [record.config.name for record in ordered]
    return SearchedTrials(
        metric=task.metric,
        maximize=task.direction == "maximize",
        trials=tuple(SearchedTrial(r.config.index, r.status, last_score(r)) for r in ordered),
        parameters=tuple(
            _place(name, parameter, ordered)
            for name, parameter in parameters.items()
            if not isinstance(parameter, FixedParameter)
        ),
        best=names.index(best) if best in names else None,
    )


def encode(parameter: SearchedParameter, indices: Sequence[int]) -> np.ndarray:
    """Returns a parameter's values for a regression, shape (trials, indicators).

    Ranges and lists of numbers have one column on their own scale, a list of words one indicator
    a word; NaN where the parameter was not active.
    """
    places: np.ndarray = np.array([parameter.places[index] for index in indices])
    if parameter.scale == "unordered":
        marks: np.ndarray = (places[:, None] == np.arange(len(parameter.choices))).astype(float)
        marks[np.isnan(places)] = np.nan
        return marks
    if parameter.scale == "log":
        places = np.log(places)
    return places.reshape(-1, 1)


def _place(name: str, parameter: Parameter, records: Sequence[RunRecord]) -> SearchedParameter:
    dumped = [record.config.hyperparameters.model_dump() for record in records]
    values = [each[name] if applies(parameter, each) else None for each in dumped]
    if isinstance(parameter, RangeParameter):
        scale: Scale = "log" if parameter.type.startswith("log") else "linear"
        places = tuple(math.nan if value is None else float(value) for value in values)
        return SearchedParameter(name, scale, parameter.min, parameter.max, (), places)
    assert not isinstance(parameter, FixedParameter)
    numbers = ordered_numbers(parameter)
    choices: tuple[Scalar, ...] = parameter.values
    if numbers:
        choices = tuple(sorted(choices, key=float))
    places = tuple(float(choices.index(v)) if v in choices else math.nan for v in values)
    last = len(choices) - 1
    return SearchedParameter(name, "ordered" if numbers else "unordered", 0, last, choices, places)
