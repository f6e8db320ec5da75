"""A rank: one of the processes that train a run together; ends with its run.

Started by ``LaunchingEngine`` as ``python -m phasewise.training.rank FD MACHINE_JSON``.
"""

import os
import signal
import sys
from multiprocessing.connection import Connection
from threading import Thread

from phasewise.provenance import describe_environment
from phasewise.settings import MachineSettings
from phasewise.training.choice import needs_bitsandbytes
from phasewise.training.interface import ControllerGoneError, Decision, Progress, Resumption
from phasewise.training.ranks import PEER_LOST_EXIT, Ranks, RankTask
from phasewise.training.worker import end_with_parent, leave_out_bitsandbytes


class _Launcher:
    """What the launcher is told and asked, on behalf of all ranks.

    Args:
        pipe: To the launcher.
        rank: This process's.
    """

    def __init__(self, pipe: Connection, rank: int) -> None:
        self._pipe, self._rank = pipe, rank

    def report(self, progress: Progress | Resumption) -> Decision:
        """Returns the decision on an evaluation, of which the first rank tells for all."""
        from torch.distributed import broadcast_object_list

        decision: list[Decision] = ["continue"]
        if self._rank == 0:
            try:
                self._pipe.send(progress)
                decision = [self._pipe.recv()]
            except (EOFError, OSError) as error:
                raise ControllerGoneError from error
        broadcast_object_list(decision, src=0)
        return decision[0]


def main() -> None:
    """Trains the run that the launcher sends and returns its record; see the module's docstring."""
    end_with_parent(os.getppid(), signal.SIGKILL)  # one in a collective call heeds no other signal
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pipe = Connection(int(sys.argv[1]))
    machine = MachineSettings.model_validate_json(sys.argv[2])
    task: RankTask = pipe.recv()
    Thread(target=describe_environment, daemon=True).start()  # see worker.main
    unit = task.job.config.unit_config
    leave_out_bitsandbytes(needed=needs_bitsandbytes(unit.method, unit.training))
    rank, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    from phasewise.training.failures import is_peer_lost
    from phasewise.training.trainer_engine import TrainerEngine
    from phasewise.training.warm import prepare_machine

    ranks = Ranks(rank, count, machine.fsdp_config, machine.deepspeed_config)
    engine = TrainerEngine(machine, prepare_machine(machine, ranks))
    report = _Launcher(pipe, rank).report
    try:
        pipe.send(engine.train_run(task.job, report, task.reported_until, task.most_rows))
    except Exception as error:
        if is_peer_lost(error):
            sys.exit(PEER_LOST_EXIT)
        raise
    sys.stdout.flush()
    os._exit(0)  # see worker.main


if __name__ == "__main__":
    main()
