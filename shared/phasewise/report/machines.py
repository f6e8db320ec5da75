"""Which machine ran what, and with what: a difference between methods may be one of those."""

from collections.abc import Sequence
from dataclasses import dataclass

from phasewise.errors import RecordError
from phasewise.formatting import MISSING, join_words
from phasewise.merging.manifest import UnitSource, read_manifest
from phasewise.provenance import RESULT_LIBRARIES
from phasewise.records import RunRecord
from phasewise.report.columns import Column, Table
from phasewise.report.evidence import PHASES, TaskEvidence, UnitEvidence
from phasewise.settings import Study


@dataclass(frozen=True)
class UnitMachines:
    """Where a unit's runs come from."""

    unit: UnitEvidence
    source: str  # that they were brought from; empty: they are this clone's own

    @property
    def records(self) -> Sequence[RunRecord]:
        """Of all phases; at least one."""
        return [record for phase in PHASES for record in self.unit.records[phase]]

    def values(self, name: str) -> str:
        """Returns what the records say of their environment, in words."""
        return join_words(_list_values(self.records, name)) or MISSING

    @property
    def versions(self) -> str:
        """Of the libraries that can change a result."""
        found = ((name, _list_values(self.records, name)) for name in RESULT_LIBRARIES)
        return "; ".join(f"{name} {join_words(values)}" for name, values in found if values)


MACHINE_COLUMNS: tuple[Column[UnitMachines], ...] = (
    Column("task", lambda row: row.unit.task, words=True),
    Column("method", lambda row: row.unit.method, words=True),
    Column("host", lambda row: row.values("host"), words=True),
    Column("device", lambda row: row.values("device"), words=True),
    Column("commit", lambda row: row.values("commit"), words=True),
    Column("versions", lambda row: row.versions or MISSING, words=True),
    Column("first run (UTC)", lambda row: min(r.started for r in row.records)[:19], words=True),
    Column("last run (UTC)", lambda row: max(r.ended for r in row.records)[:19], words=True),
    Column("runs", lambda row: str(len(row.records))),
    Column("brought from", lambda row: row.source or MISSING, words=True),
)


def build_machine_table(study: Study, units: Sequence[UnitEvidence]) -> Table[UnitMachines]:
    """Returns who ran each unit; empty unless results of other machines were brought here."""
    brought = {entry.unit: entry.source for entry in find_sources(study)}
    rows = [
        UnitMachines(unit, brought.get(f"{unit.task}/{unit.method}", ""))
        for unit in units
        if brought and any(unit.records.values())
    ]
    return Table(MACHINE_COLUMNS, tuple(rows))


def find_sources(study: Study) -> tuple[UnitSource, ...]:
    """Returns the units that were brought from other machines; none where that cannot be read."""
    try:
        return read_manifest(study).units
    except (RecordError, OSError):
        return ()


def describe_mixture(task: TaskEvidence) -> list[str]:
    """Says in what else than their method the runs differ that a task's verdicts compare."""
    runs = {unit.method: unit.records["phase2"] for unit in task.units}
    sentences = []
    for name in (*RESULT_LIBRARIES, "device"):
        found = {method: _list_values(records, name) for method, records in runs.items()}
        if len({value for values in found.values() for value in values}) > 1:
            shown = [f"{m} {join_words(values)}" for m, values in found.items() if values]
            sentences.append(
                f"{task.task}: the runs of Phase 2 differ in {name}, not only in their method: "
                f"{'; '.join(shown)}. A difference of scores may come from that."
            )
    return sentences


def _list_values(records: Sequence[RunRecord], name: str) -> list[str]:
    return list(dict.fromkeys(r.environment[name] for r in records if name in r.environment))
