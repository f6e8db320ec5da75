"""What a task's final model should be: an optimum, or a baseline that none has beaten."""

from pathlib import Path
from typing import NamedTuple

from phasewise.errors import ConfigError
from phasewise.formatting import BASELINE_NAMES, show_score
from phasewise.inference.given import read_final_optimum
from phasewise.settings import Study
from phasewise.summaries import LINEAR_NAMES, LinearName
from phasewise.tuning.optimum import read_floor
from phasewise.tuning.phases import expected_score
from phasewise.tuning.units import Unit


class Contender(NamedTuple):
    """One way to a final model, scored on the search set."""

    label: str
    score: float
    """The task's metric; of an optimum the mean over fresh seeds, where it was trained on any."""
    optimum: Path | None = None
    baseline: LinearName | None = None

    def describe(self) -> str:
        """Returns ``lora 0.712``."""
        return f"{self.label} {show_score(self.score)}"


def rank_contenders(study: Study, task: str) -> list[Contender]:
    """Returns what could be a task's final model, best on the search set first.

    A baseline that scores no less than an optimum stands before it: it costs next to nothing.
    Optima of another objective than the task's metric are not compared with baselines.

    Raises:
        ConfigError: No search of the task has ended.
    """
    optima = [
        (unit, read_final_optimum(study, unit.paths.optimum))
        for unit in (Unit(study, task, method) for method in study.methods)
        if unit.paths.optimum.is_file()
    ]
    if not optima:
        raise ConfigError(f"{study.path}: no search of '{task}' has ended; see phasewise search")
    found = [
        Contender(unit.method, expected_score(unit, one), optimum=unit.paths.optimum)
        for unit, one in optima
    ]
    unit, best = optima[0]
    floor = read_floor(unit)
    if floor is not None and best.metric == floor.metric:
        found += [
            Contender(BASELINE_NAMES[each.name], each.search_score, baseline=each.name)
            for each in floor.baselines
            if each.name in LINEAR_NAMES and each.search_score is not None
        ]
    sign = 1 if best.direction == "maximize" else -1
    return sorted(found, key=lambda one: (-sign * one.score, one.baseline is None))
