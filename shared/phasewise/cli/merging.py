"""The command that brings the results of other machines into this clone."""

from contextlib import ExitStack
from typing import Annotated

import typer
from rich.console import Console

from phasewise.cli.options import DEFAULT_STUDY, StudyOption, load_owned
from phasewise.errors import RecordError

#: A study of 100 units keeps some 2 GB of adapters.
_MOST_GB = 20.0


def merge(
    sources: Annotated[
        list[str],
        typer.Argument(help="Another clone: a folder, a tar file, or user@host:path (by rsync)."),
    ],
    study: StudyOption = DEFAULT_STUDY,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be brought, or refused.")
    ] = False,
    max_gb: Annotated[
        float, typer.Option(min=0.001, help="That each source may hold; more is refused.")
    ] = _MOST_GB,
) -> None:
    """Bring the results of other machines into this clone; nothing is written if any is refused."""
    loaded = load_owned(study)
    from phasewise.merging import ResultPaths, carry_out, open_source, plan_merge

    console = Console(soft_wrap=True, markup=False, highlight=False)
    places = ResultPaths(loaded)
    with ExitStack() as stack:
        limit = int(max_gb * 1e9)
        opened = [
            stack.enter_context(open_source(each, places, most_bytes=limit)) for each in sources
        ]
        plan = plan_merge(loaded, opened)
        if plan.problems:
            raise RecordError("\n".join((*plan.problems, "nothing was written")))
        for step in plan.units:
            console.print(f"{step.copy.label}: {step.action}, {step.copy.source}")
        for warning in plan.warnings:
            console.print(f"warning: {warning}")
        if not dry_run:
            carry_out(loaded, plan, console.print)
    for words, units in (("missing", plan.missing), ("not finished", plan.unfinished)):
        if units:
            console.print(f"{words}: {', '.join(units)}")
