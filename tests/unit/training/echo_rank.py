"""A rank without torch for tests of the launcher: what it does is the name of the run.

``echo_rank.py FD MACHINE``
"""

import os
import signal
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

from phasewise.records import Evaluation, RunCost, RunRecord, RunStatus
from phasewise.training.interface import Progress
from phasewise.training.ranks import CONTROLLER_GONE_EXIT, PEER_LOST_EXIT, RankTask
from phasewise.training.worker import end_with_parent

_RANK = int(os.environ["RANK"])


def _record(task: RankTask, status: RunStatus, message: str = "") -> RunRecord:
    cost = RunCost(
        train_seconds=1,
        total_seconds=1,
        peak_memory_mb=1,
        train_tokens=1,
        trainable_parameters=1,
        total_parameters=1,
        adapter_bytes=1,
        micro_batch_size=task.most_rows or 8,
    )
    return RunRecord(
        config=task.job.config,
        hash=task.job.config.hash,
        status=status,
        message=message,
        cost=cost,
        environment={"rank": str(_RANK), "reported": str(task.reported_until)},
        started="2026-01-01T00:00:00+00:00",
        ended="2026-01-01T00:00:00+00:00",
    )


def main() -> None:
    end_with_parent(os.getppid(), signal.SIGKILL)
    pipe = Connection(int(sys.argv[1]))
    task: RankTask = pipe.recv()
    name = task.job.config.name
    task.job.folder.mkdir(exist_ok=True)
    (task.job.folder / f"{_RANK}.pid").write_text(str(os.getpid()))
    if name == "killed" and _RANK == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if name == "killed":
        sys.exit(PEER_LOST_EXIT)
    if name == "gone":
        sys.exit(CONTROLLER_GONE_EXIT)
    if name == "broken" and _RANK == 1:
        pipe.send(_record(task, "failed", "ValueError: mine alone"))
    if name in ("broken", "hangs"):
        time.sleep(60)
    if _RANK == 0:
        pipe.send(Progress(name, Evaluation(step=3, epoch=1, train_loss=None, metrics={})))
        decision = pipe.recv()
        Path(task.job.folder / "decision").write_text(str(decision))
        if decision is None:
            sys.exit(CONTROLLER_GONE_EXIT)
    if name == "large" and (task.most_rows or 8) > 2 and _RANK == 1:
        pipe.send(_record(task, "infeasible", "out of memory"))
    else:
        pipe.send(_record(task, "finished"))


if __name__ == "__main__":
    main()
