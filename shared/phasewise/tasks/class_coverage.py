"""Which classes a set has no example of: refused where nothing could be learned, else told."""

from collections.abc import Mapping, Sequence

from phasewise.errors import DataError
from phasewise.settings import TaskSettings
from phasewise.tasks.examples import Example

#: Classes that a message names at most.
_NAMED = 5


def require_classes(
    task: TaskSettings, split: str, examples: Sequence[Example], origin: str
) -> None:
    """Checks that a split has the classes it needs: to train on all of them, to score on two.

    Args:
        task: The task; one without classes passes.
        split: Name of the split.
        examples: Its rows.
        origin: Where they come from, for the message.

    Raises:
        DataError: The train split lacks a class, or another split has one class alone, which
            leaves nothing to tell apart.
    """
    absent = find_absent(task, examples)
    trains = split == task.splits.train
    if not absent or not (trains or len(absent) == len(task.labels) - 1):
        return
    expected = f"every class of 'labels' ({', '.join(task.labels)})"
    raise DataError(
        f"{origin}: column '{task.label}': class '{absent[0]}' has no example in {len(examples)} "
        f"rows; expected {expected if trains else 'two classes or more'}"
    )


def find_absent(task: TaskSettings, examples: Sequence[Example]) -> list[str]:
    """Returns the classes without an example, in the order of ``labels``."""
    if not task.traits.has_classes:
        return []
    found = {example.label for example in examples}
    return [name for label, name in enumerate(task.labels) if label not in found]


def describe_scored_classes(
    task: TaskSettings, sets: Mapping[str, Sequence[Example]]
) -> tuple[str, ...]:
    """Returns over how many classes macro scores average, a sentence for each set without some.

    Args:
        task: The task.
        sets: The sets' rows by their names, such as ``the search set``.
    """
    absent = {name: find_absent(task, rows) for name, rows in sets.items()}
    return tuple(
        f"{name} has no example of {_list(classes)}: macro scores average over the "
        f"{len(task.labels) - len(classes)} of {len(task.labels)} classes that it has"
        for name, classes in absent.items()
        if classes
    )


def describe_trained_classes(task: TaskSettings, examples: Sequence[Example]) -> tuple[str, ...]:
    """Returns which classes a train sample cannot teach; () if it has all."""
    absent = find_absent(task, examples)
    if not absent:
        return ()
    return (
        f"the train sample ({len(examples)} rows) has no example of {_list(absent)}, "
        "which no model can learn then: raise train_rows",
    )


def _list(classes: Sequence[str]) -> str:
    more = f" and {len(classes) - _NAMED} more" if len(classes) > _NAMED else ""
    named = ", ".join(f"'{name}'" for name in classes[:_NAMED])
    return f"class {named}" if len(classes) == 1 else f"{len(classes)} classes ({named}{more})"
