"""The command line: one command a rule, and what a person uses without Snakemake."""

from phasewise.cli.app import main

__all__ = ["main"]
