"""The runs still to start: taken from the feed, those of another pack set aside."""

from collections import deque
from collections.abc import Hashable

from phasewise.runs import UnitConfig
from phasewise.tasks.kinds import get_kind
from phasewise.training.interface import Feed, RunJob


def pack_key(unit: UnitConfig) -> Hashable:
    """Returns what runs must share to train together: the base model, as it is held."""
    kind = get_kind(unit.task)
    parts = (unit.model.model_dump_json(), kind.auto_class, kind.model_kwargs(unit.task))
    return repr((*parts, unit.method.kind, unit.method.quantization))


class JobQueue:
    """Gives the runs of one pack before those of the next, in the order of the feed.

    Args:
        jobs: The feed.
    """

    def __init__(self, jobs: Feed) -> None:
        self._jobs = iter(jobs)
        self._aside: deque[RunJob] = deque()

    def take(self) -> RunJob | None:
        """Returns the next run; None once there will be no more."""
        if self._aside:
            return self._aside.popleft()
        return next((job for job in self._jobs if job is not None), None)

    def take_like(self, key: Hashable) -> RunJob | None:
        """Returns the next run with this key; None if there is none now."""
        for held in self._aside:
            if pack_key(held.config.unit_config) == key:
                self._aside.remove(held)
                return held
        while (job := next(self._jobs, None)) is not None:
            if pack_key(job.config.unit_config) == key:
                return job
            self._aside.append(job)
        return None
