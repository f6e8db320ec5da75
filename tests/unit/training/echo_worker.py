"""A worker without torch for tests of the pool: what it does is the name of the run.

``echo_worker.py ROOM FD MACHINE``: it holds ROOM runs at once and ends the oldest when it is full
or told that there is no further run now.
"""

import os
import signal
import sys
import time
from collections import deque
from collections.abc import Iterator
from multiprocessing.connection import Connection

from phasewise.records import Evaluation, RunRecord
from phasewise.training.interface import Feed, Progress, Reporter, RunJob
from phasewise.training.worker import serve


class EchoEngine:
    """Reports one evaluation; dies, hangs or ends as the run's name says."""

    def __init__(self, slots: int) -> None:
        self.slots = slots

    def train(self, jobs: Feed, report: Reporter) -> Iterator[RunRecord]:
        held: deque[RunJob] = deque()
        for job in jobs:
            if job is not None:
                held.append(job)
                self._begin(job.config.name)
            if held and (job is None or len(held) == self.slots):
                yield self._end(held.popleft(), report)

    def _begin(self, name: str) -> None:
        if name == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if name == "exit":
            print("the last words")
            sys.exit(3)
        if name == "raise":
            raise ValueError("a broken engine")
        if name == "hang":
            time.sleep(60)

    def _end(self, job: RunJob, report: Reporter) -> RunRecord:
        evaluation = Evaluation(step=1, epoch=1, train_loss=None, metrics={})
        pruned = report(Progress(job.config.name, evaluation=evaluation)) == "prune"
        return RunRecord(
            config=job.config,
            hash=job.config.hash,
            status="pruned" if pruned else "finished",
            environment={"pid": str(os.getpid()), "gpu": os.environ["CUDA_VISIBLE_DEVICES"]},
            started="2026-01-01T00:00:00+00:00",
            ended="2026-01-01T00:00:00+00:00",
        )


if __name__ == "__main__":
    serve(Connection(int(sys.argv[2])), EchoEngine(int(sys.argv[1])))
