"""What of a unit's results is out of date, whose that is, and what mends it."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from phasewise.merging.manifest import UnitSource
from phasewise.records import RunRecord
from phasewise.runs import Phase, UnitPaths
from phasewise.settings import Study
from phasewise.steps import StepName, name_command

_COMMANDS: dict[Phase, StepName] = {
    "phase0": "defaults",
    "phase1": "search",
    "phase2": "validate",
}
#: More runs than this are counted instead of being named one by one.
_NAMED_RUNS = 4


def find_hosts(records: Sequence[RunRecord]) -> tuple[str, ...]:
    """Returns the machines that ran them."""
    return tuple(dict.fromkeys(r.environment.get("host", "unknown") for r in records))


def list_stale(
    study: Study,
    unit: tuple[str, str],
    others: Sequence[RunRecord],
    *,
    is_current: Callable[[Phase, Path], bool],
    source: UnitSource | None,
) -> Iterator[str]:
    """Yields a line for each thing that is out of date, with its host.

    Args:
        study: The study.
        unit: Its task and method.
        others: The unit's runs of other settings.
        is_current: Whether a phase's file is of the present settings.
        source: Where the unit was brought from; None: it was run here.
    """
    task, method = unit
    paths, label = UnitPaths(study, task, method), f"{task}/{method}"
    for host in find_hosts(others):
        names = [r.config.name for r in others if r.environment.get("host", "unknown") == host]
        count = "1 run" if len(names) == 1 else f"{len(names)} runs"
        shown = ", ".join(names[:_NAMED_RUNS]) + (" …" if len(names) > _NAMED_RUNS else "")
        yield f"{label}: stale: {count} of other settings, by {host}: {shown}"
    for phase, command in _COMMANDS.items():
        file = paths.optimum if phase == "phase1" else paths.summary(phase)
        if file.is_file() and not is_current(phase, file):
            mend = name_command(study, command, task, method)
            yield f"{label}: stale: {file.name} is of other settings; run: {mend}"
    if source is not None and not paths.summary("phase2").is_file():
        yield (
            f"{label}: stale: brought from {source.source} ({', '.join(source.hosts)}) at "
            f"{source.merged} before it was finished; merge again"
        )
