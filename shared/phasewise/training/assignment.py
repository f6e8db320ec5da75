"""Which worker trains which of the runs that wait, so that all workers end at about one time."""

from collections.abc import Sequence
from typing import NamedTuple

from phasewise.training.interface import RunJob

#: What a pass costs besides its rows, in rows: 5 ms, where a row of 21 tokens takes 4.5 ms
#: (MiniLM-L6 on one core, float32; 4 and 3.2 ms in bfloat16).
_PASS_ROWS = 1.2


class Work(NamedTuple):
    """A whole run, but for a factor that all runs of a unit share (their train rows)."""

    passes: float
    """Batches."""
    rows: float
    """Of all batches."""


class WorkerLoad(NamedTuple):
    """What a worker has been given already."""

    works: Sequence[Work]
    slots: int
    """Runs that it trains at once."""
    is_open: bool
    """Whether it takes one more now."""


def measure_work(job: RunJob) -> Work:
    """Returns what a run asks of its worker; of two, the longer is the greater."""
    hyperparameters = job.config.hyperparameters
    return Work(hyperparameters.epochs / hyperparameters.batch_size, hyperparameters.epochs)


def assign_runs(waiting: Sequence[Work], loads: Sequence[WorkerLoad]) -> list[list[int]]:
    """Assigns the longest run first, each to the worker that it leaves with the least to do.

    A worker's runs advance together, one batch per pass. So it makes as many passes as its
    longest run has batches, or more if its runs are more than its slots, and a pass costs
    something beside its rows: ``_PASS_ROWS * passes + rows``.

    Args:
        waiting: Runs that no worker has.
        loads: One per worker.

    Returns:
        For each worker the indices of its runs, the longest first.
    """
    works = [list(load.works) for load in loads]
    shares: list[list[int]] = [[] for _ in loads]
    for index in sorted(range(len(waiting)), key=waiting.__getitem__, reverse=True):
        work = waiting[index]
        costs = [_cost([*own, work], load.slots) for own, load in zip(works, loads, strict=True)]
        chosen = costs.index(min(costs))
        works[chosen].append(work)
        shares[chosen].append(index)
    return shares


def choose(waiting: Sequence[Work], loads: Sequence[WorkerLoad]) -> tuple[int, int] | None:
    """Returns which worker starts which run now: of those that are open the one with fewest runs.

    None: ``assign_runs`` leaves all runs to workers that are full.
    """
    shares = assign_runs(waiting, loads)
    able = [place for place, load in enumerate(loads) if load.is_open and shares[place]]
    if not able:
        return None
    place = min(able, key=lambda place: len(loads[place].works))
    return place, shares[place][0]


def _cost(works: Sequence[Work], slots: int) -> float:
    passes = [work.passes for work in works]
    rows = sum(work.rows for work in works)
    return _PASS_ROWS * max(*passes, sum(passes) / slots) + rows
