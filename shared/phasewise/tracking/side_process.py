"""The side process itself: is told of runs on its input, mirrors them, ends with the input.

Started by `TrackingProcess`; a line is ``begin SECONDS FOLDER`` (since 1970) or ``end 0 FOLDER``.
"""

import os
import select
import signal
import sys
from pathlib import Path
from time import monotonic
from typing import TextIO

from phasewise.records import open_unlinked
from phasewise.tracking.live_mirror import LiveMirror
from phasewise.tracking.marker import MirrorPlan, choose_mode
from phasewise.tracking.process import LAST_SECONDS
from phasewise.tracking.wandb_run import limit_waiting

#: Seconds between looks at what runs have told.
_POLL_SECONDS = 1.0
#: Training comes first when cores are few.
_NICENESS = 10
_CHUNK = 1 << 16


def main(arguments: list[str]) -> int:
    """Mirrors every run named on the input; returns 0, or 1 if one could not be mirrored."""
    plan = MirrorPlan.model_validate_json(arguments[0])
    limit_waiting()
    os.nice(_NICENESS)
    with _redirect_noise(plan.folder / "wandb" / "mirror.log") as warnings:

        def warn(text: str) -> None:
            print(f"warning: W&B: {text}", file=warnings, flush=True)

        mirror = LiveMirror(plan, choose_mode(os.environ), warn)
        _follow(mirror)
        signal.alarm(LAST_SECONDS)
        mirror.close()
    return 0 if mirror.complete else 1


def _follow(mirror: LiveMirror) -> None:
    """Does what the lines say as they come, and looks at the runs in between."""
    pending, last = b"", monotonic()
    while True:
        ready = select.select([sys.stdin], [], [], _POLL_SECONDS)[0]
        if monotonic() - last >= _POLL_SECONDS:
            mirror.poll()
            last = monotonic()
        if not ready:
            continue
        chunk = os.read(sys.stdin.fileno(), _CHUNK)
        if not chunk:
            return
        *lines, pending = (pending + chunk).split(b"\n")
        for line in lines:
            word, since, folder = os.fsdecode(line).split(" ", 2)
            if word == "begin":
                mirror.begin(Path(folder), float(since))
            else:
                mirror.end(Path(folder))


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
