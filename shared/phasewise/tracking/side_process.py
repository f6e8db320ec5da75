"""The side process itself: reads run folders from its input, mirrors each, ends with the input.

Started by `TrackingProcess`; by hand: ``python -m phasewise.tracking.side_process PLAN < folders``.
"""

import os
import sys
from pathlib import Path
from typing import TextIO

from phasewise.errors import RecordError
from phasewise.records import open_unlinked, read_record
from phasewise.tracking.wandb_mirror import (
    MirrorPlan,
    Mode,
    choose_mode,
    mirror_record,
    read_marker,
)

#: wandb retries for minutes by itself; a server that cannot be reached is given up in seconds.
NETWORK_LIMITS = {
    "WANDB_INIT_TIMEOUT": "15",
    "WANDB_X_GRAPHQL_RETRY_MAX": "1",
    "WANDB_X_GRAPHQL_RETRY_WAIT_MAX_SECONDS": "1",
}
#: Training comes first when cores are few.
_NICENESS = 10


def main(arguments: list[str]) -> int:
    """Mirrors every folder named on the input; returns 0, or 1 if a run could not be mirrored."""
    plan = MirrorPlan.model_validate_json(arguments[0])
    for name, value in NETWORK_LIMITS.items():
        os.environ.setdefault(name, value)
    os.nice(_NICENESS)
    with _redirect_noise(plan.folder / "wandb" / "mirror.log") as warnings:
        mode = choose_mode(os.environ)
        complete = True
        for line in sys.stdin:
            mode, done = _mirror_folder(Path(line.rstrip("\n")), plan, mode, warnings)
            complete &= done
    return 0 if complete else 1


def _mirror_folder(
    folder: Path, plan: MirrorPlan, mode: Mode, warnings: TextIO
) -> tuple[Mode, bool]:
    """Returns the mode for the next runs and whether this one has been mirrored.

    An online failure sends this run, and all that follow, to disk.
    """
    try:
        record = read_record(folder)
    except RecordError as error:
        print(f"warning: W&B: {error}", file=warnings, flush=True)
        return mode, False
    marker = read_marker(folder)
    if record is None or (marker is not None and marker.hash == record.hash):
        return mode, True
    try:
        mirror_record(record, folder, plan, mode)
    except Exception as error:  # wandb raises all sorts; none may end the mirror of later runs
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        if mode == "online":
            print(f"warning: W&B: {reason}; logging offline", file=warnings, flush=True)
            _restart_service()
            return _mirror_folder(folder, plan, "offline", warnings)
        label = record.config.label
        print(f"warning: W&B: {label}: not mirrored: {reason}", file=warnings, flush=True)
        return mode, False
    return mode, True


def _restart_service() -> None:
    """Ends wandb's background service, which keeps the id of a run that it failed to start."""
    import wandb

    wandb.teardown(exit_code=0)


def _redirect_noise(log: Path) -> TextIO:
    """Sends what wandb prints to a file; returns the stderr of before, for our own lines."""
    log.parent.mkdir(parents=True, exist_ok=True)
    warnings = os.fdopen(os.dup(2), "w", encoding="utf-8")
    with open(log, "ab", opener=open_unlinked) as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    return warnings


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
