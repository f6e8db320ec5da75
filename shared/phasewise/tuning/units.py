"""One unit at work: its settings, paths and the machinery that all three phases share."""

import math
import platform
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console

from phasewise.errors import ConfigError
from phasewise.records import refuse_links
from phasewise.runs import (
    Phase,
    Role,
    RunConfig,
    RunSeeds,
    UnitConfig,
    UnitPaths,
    build_unit,
    hash_content,
    phase_hash,
)
from phasewise.settings import Hyperparameters, Study, describe_meaning
from phasewise.steps import claim_folder
from phasewise.training.choice import EngineChoice, choose_engine, find_shared_cost
from phasewise.training.hardware import describe_crowding
from phasewise.training.interface import RunJob
from phasewise.tuning.dispatch import Dispatcher, PoolFactory, worker_pool_factory
from phasewise.tuning.hooks import RunHook, RunListener
from phasewise.tuning.locking import Lease, Say, hold_lock
from phasewise.tuning.narrowing import Refinement, narrow_ranges
from phasewise.tuning.progress import ProgressLog
from phasewise.tuning.spaces import Space
from phasewise.tuning.stopping import StopFlag, StoppedError, WaitLimit
from phasewise.unit_runs import describe_search

if TYPE_CHECKING:
    from phasewise.tuning.sharing import SharedRuns


@dataclass(frozen=True)
class Unit:
    """A (task, method) of a study with what follows from it."""

    study: Study
    task: str
    method: str

    @property
    def label(self) -> str:
        """``task/method``."""
        return f"{self.task}/{self.method}"

    @property
    def study_name(self) -> str:
        """Name of the Optuna study."""
        return f"{self.study.settings.name}_{self.task}_{self.method}"

    @cached_property
    def paths(self) -> UnitPaths:
        """Where the unit's files lie."""
        return UnitPaths(self.study, self.task, self.method)

    @cached_property
    def config(self) -> UnitConfig:
        """What all runs of the unit share; reads the data once for its fingerprint."""
        config = build_unit(self.study, self.task, self.method)
        if not find_shared_cost(self.study.settings.search):
            return config
        alone = config.training.model_copy(update={"engine": "trainer"})
        return config.model_copy(update={"training": alone})

    @property
    def engine(self) -> EngineChoice:
        """What trains the unit's runs, as far as the settings tell."""
        settings = self.study.settings
        task, method = self.study.tasks[self.task], self.study.methods[self.method]
        devices = settings.machine.gpus_per_run
        return choose_engine(task, method, settings.training, settings.search, devices)

    @property
    def metric(self) -> str:
        """The task's metric."""
        return self.study.tasks[self.task].metric

    @property
    def direction(self) -> Literal["maximize", "minimize"]:
        """Which way the metric is better."""
        return self.study.tasks[self.task].direction

    @property
    def sign(self) -> float:
        """+1 if higher is better, else -1."""
        return 1.0 if self.direction == "maximize" else -1.0

    @cached_property
    def refinement(self) -> Refinement | None:
        """What an earlier study's search narrows, if this one refines it."""
        return narrow_ranges(self.study, self.task, self.method)

    @cached_property
    def space(self) -> Space:
        """What the method's trials are drawn from."""
        refined = self.refinement
        return Space(
            self.study.parameters_of(self.method) if refined is None else refined.parameters,
            self.default,
            self.study.constraints_of(self.method),
            first=None if refined is None else refined.best,
        )

    @cached_property
    def default(self) -> Hyperparameters:
        """The method's published default on the task."""
        return self.study.default_hyperparameters(self.task, self.method)

    def phase_hash(self, phase: Phase) -> str:
        """Hash of all settings that a phase depends on."""
        return phase_hash(self.study, phase, self.task, self.method)

    def search_hash(self) -> str:
        """Hash of what a trial's draw, training and pruning depend on."""
        return hash_content(
            {
                **describe_search(self.study, self.task, self.method),
                "unit": describe_meaning(self.config),
                "parameters": describe_meaning(self.space.parameters),
            }
        )

    def job(
        self,
        role: Role,
        index: int,
        hyperparameters: Hyperparameters,
        seeds: RunSeeds,
        **more: Any,
    ) -> RunJob:
        """Returns one run of the unit with its folder; ``more`` are other fields of its config."""
        search = describe_search(self.study, self.task, self.method)
        config = RunConfig(
            unit_config=self.config,
            role=role,
            index=index,
            search=hash_content(search) if role in ("trial", "confirm") else "",
            hyperparameters=hyperparameters,
            seeds=seeds,
            **more,
        )
        return RunJob(config, self.paths.run(config.phase, config.name), self.paths.ledger)


