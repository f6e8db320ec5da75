"""A rank that saves its run when the environment says, and fails at some of its checkpoints.

``saving_rank.py FD MACHINE``
"""

import os
import signal
from pathlib import Path
from typing import Any

from phasewise.training import rank, saving
from phasewise.training.saving import RunSaver

#: ``each step``: a checkpoint is due after each; anything else: never.
DUE_VARIABLE = "TEST_RANK_DUE"
#: ``<step> <how>``, separated by commas: so the second rank fails while it writes those steps'.
FAILURES_VARIABLE = "TEST_RANK_FAILURES"


def _fail(how: str) -> None:
    if how == "full disk":
        raise OSError(28, "No space left on device")
    os.kill(os.getpid(), signal.SIGKILL if how == "killed" else signal.SIGTERM)


def main() -> None:
    write = saving.write_checkpoint
    failures = dict(
        each.split(" ", 1) for each in os.environ.get(FAILURES_VARIABLE, "").split(",") if each
    )

    def fail(run: Path, step: int, owner: str, state: Any, files: Any, **how: Any) -> Any:
        def write_files(folder: Path) -> None:
            if os.environ["RANK"] == "1" and str(step) in failures:
                _fail(failures[str(step)])
            files(folder)

        return write(run, step, owner, state, write_files, **how)

    RunSaver.is_due = os.environ[DUE_VARIABLE] == "each step"  # type: ignore[assignment, method-assign]
    RunSaver.is_worth_saving = True  # type: ignore[assignment, method-assign]
    saving.write_checkpoint = fail
    rank.main()


if __name__ == "__main__":
    main()
