"""When a search with a time budget stops drawing; seconds are set, not waited for."""

from typing import cast

import pytest

from phasewise.tuning.progress import Clock
from phasewise.tuning.time_budget import TimeBudget


class SetClock:
    """A clock that shows what it is set to."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


def _budget(seconds: float, spent: float, runs: int) -> TimeBudget:
    return TimeBudget(seconds / 3600, cast("Clock", SetClock(spent)), runs)


@pytest.mark.parametrize(
    ("spent", "runs", "under_way", "room"),
    [
        (20, 2, 1, True),  # 8 s a run: 12 to come, 32 of 33.3 for confirmations, 80 left
        (20, 2, 6, True),  # 4 s a run: 16 and 24 to come, 80 left
        (40, 2, 6, False),  # 8 s a run: 32 and 33.3 to come, 60 left
        (40, 8, 0, True),  # 5 s a run: 5 and 30 to come, 60 left
        (66, 8, 0, False),  # 8.25 s a run: 8.25 and 33.3 to come, 34 left
        (100, 8, 0, False),
        (30, 0, 4, True),  # nothing has ended: nothing is known
        (100, 0, 4, False),
    ],
)
def test_a_trial_starts_only_if_it_and_the_confirmations_end_in_time(
    spent: float, runs: int, under_way: int, room: bool
) -> None:
    ended = max(runs - 2, 0) or 1
    assert _budget(100, spent, runs).has_room(ended, under_way, confirmations=6) is room


def test_the_first_trial_always_starts() -> None:
    assert _budget(10, spent=60, runs=2).has_room(0, 0, confirmations=6)


def test_without_a_budget_there_is_always_room() -> None:
    budget = TimeBudget(None, cast("Clock", SetClock(1e9)), 5)
    assert budget.has_room(5, 5, confirmations=6)
    assert budget.left is None
    assert budget.confirmed(5, 3, seeds=2) == 3


@pytest.mark.parametrize(
    ("spent", "finished", "trials"),  # 4, 7, 9 and 13 s a run; two runs each
    [(40, 8, 3), (70, 8, 2), (90, 8, 1), (130, 8, 1), (70, 1, 2), (90, 1, 0), (130, 1, 0)],
)
def test_as_many_are_confirmed_as_there_is_time_for(
    spent: float, finished: int, trials: int
) -> None:
    """Without time one, to choose by; none where there is no choice."""
    assert _budget(100, spent, runs=10).confirmed(finished, 3, seeds=2) == trials


def test_a_run_that_ends_makes_the_next_seem_shorter() -> None:
    budget = _budget(100, spent=50, runs=2)
    assert not budget.has_room(1, 1, confirmations=2)
    for _ in range(8):
        budget.note_end()
    assert budget.has_room(9, 1, confirmations=2)
