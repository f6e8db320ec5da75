"""The command line: one command per rule, and what a person uses without Snakemake."""

import gc
import os
import signal
import sys
from typing import Any, NoReturn

from phasewise.cli.prewarm import prewarm_workers

__all__ = ["EXIT_INTERRUPTED", "INTERRUPTED", "main"]

#: Exit code and message after Ctrl-C; the other codes are in ``app``.
EXIT_INTERRUPTED, INTERRUPTED = 130, "interrupted; run the same command again to continue"


def main() -> None:
    """Runs the program; see ``app.main``."""
    signal.signal(signal.SIGINT, _leave)
    try:
        with prewarm_workers(sys.argv[1:]):
            from phasewise.cli.app import main as run_command

            run_command()
    finally:
        gc.freeze()  # at the exit, garbage would be looked for among all that was imported


def _leave(*_: Any) -> NoReturn:
    """Nothing is under way yet, and what is being imported turns exceptions into others."""
    print(f"error: {INTERRUPTED}", file=sys.stderr)
    os._exit(EXIT_INTERRUPTED)
