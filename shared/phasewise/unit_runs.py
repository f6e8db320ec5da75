"""The runs that a unit has left behind: of the study's present settings, the others counted."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from pydantic import ValidationError

from phasewise.errors import ConfigError, DataError, RecordError
from phasewise.records import RECORD_FILE, RunRecord, read_record
from phasewise.runs import Phase, Role, UnitConfig, UnitPaths, build_unit, hash_content
from phasewise.seeding import derive_seed
from phasewise.settings import Hyperparameters, Study, describe_meaning, merge_hyperparameters
from phasewise.summaries import read_optimum


class UnitRuns(NamedTuple):
    """Records of one unit, by name."""

    records: tuple[RunRecord, ...]
    others: tuple[RunRecord, ...]  # of other settings
    unreadable: tuple[str, ...]  # what is wrong with each record that cannot be read


def read_runs(
    study: Study, task: str, method: str, *, phase: Phase, role: Role | None = None
) -> UnitRuns:
    """Returns the runs of a unit's phase by their role, or all; those of other settings apart.

    Of other settings are also a trial of another search space, and a seed of another optimum than
    the one that is there.

    Data, model and library versions are compared where this machine has them: the one that builds
    the report of several VMs need not.
    """
    records: list[RunRecord] = []
    others: list[RunRecord] = []
    unreadable: list[str] = []
    now = PresentUnit(study, task, method)
    for found in _iterate_phase(study, task, method, phase):
        if isinstance(found, str):
            unreadable.append(found)
        elif role not in (None, found.config.role):
            continue
        elif now.made(found):
            records.append(found)
        else:
            others.append(found)
    return UnitRuns(tuple(records), tuple(others), tuple(unreadable))


def describe_search(study: Study, task: str, method: str) -> dict[str, Any]:
    """Returns what the draws and the pruning of a unit's trials depend on, beside the unit.

    Budgets are no part of it: more trials or seeds continue a search.
    """
    search = study.settings.search
    return {
        "seed": study.settings.seed,
        "default": describe_meaning(study.default_hyperparameters(task, method)),
        "parameters": describe_meaning(study.parameters_of(method)),
        "constraints": study.constraints_of(method),
        "sampler": search.sampler,
        "pruner": [search.pruner, search.pruning_factor],
        "objective": [search.objective, search.objective_weights],
        "memory_constraint_gb": search.memory_constraint_gb,
    }


def present_unit(
    study: Study, task: str, method: str, records: Sequence[RunRecord]
) -> UnitConfig | None:
    """Returns the unit by the study's present settings, with the libraries that its runs had.

    Args:
        study: The study.
        task: Its task.
        method: Its method.
        records: Runs of the present settings; they tell what this machine lacks.

    Returns:
        None without a record on a machine that has neither data nor model.
    """
    now = PresentUnit(study, task, method)
    return now.like(records[0].config.unit_config) if records else now.built


def _iterate_phase(study: Study, task: str, method: str, phase: Phase) -> Iterator[RunRecord | str]:
    folder = UnitPaths(study, task, method).root / phase
    for path in sorted(folder.glob(f"*/{RECORD_FILE}")):
        try:
            record = read_record(path.parent)
        except (RecordError, OSError) as error:
            yield str(error)
            continue
        if record is not None:
            yield record


class PresentUnit:
    """A unit by the study's present settings, to compare records with."""

    def __init__(self, study: Study, task: str, method: str) -> None:
        self._study, self._task, self._method = study, task, method

    def made(self, record: RunRecord) -> bool:
        """Whether a record was made under these settings."""
        then = record.config.unit_config
        same = describe_meaning(self.like(then)) == describe_meaning(then)
        return bool(same and self._asks_for(record))

    def _asks_for(self, record: RunRecord) -> bool:
        """Whether a run's hyperparameters are from where its role says, as that is now."""
        config = record.config
        if config.role == "default":
            return config.hyperparameters == self._default
        if config.role == "seed":
            return self._optimum in (None, config.hyperparameters)
        return config.search in ("", self._search)

    @cached_property
    def _default(self) -> Hyperparameters:
        return self._study.default_hyperparameters(self._task, self._method)

    @cached_property
    def _search(self) -> str:
        return hash_content(describe_search(self._study, self._task, self._method))

    @cached_property
    def _optimum(self) -> Hyperparameters | None:
        """The configuration that Phase 2 trains; None while there is none."""
        try:
            found = read_optimum(UnitPaths(self._study, self._task, self._method).optimum)
            if found is None or not found.final:
                return None
            return merge_hyperparameters(self._default, found.best_hyperparameters)
        except (RecordError, ConfigError, ValidationError):
            return None

    @cached_property
    def built(self) -> UnitConfig | None:
        """As this machine has it; None where it lacks the data or the model."""
        try:
            return build_unit(self._study, self._task, self._method)
        except (ConfigError, DataError):
            return None

    def like(self, then: UnitConfig) -> UnitConfig:
        """Returns the unit as it is now; what this machine cannot tell is as it was then."""
        if self.built is not None:
            return self.built.model_copy(update={"libraries": then.libraries})
        settings = self._study.settings
        data = then.data.model_copy(
            update={
                "task": self._study.tasks[self._task],
                "split_seed": derive_seed(settings.seed, "split", self._task),
            }
        )
        changes = {
            "data": data,
            "method": self._study.methods[self._method],
            "model": settings.model,
            "training": settings.training,
        }
        return then.model_copy(update=changes)
