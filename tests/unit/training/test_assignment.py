"""Runs assigned to workers: which makespan follows is counted pass by pass."""

import random

import pytest

from phasewise.training.assignment import Work, WorkerLoad, assign_runs, choose


def _of_batch(*sizes: int) -> list[Work]:
    return [Work(1 / size, 1.0) for size in sizes]


def test_the_longest_go_first_and_to_different_workers() -> None:
    works = _of_batch(4, 1, 2, 1, 4, 2)
    shares = assign_runs(works, [WorkerLoad((), 4, True)] * 2)
    assert sorted(index for share in shares for index in share) == list(range(6))
    assert [share[0] for share in shares] == [1, 3]
    for share in shares:
        assert [works[index] for index in share] == sorted(
            (works[index] for index in share), reverse=True
        )


def test_a_worker_that_has_much_to_do_gets_less() -> None:
    busy, idle = WorkerLoad(_of_batch(1, 1, 2), 8, True), WorkerLoad((), 8, True)
    shares = assign_runs(_of_batch(2, 2, 2, 4), [busy, idle])
    assert (len(shares[0]), len(shares[1])) == (0, 4)


def test_runs_that_have_no_room_at_once_cost_passes_of_their_own() -> None:
    narrow, wide = WorkerLoad((), 1, True), WorkerLoad((), 8, True)
    shares = assign_runs(_of_batch(1, 1, 1, 1), [narrow, wide])
    assert len(shares[0]) < len(shares[1])


def test_a_run_waits_for_a_full_worker_that_has_less_to_do() -> None:
    busy, full = WorkerLoad(_of_batch(1, 1, 1, 1, 1), 8, True), WorkerLoad(_of_batch(4), 1, False)
    assert choose(_of_batch(4), [busy, full]) is None
    assert choose(_of_batch(4, 1), [busy, full._replace(is_open=True)]) == (1, 1)


def test_of_workers_that_are_open_the_one_with_fewest_runs_is_chosen() -> None:
    loads = [WorkerLoad(_of_batch(1), 4, True), WorkerLoad((), 4, True)]
    assert choose(_of_batch(2, 1), loads) == (1, 1)


def _makespan(shares: list[list[Work]], slots: int) -> float:
    """Counts the passes of workers that train so many runs at once, 64 rows each."""
    longest = 0.0
    for share in shares:
        left, seconds = [[64 * work.passes, 1 / work.passes] for work in share], 0.0
        while left:
            seconds += 2 + sum(batch for _, batch in left[:slots])
            for run in left[:slots]:
                run[0] -= 1
            left = [run for run in left if run[0] > 0]
        longest = max(longest, seconds)
    return longest


@pytest.mark.parametrize("slots", [2, 4])
def test_workers_end_sooner_than_with_runs_dealt_in_turn(slots: int) -> None:
    draws, assigned, in_turn = random.Random(0), 0.0, 0.0
    for _ in range(20):
        works = _of_batch(*(draws.choice((1, 2, 4)) for _ in range(12)))
        shares = assign_runs(works, [WorkerLoad((), slots, True)] * 2)
        assigned += _makespan([[works[index] for index in share] for share in shares], slots)
        in_turn += _makespan([works[::2], works[1::2]], slots)
    assert assigned < 0.97 * in_turn
