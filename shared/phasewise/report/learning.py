"""Which units of a task have learned nothing, and what the others are compared by."""

from phasewise.example_values import find_constant
from phasewise.learning import Learning, judge_seeds
from phasewise.report.evidence import TaskEvidence, UnitEvidence


def judge_unit(task: TaskEvidence, unit: UnitEvidence) -> Learning | None:
    """Judges a unit by its Phase 2; None without a score or a baseline to hold it against."""
    if task.baselines is None:
        return None
    return judge_seeds(
        (unit.task, unit.method),
        task.baselines,
        unit.validation.scores,
        unit.interval[0],
        maximize=unit.maximize,
        hyperparameters=unit.phase2.hyperparameters if unit.phase2 else {},
        find_constant=lambda: find_constant(list(unit.seed_runs().values()), unit.root),
    )


def find_not_learned(task: TaskEvidence) -> tuple[Learning, ...]:
    """Returns the task's units that have not learned by their Phase 2, in order."""
    judged = [judge_unit(task, unit) for unit in task.units]
    return tuple(each for each in judged if each is not None and not each.learned)


def find_learned(task: TaskEvidence) -> tuple[UnitEvidence, ...]:
    """Returns the task's units that have a score and are not known to have learned nothing."""
    lost = {each.method for each in find_not_learned(task)}
    scored = [unit for unit in task.units if unit.validation.mean is not None]
    return tuple(unit for unit in scored if unit.method not in lost)


def nobody_learned(task: TaskEvidence) -> bool:
    """Whether units have a score and all of them have learned nothing."""
    return bool(find_not_learned(task)) and not find_learned(task)


def list_not_learned(task: TaskEvidence) -> list[str]:
    """Says of each unit that has not learned what was found and what may help.

    Before Phase 2 it is what the search says, once it has ended.
    """
    said = [each.describe() for each in find_not_learned(task)]
    searched = [
        unit.optimum.learned_why
        for unit in task.units
        if unit.validation.mean is None
        and unit.optimum is not None
        and unit.optimum.final
        and unit.optimum.learned is False
    ]
    return said + searched
