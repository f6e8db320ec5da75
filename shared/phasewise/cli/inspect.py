"""The commands that only look: registries, a study's plan, the state of its units."""

import platform
import time
from statistics import fmean
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from phasewise.cli.options import DEFAULT_STUDY, ShardOption, StudyOption, load_owned
from phasewise.errors import ConfigError
from phasewise.extensions import recipe_constants
from phasewise.settings import (
    ALL_SHARD,
    Study,
    describe_idle_settings,
    load_study,
    read_yaml,
    registry_names,
    require_registered,
)
from phasewise.training.choice import EngineChoice, choose_engine
from phasewise.unit_runs import read_runs

DifferenceOption = Annotated[
    float, typer.Option(min=0.01, help="Difference to detect, in points of the metric.")
]
#: Folders of ``shared/`` with what can be named.
_REGISTRIES = ("tasks", "methods", "spaces", "studies", *recipe_constants("REGISTRIES"))


def list_registry(
    kind: Annotated[
        str | None,
        typer.Argument(help="One of them; default all.", metavar=f"[{'|'.join(_REGISTRIES)}]"),
    ] = None,
) -> None:
    """Print what a study, `preset` and `ablate` can name: tasks, methods, spaces, presets …"""
    if kind is not None and kind not in _REGISTRIES:
        raise ConfigError(f"list {kind}: expected one of {', '.join(_REGISTRIES)}")
    console = Console()
    for folder in [kind] if kind else _REGISTRIES:
        table = Table("name", "description", title=folder, title_justify="left", box=None)
        for name in registry_names(folder):
            content = read_yaml(require_registered(folder, name))
            table.add_row(name, str(content.get("description", "")))
        console.print(table)


def plan(
    study: StudyOption = DEFAULT_STUDY,
    vm: ShardOption = ALL_SHARD,
    difference: DifferenceOption = 1.0,
) -> None:
    """Print how many runs a shard needs, what trains them, how long, and what it can detect."""
    loaded = load_study(study)
    units = loaded.units_of(vm)
    counts = _count_runs(loaded)
    seconds = [_measured_seconds(loaded, task, method) for task, method in units]
    choices = [_choose_engine(loaded, task, method) for task, method in units]
    columns = ("task", "method", "engine", "phase 0", "trials", "confirm", "phase 2", "hours")
    table = Table(*columns, title=vm)
    for (task, method), choice, each in zip(units, choices, seconds, strict=True):
        hours = "-" if each is None else f"{each * sum(counts) / 3600:.2f}"
        table.add_row(task, method, choice.engine, *map(str, counts), hours)
    console = Console()
    console.print(table)
    for (task, method), choice in zip(units, choices, strict=True):
        if choice.obstacle:
            console.print(f"{task}/{method} trains one run at a time: {choice.obstacle}")
    units_word = "1 unit" if len(units) == 1 else f"{len(units)} units"
    console.print(f"{units_word}, {len(units) * sum(counts)} trainings")
    if measured := [each for each in seconds if each is not None]:
        total = sum(measured) * sum(counts) / 3600
        console.print(
            f"{total:.2f} h one after another for the {len(measured)} units that Phase 0 has "
            "measured; trials with more epochs than the default take longer"
        )
    for line in (
        *_describe_lacks(loaded),
        *_describe_idle(loaded, units),
        *_describe_detections(loaded, units, difference),
    ):
        console.print(line, soft_wrap=True, markup=False, highlight=False)


def _describe_lacks(study: Study) -> list[str]:
    """A plan is still a plan where something has to be installed first."""
    from phasewise.tuning.samplers import require_sampler

    try:
        require_sampler(study.settings.search.sampler)
    except ConfigError as error:
        return [f"not ready: {error}"]
    return []


def _describe_idle(study: Study, units: list[tuple[str, str]]) -> list[str]:
    rows = {name: task.train_rows for name, task in study.tasks.items() if task.train_rows}
    return [f"no effect: {line}" for line in describe_idle_settings(study, units, rows)]


