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


class Hand(NamedTuple):
    """What a worker has been given already."""

    works: Sequence[Work]
    room: int
    """Runs that it trains at once."""
    is_open: bool
    """Whether it takes one more now."""


def measure_work(job: RunJob) -> Work:
    """Returns what a run asks of its worker; of two, the longer is the greater."""
    hyperparameters = job.config.hyperparameters
    return Work(hyperparameters.epochs / hyperparameters.batch_size, hyperparameters.epochs)


def deal(waiting: Sequence[Work], hands: Sequence[Hand]) -> list[list[int]]:
    """Deals runs to workers: the longest first, each to whom it leaves with the least to do.

    A worker's runs advance together, one batch each a pass. So it makes as many passes as its
    longest run has batches, or more if not all of its runs have room at once, and a pass costs
    something beside its rows: ``_PASS_ROWS * passes + rows``.

    Args:
        waiting: Runs that no worker has.
        hands: One a worker.

    Returns:
        For each worker the indices of its runs, the longest first.
    """
    loads = [list(hand.works) for hand in hands]
    shares: list[list[int]] = [[] for _ in hands]
    for index in sorted(range(len(waiting)), key=waiting.__getitem__, reverse=True):
        work = waiting[index]
        costs = [_cost([*load, work], hand.room) for load, hand in zip(loads, hands, strict=True)]
        chosen = costs.index(min(costs))
        loads[chosen].append(work)
        shares[chosen].append(index)
    return shares


def choose(waiting: Sequence[Work], hands: Sequence[Hand]) -> tuple[int, int] | None:
    """Returns which worker starts which run now: of those that are open the one with fewest runs.

    None: ``deal`` leaves all runs to workers that are full.
    """
    shares = deal(waiting, hands)
    able = [place for place, hand in enumerate(hands) if hand.is_open and shares[place]]
    if not able:
        return None
    place = min(able, key=lambda place: len(hands[place].works))
    return place, shares[place][0]


def _cost(works: Sequence[Work], room: int) -> float:
    passes = [work.passes for work in works]
    rows = sum(work.rows for work in works)
    return _PASS_ROWS * max(*passes, sum(passes) / room) + rows
