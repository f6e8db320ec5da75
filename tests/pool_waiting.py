"""Waiting for what a pool of real workers tells."""

import time
from collections.abc import Callable

from phasewise.training.pool import PoolEvent, WorkerPool

_SECONDS = 120.0


def next_that(pool: WorkerPool, wanted: Callable[[PoolEvent], bool]) -> PoolEvent:
    """Returns the first event that is wanted; lets runs go on meanwhile, and no worker may die."""
    deadline = time.monotonic() + _SECONDS
    while True:
        assert time.monotonic() < deadline, "nothing happened"
        for event in pool.wait(_SECONDS):
            if wanted(event):
                return event
            assert event.death is None
            if event.progress is not None and not event.progress.is_last:
                pool.answer(event.job, "continue")
