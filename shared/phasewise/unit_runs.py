"""The runs that a unit has left behind: of the study's present settings, the others counted."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from phasewise.errors import ConfigError, DataError, RecordError
from phasewise.records import RECORD_FILE, RunRecord, read_record
from phasewise.runs import Phase, Role, UnitConfig, UnitPaths, build_unit
from phasewise.seeding import derive_seed
from phasewise.settings import Study, describe_meaning


class UnitRuns(NamedTuple):
    """Records of one unit, by name."""

    records: tuple[RunRecord, ...]
    others: tuple[str, ...]  # names of runs of other settings
    unreadable: tuple[str, ...]  # what is wrong with each record that cannot be read


def read_runs(
    study: Study, task: str, method: str, *, phase: Phase, role: Role | None = None
) -> UnitRuns:
    """Returns the runs of a unit's phase by their role, or all; those of other settings by name.

    Data, model and library versions are compared where this machine has them: the one that builds
    the report of several VMs need not.
    """
    records: list[RunRecord] = []
    others: list[str] = []
    unreadable: list[str] = []
    now = _PresentUnit(study, task, method)
    for found in _iterate_phase(study, task, method, phase):
        if isinstance(found, str):
            unreadable.append(found)
        elif role not in (None, found.config.role):
            continue
        elif now.made(found):
            records.append(found)
        else:
            others.append(found.config.name)
    return UnitRuns(tuple(records), tuple(others), tuple(unreadable))


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
    now = _PresentUnit(study, task, method)
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


class _PresentUnit:
    """A unit by the study's present settings, to compare records with."""

    def __init__(self, study: Study, task: str, method: str) -> None:
        self._study, self._task, self._method = study, task, method
        self.built = self._build()

    def made(self, record: RunRecord) -> bool:
        """Whether a record was made under these settings."""
        then = record.config.unit_config
        return bool(describe_meaning(self.like(then)) == describe_meaning(then))

    def _build(self) -> UnitConfig | None:
        try:
            return build_unit(self._study, self._task, self._method)
        except (ConfigError, DataError):
            return None  # neither data nor model are here

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