@dataclass(frozen=True)
class Session:
    """What one call of a phase works with, all of it open."""

    progress: ProgressLog
    stop: StopFlag
    dispatcher: Dispatcher
    hook: RunHook
    lease: Lease
    shared: "SharedRuns | None"  # with other controllers, where the study says so


@contextmanager
def open_session(
    unit: Unit,
    *,
    pool_factory: PoolFactory | None,
    console: Console | None,
    log: Path | None,
    listener: RunListener | None,
    shares: bool = False,
) -> Iterator[Session]:
    """Takes the unit's lock and opens what a phase needs; workers start with the first run.

    Args:
        unit: The unit.
        pool_factory: None: the real worker pool.
        console: None: standard error.
        log: File for the progress lines; the workers' output goes to ``<log>.workers.log``.
        listener: Told of each run as it begins and ends, from another thread.
        shares: Whether other controllers may work on the runs too, if the study has a ``storage``.

    Raises:
        ConfigError: The study asks for the packed engine by name, and the unit cannot be packed;
            its folder is another study's; or the database of its runs cannot be used.
    """
    _check_engine(unit)
    claim_folder(unit.study)
    root = unit.paths.root
    refuse_links(root.parent, root, *(root / phase for phase in ("phase0", "phase1", "phase2")))
    progress = ProgressLog(unit.label, log, console=console)
    settings = unit.study.settings
    workers_log = log.with_suffix(".workers.log") if log else unit.paths.root / "workers.log"
    factory = pool_factory or worker_pool_factory(settings.machine, workers_log)
    with (
        _noting_progress() as noted,
        StopFlag() as stop,
        hold_lock(unit.paths.lock, progress.write, WaitLimit(stop)) as lease,
        _share(unit, progress.write, stop, shares) as shared,
        RunHook(listener, progress.write) as hook,
        Dispatcher(
            factory,
            retries=settings.search.retries,
            stop=stop,
            say=progress.write,
            explained=unit.engine.obstacle,
            lease=lease,
            begun=lambda job: hook.begin(job.folder),
        ) as dispatcher,
    ):
        noted.append(dispatcher)
        if unit.study.settings.training.engine == "auto" and unit.engine.obstacle:
            progress.write(f"runs train one by one: {unit.engine.obstacle}", style="dim")
        if pool_factory is None and (crowding := describe_crowding(settings.machine)):
            progress.write(crowding, style="yellow")
        yield Session(progress, stop, dispatcher, hook, lease, shared)


def _share(
    unit: Unit, say: Say, stop: StopFlag, shares: bool
) -> "AbstractContextManager[SharedRuns | None]":
    url = unit.study.settings.storage
    if url is None or not shares:
        return nullcontext()
    from phasewise.tuning.database import Database, Patience
    from phasewise.tuning.sharing import SharedRuns

    owner = f"{platform.node()}:{unit.paths.root.resolve()}"
    return SharedRuns(Database(url, Patience(say, stop)), unit.study_name, owner)


@contextmanager
def _noting_progress() -> Iterator[list[Dispatcher]]:
    """Notes in the error of a stop whether anything was won; its runs have been saved by then."""
    dispatchers: list[Dispatcher] = []
    try:
        yield dispatchers
    except StoppedError as error:
        error.made_progress = any(dispatcher.made_progress for dispatcher in dispatchers)
        raise


def _check_engine(unit: Unit) -> None:
    if unit.study.settings.training.engine == "packed" and unit.engine.obstacle:
        raise ConfigError(
            f"{unit.study.path}: training.engine is packed, but {unit.label} cannot be packed: "
            f"{unit.engine.obstacle}; use auto or trainer"
        )


def finite_score(score: float | None) -> float | None:
    """Returns the score if it is a finite number, else None."""
    return score if score is not None and math.isfinite(score) else None
