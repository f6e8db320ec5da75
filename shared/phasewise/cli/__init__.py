"""The command line: one command a rule, and what a person uses without Snakemake."""

import gc
import sys

from phasewise.cli.prewarm import prewarm_workers

__all__ = ["main"]


def main() -> None:
    """Runs the program; see ``app.main``."""
    try:
        with prewarm_workers(sys.argv[1:]):
            from phasewise.cli.app import main as run_command

            run_command()
    finally:
        gc.freeze()  # at the exit, garbage would be looked for among all that was imported
