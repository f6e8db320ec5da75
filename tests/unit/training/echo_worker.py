"""A worker without torch for tests of the pool: what it does is the name of the run."""

import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection

from phasewise.records import Evaluation, RunRecord
from phasewise.training.interface import Progress, Reporter, RunJob
from phasewise.training.worker import serve


class EchoEngine:
    """Reports one evaluation; dies, fails, hangs or ends as the run's name says."""

    def train(self, jobs: Sequence[RunJob], report: Reporter) -> Iterator[RunRecord]:
        for job in jobs:
            name = job.config.name
            if name == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if name == "exit":
                print("the last words")
                sys.exit(3)
            if name == "raise":
                raise ValueError("a bad combination\nof things")
            if name == "hang":
                time.sleep(60)
            evaluation = Evaluation(step=1, epoch=1, train_loss=None, metrics={})
            pruned = report(Progress(name, evaluation=evaluation)) == "prune"
            yield RunRecord(
                config=job.config,
                hash=job.config.hash,
                status="pruned" if pruned else "finished",
                environment={"pid": str(os.getpid()), "gpu": os.environ["CUDA_VISIBLE_DEVICES"]},
                started="",
                ended="",
            )


if __name__ == "__main__":
    serve(Connection(int(sys.argv[1])), EchoEngine())
