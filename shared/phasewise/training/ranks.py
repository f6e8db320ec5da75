"""The processes, called ranks, that train one run together, each on a device of its own.

A launcher (``launching``) starts them for each run as ``python -m phasewise.training.rank``.
"""

import os
import socket
from pathlib import Path
from typing import NamedTuple

from phasewise.training.interface import RunJob

#: Key of a record's environment: how a run was divided among devices.
RANKS_KEY = "divided"
#: A rank ends with this code if it could not reach another: that one has the cause.
PEER_LOST_EXIT = 75


class Ranks(NamedTuple):
    """A process among those that train one run; by itself where nothing else is said."""

    rank: int = 0
    devices: int = 1
    fsdp_config: Path | None = None
    deepspeed_config: Path | None = None

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
