"""What a reader must know before any number: "Read this first"."""

from collections.abc import Sequence

from phasewise.formatting import join_words
from phasewise.report.evidence import TaskEvidence, UnitEvidence
from phasewise.report.learning import list_not_learned
from phasewise.report.machines import describe_mixture
from phasewise.settings import Study


def list_first(study: Study, tasks: Sequence[TaskEvidence], planned: int) -> list[str]:
    """Returns what decides whether the report can be trusted, the gravest first.

    Args:
        study: The study.
        tasks: Those of the report.
        planned: Comparisons of the whole study.
    """
    units = [unit for task in tasks for unit in task.units]
    return [
        *(text for task in tasks for text in list_not_learned(task)),
        *_describe_part(study, units, planned),
        *(text for task in tasks for text in describe_mixture(task)),
        *(text for task in tasks for text in task.notes),
        *(text for unit in units for text in _describe_left_out(unit)),
        *(text for task in tasks for text in _describe_edges(task)),
        *(text for task in tasks for text in _describe_ledger(study, task)),
    ]


def _describe_part(study: Study, units: Sequence[UnitEvidence], planned: int) -> list[str]:
    """Says that the report is of a part of the study, if so."""
    whole = len(study.tasks) * len(study.methods)
    if len(units) == whole:
        return []
    words = f"Partial: this report shows {len(units)} of the study's {whole} units."
    if planned:
        words += f" Its verdicts are corrected for all {planned} comparisons of the study."
    return [words]


def _describe_left_out(unit: UnitEvidence) -> list[str]:
    """One line per unit; the whole list stands with the runs."""
    if len(unit.notes) < 2:
        return list(unit.notes)
    return [
        f"{unit.task}/{unit.method}: part of its files was left out, as of other settings or "
        f"unreadable ({len(unit.notes)} reasons under Runs); run the study again."
    ]


def _describe_edges(task: TaskEvidence) -> list[str]:
    """An optimum at an edge may lie beyond it; the units' sections propose wider ranges."""
    found = {
        unit.method: [flag.parameter for flag in unit.optimum.range_flags]
        for unit in task.units
        if unit.optimum is not None and unit.optimum.final and unit.optimum.range_flags
    }
    if not found:
        return []
    parts = [f"{method} ({join_words(names)})" for method, names in found.items()]
    return [
        f"{task.task}: the optimum lies at an edge of its range and may be better beyond it: "
        f"{'; '.join(parts)}."
    ]


def _describe_ledger(study: Study, task: TaskEvidence) -> list[str]:
    """One look per run that reports: what goes beyond was a second look."""
    settings = study.settings
    runs = settings.baselines.seeds + settings.validation.seeds
    planned = 1 + len(task.units) * runs
    if len(task.ledger) <= planned:
        return []
    return [
        f"{task.task}: the report set was opened {len(task.ledger)} times, {planned} are planned; "
        "each choice made after a look at it makes its scores too good."
    ]