def _describe_detections(
    study: Study, units: list[tuple[str, str]], difference: float
) -> list[str]:
    from phasewise.report.detection import describe_detection, find_detection
    from phasewise.report.evidence import gather_evidence

    found = [
        find_detection(study, task, difference / 100) for task in gather_evidence(study, units)
    ]
    return [describe_detection(each) for each in found if each is not None]


def status(
    study: StudyOption = DEFAULT_STUDY,
    vm: ShardOption = ALL_SHARD,
    watch: Annotated[
        float | None, typer.Option(min=0.5, help="Print again every so many seconds.")
    ] = None,
) -> None:
    """Print where every unit stands: phase, runs done, best value so far, time left."""
    loaded = load_owned(study)
    units = loaded.units_of(vm)
    if watch is None:
        console = Console()
        for line in (*_describe_not_learned(loaded, units), *_describe_origins(loaded, units)):
            console.print(line, soft_wrap=True, markup=False, highlight=False)
        console.print(_status_table(loaded, units))
        return
    with Live(_status_table(loaded, units), auto_refresh=False) as live:
        while True:
            time.sleep(watch)
            live.update(_status_table(loaded, units), refresh=True)


def _describe_not_learned(study: Study, units: list[tuple[str, str]]) -> list[str]:
    from phasewise.report.evidence import gather_evidence
    from phasewise.report.learning import list_not_learned

    return [text for task in gather_evidence(study, units) for text in list_not_learned(task)]


def _describe_origins(study: Study, units: list[tuple[str, str]]) -> list[str]:
    from phasewise.report.status import collect_status

    found = collect_status(study, units)
    hosts = dict.fromkeys(host for unit in found for host in unit.hosts)
    ran = {host: [unit.unit for unit in found if host in unit.hosts] for host in hosts}
    lines = [f"{host} ran {', '.join(units)}" for host, units in ran.items()]
    wrong = [text for unit in found for text in (*unit.unreadable, *unit.stale)]
    return wrong if set(hosts) <= {platform.node()} else [*lines, *wrong]


def _status_table(study: Study, units: list[tuple[str, str]]) -> Table:
    from phasewise.report.status import collect_status

    found = collect_status(study, units)
    judged = ["learned"] if any(unit.learned is not None for unit in found) else []
    table = Table("unit", "phase", "done", "best", *judged, "running", "left")
    for unit in found:
        best = "-" if unit.best is None else f"{unit.best:.3f}"
        left = "-" if unit.seconds_left is None else f"{unit.seconds_left / 60:.0f} min"
        running = "yes" if unit.running else "no"
        done = f"{unit.done}/{unit.total}"
        done += f" ({unit.failed} failed)" if unit.failed else ""
        unreadable = len(unit.unreadable)
        for count, what in ((unit.others, "of other settings"), (unreadable, "unreadable")):
            done += f" (+{count} {what})" if count else ""
        learned = [{True: "yes", False: "NO", None: "-"}[unit.learned] for _ in judged]
        table.add_row(unit.unit, unit.phase, done, best, *learned, running, left)
    return table


def _measured_seconds(study: Study, task: str, method: str) -> float | None:
    """Returns the mean seconds of a unit's Phase 0 runs; None before there is one."""
    records = read_runs(study, task, method, phase="phase0").records
    costs = [record.cost for record in records if record.cost is not None]
    return fmean(cost.total_seconds for cost in costs) if costs else None


def _choose_engine(study: Study, task: str, method: str) -> EngineChoice:
    settings = study.settings
    task_settings, method_settings = study.tasks[task], study.methods[method]
    return choose_engine(task_settings, method_settings, settings.training, settings.search)


def _count_runs(study: Study) -> tuple[int, int, int, int]:
    settings = study.settings
    confirm = min(settings.search.confirm_top, settings.search.trials)
    return (
        settings.baselines.seeds,
        settings.search.trials,
        confirm * settings.search.confirm_seeds,
        settings.validation.seeds,
    )
