"""The trials of a unit, read back from their records."""

from phasewise.figures.history import trial_number
from phasewise.records import RunRecord, iterate_records
from phasewise.runs import UnitPaths
from phasewise.settings import Study


def read_trials(study: Study, task: str, method: str) -> list[RunRecord]:
    """Returns the records of a unit's trials by number, without the confirmations."""
    root = UnitPaths(study, task, method).run("phase1", "")
    found = [record for _, record in iterate_records(root)]
    trials = [record for record in found if record.config.name.startswith("trial-")]
    return sorted(trials, key=lambda record: trial_number(record.config.name))
