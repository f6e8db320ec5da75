"""The processes, called ranks, that train one run together, each on a device of its own.

A launcher (``launching``) starts them for each run as ``python -m phasewise.training.rank``.
"""

import os
import socket
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from phasewise.checkpoints import FoundCheckpoint
from phasewise.runs import hash_content
from phasewise.training.interface import RunJob

if TYPE_CHECKING:
    import torch

#: Key of a record's environment: how a run was divided among devices.
RANKS_KEY = "divided"
#: A rank ends with this code if it could not reach another: that one has the cause.
PEER_LOST_EXIT = 75
#: A rank ends with this code once nobody listens any more, or its run's files are another's.
CONTROLLER_GONE_EXIT = 76


class PeerFailedError(Exception):
    """Another rank could not do its part of what all do; the message says which, and why."""


class Ranks(NamedTuple):
    """A process among those that train one run; by itself where nothing else is said."""

    rank: int = 0
    devices: int = 1
    fsdp_config: Path | None = None
    deepspeed_config: Path | None = None
    launcher: Connection | None = None
    """To what started it; None: it is by itself."""

    @property
    def shards(self) -> bool:
        """Whether each holds a part of the weights only."""
        return self.fsdp_config is not None or self.deepspeed_config is not None

    @property
    def writes(self) -> bool:
        """Whether it is the one that writes the run's files."""
        return self.rank == 0

    def describe(self) -> str:
        """Returns how a run is divided, such as ``2 devices (FSDP)``; empty: it is not."""
        if self.devices == 1:
            return ""
        kind = "FSDP" if self.fsdp_config else "DeepSpeed" if self.deepspeed_config else "DDP"
        return f"{self.devices} devices ({kind})"

    @property
    def layout(self) -> str:
        """How weights lie on the devices: what each rank saves fits the same layout alone."""
        if self.fsdp_config is None:
            return self.describe()
        return f"{self.describe()} {hash_content(self.fsdp_config.read_text(encoding='utf-8'))}"

    def agree(self, device: "torch.device", *flags: bool) -> list[bool]:
        """Returns which of some flags are set on any rank; all ranks call it with as many.

        Args:
            device: This rank's.
            flags: As they are here.
        """
        if self.devices == 1:
            return list(flags)
        import torch
        from torch.distributed import ReduceOp, all_reduce

        votes = torch.tensor(flags, dtype=torch.int32, device=device)  # (flags)
        all_reduce(votes, ReduceOp.MAX)
        return [bool(vote) for vote in votes.tolist()]

    def each(self, part: Callable[[], None]) -> None:
        """Does this rank's part of what all ranks do at the same time, and waits for the others.

        Raises:
            PeerFailedError: Another rank's part raised.
            Exception: What this rank's own part raised.
        """
        if self.devices == 1:
            part()
            return
        from torch.distributed import all_gather_object

        error: Exception | None = None
        try:
            part()
        except Exception as raised:
            error = raised
        told: list[str | None] = [None] * self.devices
        all_gather_object(told, None if error is None else f"rank {self.rank}: {error}")
        if error is not None:
            raise error
        for message in filter(None, told):
            raise PeerFailedError(message)

    def share(self, find: Callable[[], FoundCheckpoint]) -> FoundCheckpoint:
        """Returns what the first rank finds, so that all go on from the same checkpoint.

        It comes by way of the launcher: this early, ranks cannot reach each other.
        """
        if self.launcher is None:
            return find()
        if self.writes:
            self.launcher.send(found := find())
            return found
        shared: FoundCheckpoint = self.launcher.recv()
        return shared


class RankTask(NamedTuple):
    """What a launcher sends each rank."""

    job: RunJob
    most_rows: int | None
    """Rows of a forward pass on one device, at most; None: as the settings say."""
    reported_until: int
    """Step up to which an earlier attempt has been reported already."""


def rank_environment(rank: int, count: int, port: int) -> dict[str, str]:
    """Returns the environment of a rank, as torch.distributed and accelerate read it.

    Args:
        rank: From 0.
        count: Ranks.
        port: That the first rank will listen on.
    """
    return {
        **os.environ,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        # All are on one machine, and no other need reach them.
        "GLOO_SOCKET_IFNAME": os.environ.get("GLOO_SOCKET_IFNAME", "lo"),
    }


def find_port() -> int:
    """Returns a port of this machine that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
