"""The commands that only look: registries, a study's plan, the state of its units."""

from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from phasewise.cli.cleaning import describe_checkpoints
from phasewise.cli.options import (
    DEFAULT_STUDY,
    JsonOption,
    ShardOption,
    StudyOption,
    print_json,
)
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
    float,
    typer.Option(min=1e-4, max=0.5, help="Difference to detect, on the metric's scale (0 to 1)."),
]
CardsOption = Annotated[
    bool, typer.Option("--cards", help="Show which model sizes fit which GPU, by the estimate.")
]
#: Folders of ``shared/`` with what can be named.
_REGISTRIES = ("tasks", "methods", "spaces", "studies", *recipe_constants("REGISTRIES"))

#: What `plan` counts runs by.
_PHASES = ("phase 0", "trials", "confirm", "phase 2")


def list_registry(
    kind: Annotated[
        str | None,
        typer.Argument(help="One of them; default all.", metavar=f"[{'|'.join(_REGISTRIES)}]"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Print what a study, `preset` and `ablate` can name: tasks, methods, spaces, presets …"""
    if kind is not None and kind not in _REGISTRIES:
        raise ConfigError(f"list {kind}: expected one of {', '.join(_REGISTRIES)}")
    found = {folder: _describe_entries(folder) for folder in ([kind] if kind else _REGISTRIES)}
    if as_json:
        print_json(found)
        return
    console = Console()
    for folder, entries in found.items():
        keys = [key for owner, key in recipe_constants("LISTED_KEYS") if owner == folder]
        columns = ("name", *keys, "description")
        table = Table(*columns, title=folder, title_justify="left", box=None)
        for name, description in entries.items():
            content = read_yaml(require_registered(folder, name))
            table.add_row(name, *(str(content.get(key, "")) for key in keys), description)
        console.print(table)


def _describe_entries(folder: str) -> dict[str, str]:
    files = {name: require_registered(folder, name) for name in registry_names(folder)}
    return {name: str(read_yaml(file).get("description", "")) for name, file in files.items()}


def plan(
    study: StudyOption = DEFAULT_STUDY,
    vm: ShardOption = ALL_SHARD,
    difference: DifferenceOption = 0.01,
    cards: CardsOption = False,
    as_json: JsonOption = False,
) -> None:
    """Print how many runs a shard needs, what trains them, how long, and what it can detect."""
    loaded = load_study(study)
    units = loaded.units_of(vm)
    planned = [_plan_unit(loaded, task, method) for task, method in units]
    notes = [
        *_describe_lacks(loaded),
        *_describe_idle(loaded, units),
        *describe_checkpoints(loaded, units),
        *_describe_detections(loaded, units, difference),
    ]
    if as_json:
        trainings = sum(unit.trainings for unit in planned)
        listed = [asdict(unit) for unit in planned]
        print_json({"vm": vm, "units": listed, "trainings": trainings, "notes": notes})
        return
    console = Console()
    console.print(_plan_table(planned, vm))
    for line in (*_describe_plan(planned), *notes):
        console.print(line, soft_wrap=True, markup=False, highlight=False)
    if cards:
        console.print(_cards_table(max(task.max_length for task in loaded.tasks.values())))


def _cards_table(tokens: int) -> Table:
    from phasewise.tuning.cards import METHODS, list_cards

    title = f"largest model that fits a card, rows of {tokens:,} tokens one by one (estimated)"
    table = Table("GB", *METHODS, title=title, title_justify="left")
    for row in list_cards(tokens):
        table.add_row(str(row.card_gb), *(row.largest[way] or "-" for way in METHODS))
    return table


@dataclass(frozen=True)
class _UnitPlan:
    """What a unit needs."""

    task: str
    method: str
    engine: str
    obstacle: str | None  # why its runs train one at a time; None: they train together
    runs: dict[str, int]  # by phase
    hours: float | None  # one after another; None before Phase 0 has measured a run
    memory_gb: str  # peak of a run of the default: measured, or ~ estimated

    @property
    def trainings(self) -> int:
        """Runs of all phases."""
        return sum(self.runs.values())


def _plan_unit(study: Study, task: str, method: str) -> _UnitPlan:
    from phasewise.tuning.memory_estimate import describe_unit_memory

    choice, counts = _choose_engine(study, task, method), _count_runs(study)
    seconds = _measured_seconds(study, task, method)
    memory = describe_unit_memory(study, task, method)
    hours = None if seconds is None else seconds * sum(counts.values()) / 3600
    return _UnitPlan(task, method, choice.engine, choice.obstacle or None, counts, hours, memory)


def _plan_table(planned: list[_UnitPlan], vm: str) -> Table:
    columns = ("unit", "engine", "runs", "hours", "GB")
    table = Table(*columns, title=vm, caption=f"runs: {' + '.join(_PHASES)}")
    for unit in planned:
        hours = "-" if unit.hours is None else f"{unit.hours:.2f}"
        counts = " + ".join(map(str, unit.runs.values()))
        table.add_row(f"{unit.task}/{unit.method}", unit.engine, counts, hours, unit.memory_gb)
    return table


def _describe_plan(planned: list[_UnitPlan]) -> list[str]:
    lines = [
        f"{unit.task}/{unit.method} trains one run at a time: {unit.obstacle}"
        for unit in planned
        if unit.obstacle
    ]
    units = "1 unit" if len(planned) == 1 else f"{len(planned)} units"
    lines.append(f"{units}, {sum(unit.trainings for unit in planned)} trainings")
    if measured := [unit.hours for unit in planned if unit.hours is not None]:
        lines.append(
            f"{sum(measured):.2f} h one after another for the {len(measured)} units that Phase 0 "
            "has measured; trials with more epochs than the default take longer"
        )
    return lines


def _describe_lacks(study: Study) -> list[str]:
    """A plan is still a plan where something has to be installed first."""
    from phasewise.samplers import require_sampler

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

    found = [find_detection(study, task, difference) for task in gather_evidence(study, units)]
    return [describe_detection(each) for each in found if each is not None]


def _measured_seconds(study: Study, task: str, method: str) -> float | None:
    """Returns the mean seconds of a unit's Phase 0 runs; None before there is one."""
    records = read_runs(study, task, method, phase="phase0").records
    costs = [record.cost for record in records if record.cost is not None]
    return fmean(cost.total_seconds for cost in costs) if costs else None


def _choose_engine(study: Study, task: str, method: str) -> EngineChoice:
    settings = study.settings
    task_settings, method_settings = study.tasks[task], study.methods[method]
    devices = settings.machine.gpus_per_run
    return choose_engine(
        task_settings, method_settings, settings.training, settings.search, devices
    )


def _count_runs(study: Study) -> dict[str, int]:
    settings = study.settings
    confirm = min(settings.search.confirm_top, settings.search.trials)
    counts = (
        settings.baselines.seeds,
        settings.search.trials,
        confirm * settings.search.confirm_seeds,
        settings.validation.seeds,
    )
    return dict(zip(_PHASES, counts, strict=True))
