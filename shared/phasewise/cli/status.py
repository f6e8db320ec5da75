"""``phasewise status``: where every unit stands, once or again and again."""

import platform
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Column, Table

from phasewise.cli.options import (
    DEFAULT_STUDY,
    JsonOption,
    ShardOption,
    StudyOption,
    load_owned,
    print_json,
)
from phasewise.settings import ALL_SHARD, Study

if TYPE_CHECKING:
    from phasewise.report.status import UnitStatus

#: What the column "phase" says, for those who see it for the first time.
_PHASES = (
    "phase0: each method's published default; phase1: its search, and the best trials on fresh "
    "seeds; phase2: the chosen settings on fresh seeds, scored on the report set"
)
_UNKNOWN = (
    "The time left is known once a run has made its first steps; `phasewise plan --pilot` measures "
    "it before."
)


def status(
    study: StudyOption = DEFAULT_STUDY,
    vm: ShardOption = ALL_SHARD,
    watch: Annotated[
        float | None,
        typer.Option(
            min=0.5, help="Look every so many seconds until all is done; piped: a line a change."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Print where every unit stands: phase, runs done, best value so far, time left."""
    loaded = load_owned(study)
    units = loaded.units_of(vm)
    if as_json:
        _print_status(loaded, units)
    elif watch is not None and sys.stdout.isatty():
        _watch_table(loaded, units, watch)
    elif watch is not None:
        _watch_lines(loaded, units, watch)
    else:
        console = Console()
        for line in (*_describe_not_learned(loaded, units), *_describe_origins(loaded, units)):
            console.print(line, soft_wrap=True, markup=False, highlight=False)
        console.print(_status_table(_collect(loaded, units)))


def _collect(study: Study, units: list[tuple[str, str]]) -> "list[UnitStatus]":
    from phasewise.report.status import collect_status

    return collect_status(study, units)


def _watch_table(study: Study, units: list[tuple[str, str]], seconds: float) -> None:
    found = _collect(study, units)
    with Live(_status_table(found), auto_refresh=False) as live:
        while any(unit.phase != "done" for unit in found):
            time.sleep(seconds)
            found = _collect(study, units)
            live.update(_status_table(found), refresh=True)


def _watch_lines(study: Study, units: list[tuple[str, str]], seconds: float) -> None:
    """Prints a line for each unit, and another one whenever something about it has changed."""
    typer.echo(_PHASES)
    shown: dict[str, str] = {}
    while True:
        found = _collect(study, units)
        if not shown and all(unit.seconds_left is None for unit in found):
            typer.echo(_UNKNOWN)
        for unit in found:
            line = ", ".join(_describe_unit(unit))
            if shown.get(unit.unit) != line:
                left = f", {_show_left(unit)} left" if unit.seconds_left else ""
                typer.echo(f"{datetime.now():%H:%M:%S} {line}{left}")
            shown[unit.unit] = line
        sys.stdout.flush()
        if all(unit.phase == "done" for unit in found):
            return
        time.sleep(seconds)


def _describe_unit(unit: "UnitStatus") -> Iterator[str]:
    """Yields what is said of a unit in a line, without the time left: that changes always."""
    yield f"{unit.unit}: {unit.phase}, {_show_done(unit)} runs"
    if unit.best is not None:
        yield f"best {_show_best(unit)}"
    if unit.live:
        yield f"training {', '.join(run.split(' ')[0] for run in unit.live)}"
    elif not unit.running and unit.phase not in ("done", "waiting"):
        yield "stopped"


def _print_status(study: Study, units: list[tuple[str, str]]) -> None:
    notes = _describe_not_learned(study, units)
    print_json({"units": [asdict(unit) for unit in _collect(study, units)], "notes": notes})


def _describe_not_learned(study: Study, units: list[tuple[str, str]]) -> list[str]:
    from phasewise.report.evidence import gather_evidence
    from phasewise.report.learning import list_not_learned

    return [text for task in gather_evidence(study, units) for text in list_not_learned(task)]


def _describe_origins(study: Study, units: list[tuple[str, str]]) -> list[str]:
    found = _collect(study, units)
    hosts = dict.fromkeys(host for unit in found for host in unit.hosts)
    ran = {host: [unit.unit for unit in found if host in unit.hosts] for host in hosts}
    lines = [f"{host} ran {', '.join(units)}" for host, units in ran.items()]
    wrong = [text for unit in found for text in (*unit.unreadable, *unit.stale)]
    return wrong if set(hosts) <= {platform.node()} else [*lines, *wrong]


def _status_table(found: "list[UnitStatus]") -> Table:
    judged = ["learned"] if any(unit.learned is not None for unit in found) else []
    unknown = all(unit.seconds_left is None for unit in found)
    table = Table(
        Column("unit", overflow="fold"),  # a name that is cut says nothing
        *("phase", "done", "best", *judged, "now", "left"),
        caption=f"{_PHASES}. {_UNKNOWN}" if unknown else _PHASES,
        caption_justify="left",
    )
    for unit in found:
        best = "-" if unit.best is None else _show_best(unit)
        now = "\n".join(unit.live) or ("preparing" if unit.running else "-")
        learned = [{True: "yes", False: "NO", None: "-"}[unit.learned] for _ in judged]
        left = "-" if unit.seconds_left is None else _show_left(unit)
        table.add_row(unit.unit, unit.phase, _show_done(unit), best, *learned, now, left)
    return table


def _show_done(unit: "UnitStatus") -> str:
    done = f"{unit.done}/{unit.total}"
    done += f" ({unit.failed} failed)" if unit.failed else ""
    unreadable = len(unit.unreadable)
    for count, what in ((unit.others, "of other settings"), (unreadable, "unreadable")):
        done += f" (+{count} {what})" if count else ""
    return done


def _show_best(unit: "UnitStatus") -> str:
    """Returns the score with its metric and which way is better."""
    return f"{unit.best:.3f} {unit.metric} {'↑' if unit.maximize else '↓'}"


def _show_left(unit: "UnitStatus") -> str:
    from phasewise.tuning.progress import format_duration

    return format_duration(unit.seconds_left or 0.0)
