"""What a search knows of a trial that has ended: its record, seen through the objective."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from phasewise.records import RunRecord, RunStatus
from phasewise.settings import Hyperparameters
from phasewise.tuning.objectives import Objective
from phasewise.tuning.progress import describe_retries


class EndedTrial(NamedTuple):
    """What the choice of the optimum needs to know of a trial."""

    number: int
    status: RunStatus
    value: float | None  # on the search set; of finished trials only
    hyperparameters: Hyperparameters
    origin: str
    search_rows: int
    message: str
    values: tuple[float, ...] = ()  # one per objective of a front, else the value alone
    within_limits: bool = True  # of memory
    can_be_retried: bool = False  # its run failed, which says nothing of its settings


def read_outcome(record: RunRecord, objective: Objective, limit_gb: float | None) -> EndedTrial:
    """Returns what a trial's record says of it.

    Args:
        record: Of the trial; one that finished without a finite value has failed.
        objective: What trials are compared by.
        limit_gb: ``search.memory_constraint_gb``; a trial above it cannot be chosen.
    """
    values = objective.told(record)
    status, message = record.status, record.message
    if status == "finished" and values is None:
        status, message = "failed", f"no finite {objective.name}"
    if status != "finished" or values is None:
        values = []
    peak = peak_gb(record)
    within_limits = limit_gb is None or peak is None or peak <= limit_gb
    if not within_limits:
        message = f"peak {peak:.2f} GB, above memory_constraint_gb {limit_gb:g}"
    return EndedTrial(
        number=record.config.index,
        status=status,
        value=values[0] if values else None,
        hyperparameters=record.config.hyperparameters,
        origin=record.config.origin,
        search_rows=record.search_rows,
        message=message,
        values=tuple(values),
        within_limits=within_limits,
        can_be_retried=record.status == "failed",
    )


def peak_gb(record: RunRecord) -> float | None:
    """Returns a run's measured peak memory, 1e9 bytes; None where there is none."""
    peak = None if record.cost is None else record.cost.peak_memory_mb
    return None if peak is None else peak / 1e3


def describe_lack(trials: Sequence[EndedTrial]) -> str:
    """Returns why a search whose trials have all ended has no finished one."""
    states = ", ".join(f"{count} {status}" for status, count in count_states(trials).items())
    reason = f"trial {trials[0].number}: {trials[0].message or trials[0].status}"
    retries = describe_retries(list_failed(trials))
    hint = f"; {retries}" if retries else ""
    return f"none of {len(trials)} trials finished ({states}); {reason}{hint}"


def list_failed(trials: Sequence[EndedTrial]) -> list[str]:
    """Returns the names of the trials that are tried again by the next call."""
    return [f"trial {trial.number}" for trial in trials if trial.can_be_retried]


def count_states(trials: Sequence[EndedTrial]) -> dict[str, int]:
    """Returns status to number of trials, for the statuses that occur."""
    return dict(sorted(Counter(trial.status for trial in trials).items()))
