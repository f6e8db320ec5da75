"""The trials of a unit, read back from their records."""

from phasewise.records import RunRecord
from phasewise.settings import Study
from phasewise.unit_runs import read_runs


def read_trials(study: Study, task: str, method: str) -> list[RunRecord]:
    """Returns the records of a unit's trials by number, without the confirmations."""
    found = read_runs(study, task, method, phase="phase1", role="trial").records
    return sorted(found, key=lambda record: record.config.index)
