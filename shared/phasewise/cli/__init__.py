"""The command line: one command a rule, and what a person uses without Snakemake."""

import sys

from phasewise.cli.ahead import import_ahead

__all__ = ["main"]


def main() -> None:
    """Runs the program; see ``app.main``."""
    with import_ahead(sys.argv[1:]):
        from phasewise.cli.app import main as run_command

        run_command()
