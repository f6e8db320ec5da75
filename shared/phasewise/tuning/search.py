"""Phase 1 of a unit: draw, train and tell until all trials have ended, confirm, choose.

Whatever kills this process, calling ``search_unit`` again goes on from the last ended trial.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console

from phasewise.errors import PhasewiseError
from phasewise.records import Evaluation, RunRecord
from phasewise.runs import build_seeds
from phasewise.samplers import require_sampler, sampler_kind
from phasewise.settings import Study
from phasewise.summaries import Optimum, PhaseSummary, write_optimum
from phasewise.training.interface import Decision, RunJob
from phasewise.tuning.candidates import build_candidates, rank_trials
from phasewise.tuning.dispatch import PoolFactory
from phasewise.tuning.ended_trials import EndedTrial, describe_lack, list_failed
from phasewise.tuning.hooks import RunListener
from phasewise.tuning.job_lists import run_jobs
from phasewise.tuning.memory import MemoryModel, build_memory_model
from phasewise.tuning.objectives import Objective, build_objective
from phasewise.tuning.optimum import build_optimum, keep_verdict, read_baseline, read_defaults
from phasewise.tuning.optimum_lines import describe_optimum
from phasewise.tuning.progress import Clock, describe_outcome, describe_retries
from phasewise.tuning.pruners import TrialPruner
from phasewise.tuning.run_records import adopt_record, find_record, set_late_record_aside
from phasewise.tuning.spaces import place_first
from phasewise.tuning.stopping import StoppedError
from phasewise.tuning.time_budget import TimeBudget
from phasewise.tuning.trials import OpenTrial, TrialStore
from phasewise.tuning.unit_space import check_space
from phasewise.tuning.units import Session, Unit, open_session


def search_unit(
    study: Study,
    task: str,
    method: str,
    *,
    pool_factory: PoolFactory | None = None,
    console: Console | None = None,
    log: Path | None = None,
    listener: RunListener | None = None,
    spent: float = 0.0,
) -> Optimum:
    """Searches a unit's hyperparameters, or finishes a search that was cut off.

    Args:
        study: The study.
        task: Its task.
        method: Its method.
        pool_factory: Makes the pool that trains; None: the real one.
        console: Where progress is shown; None: standard error.
        log: File that progress lines are appended to.
        listener: Told of each run as it begins and ends; can neither delay nor fail one.
        spent: Seconds of the time budget that Phase 0 took, if it was part of this call.

    Returns:
        The final optimum, also written to ``UnitPaths.optimum``.

    Raises:
        ConfigError: Phase 0 or the sampler's package is missing, or the space leaves nothing to
            search.
        PhasewiseError: No trial finished; the first reason is named.
        StoppedError: SIGTERM or Ctrl-C.
    """
    unit = Unit(study, task, method)
    require_sampler(study.settings.search.sampler)
    baseline = read_baseline(unit)
    check_space(unit)
    with open_session(
        unit,
        pool_factory=pool_factory,
        console=console,
        log=log,
        listener=listener,
        shares=True,
    ) as session:
        search = _Search(unit, baseline, session, spent)
        search.run_trials()
        return search.confirm()


def _open_store(
    unit: Unit, objective: Objective, memory: MemoryModel, session: Session
) -> TrialStore:
    say = session.progress.write
    if session.shared is None:
        return TrialStore(unit, objective, memory, say, session.lease)
    from phasewise.tuning.shared_trials import SharedTrialStore  # a database's library

    return SharedTrialStore(unit, objective, memory, say, session.shared)


class _Search:
    """One session of a search."""

    def __init__(self, unit: Unit, baseline: PhaseSummary, session: Session, spent: float) -> None:
        self._unit = unit
        self._session = session
        self._say = session.progress.write
        self._settings = unit.study.settings.search
        defaults = read_defaults(unit, baseline)
        self._objective = build_objective(self._settings, unit.metric, defaults, baseline.search)
        memory = build_memory_model(unit, defaults)
        self._store = _open_store(unit, self._objective, memory, session)
        self._pruner = TrialPruner(
            self._store.study, self._settings, self._objective.value_during, self._say
        )
        known = self._store.seconds
        self._clock = Clock(known or spent)
        runs = len(self._store.ended()) if known else len(baseline.runs) if spent else 0
        self._budget = TimeBudget(self._settings.time_budget_hours, self._clock, runs)
        self._open: dict[str, OpenTrial] = {}

    def run_trials(self) -> None:
        """Runs trials until as many have ended as the study asks for, or time is up."""
        self._announce()
        try:
            self._session.dispatcher.run(
                self._next_job,
                ended=self._end_job,
                evaluated=self._evaluate,
                started=self._show_start,
                restarted=lambda job: self._pruner.forget(job.config.index),
                resumed=self._remember,
                is_known=self._store.is_next_known,
                waits=lambda: self._store.waits(draws=not self._is_late()),
            )
        except StoppedError:
            self._store.save_seconds(self._clock.seconds)
            raise
        self._catch_up()

    def _announce(self) -> None:
        ended, budget = len(self._store.ended()), self._store.budget
        self._say(f"searching: {ended} of {budget} trials have ended")
        if budget < self._settings.trials:
            trials = self._settings.trials
            self._say(f"the grid has {budget} points only, fewer than trials={trials}")
        study = self._unit.study
        for note in study.space.notes_on(study.methods[self._unit.method]):
            self._say(note, style="yellow")
        if self._objective.kind != "metric":
            self._say(f"objective: {self._objective.describe()}")
        notes = place_first(self._unit.space).notes
        if self._unit.refinement is not None:
            earlier = self._unit.refinement.origin
            self._say(
                f"refining {earlier.study}: trial 0 is its trial {earlier.best_trial}, "
                f"ranges {earlier.ranges}"
            )
        elif ended == 0 and sampler_kind(self._settings.sampler).starts_with_default and notes:
            self._say(f"trial 0 is the published default but for the space: {', '.join(notes)}")

    def _next_job(self) -> RunJob | None:
        self._catch_up()
        while (opened := self._draw()) is not None:
            job = opened.job
            self._open[job.config.name] = opened
            record = find_record(job, self._say)
            if record is None:
                return job
            self._end_job(job, record)  # it ended, and the controller died before it was told
        return None

    def _draw(self) -> OpenTrial | None:
        if not self._store.may_draw(len(self._open)):
            return None
        if self._is_late() and not self._store.owes_trials:  # those were drawn within the budget
            # The last trial was told within the budget; a later call must see the budget spent.
            self._store.save_seconds(self._clock.seconds)
            return None
        return self._store.next()

    def _is_late(self) -> bool:
        confirmed = self._settings.confirm_top * self._settings.confirm_seeds
        return not self._budget.has_room(len(self._store.ended()), len(self._open), confirmed)

    def _catch_up(self) -> None:
        """Takes what other controllers have ended."""
        for record in self._store.catch_up():
            folder = self._unit.paths.run("phase1", record.config.name)
            adopt_record(folder, record, self._say)
            self._note(record, f" · on {record.environment.get('host', 'another machine')}")

    def _evaluate(self, job: RunJob, evaluation: Evaluation) -> Decision:
        if self._store.is_lost(job.config.index):
            return "prune"  # it is trained elsewhere, and will not count here
        trial = self._open[job.config.name].trial
        return self._pruner.decide(trial, evaluation, job.config.hyperparameters.epochs)

    def _remember(self, job: RunJob, evaluations: Sequence[Evaluation]) -> None:
        epochs = job.config.hyperparameters.epochs
        self._pruner.remember(self._open[job.config.name].trial, evaluations, epochs)

    def _end_job(self, job: RunJob, record: RunRecord) -> None:
        opened = self._open.pop(job.config.name)
        if not self._store.tell(opened.trial, record, self._clock.seconds):
            set_late_record_aside(job.folder, self._say)
            return
        self._session.hook.end(record, job.folder)
        self._budget.note_end()
        self._note(record)

    def _note(self, record: RunRecord, where: str = "") -> None:
        """Shows a trial that has ended, and writes the best so far."""
        ended = self._store.ended()
        best = rank_trials(ended, self._objective)
        if best:
            optimum = self._describe(ended, best[:1], {}, final=False)
            write_optimum(self._unit.paths.running_optimum, optimum)
        self._show(record, ended, best, where)

    def _show_start(self, job: RunJob) -> None:
        opened, config = self._open[job.config.name], job.config
        drawn = ", ".join(f"{k} {_short(v)}" for k, v in opened.trial.params.items())
        self._say(f"trial {config.index} starts ({config.origin}) · {drawn}", style="dim")

    def _show(
        self, record: RunRecord, ended: list[EndedTrial], best: list[EndedTrial], where: str
    ) -> None:
        top = f" · best {best[0].value:.3f} (trial {best[0].number})" if best else ""
        budget = self._store.budget
        self._say(
            f"trial {record.config.index} ({len(ended)}/{budget}) · {describe_outcome(record)}"
            f"{where}{top} · {self._clock.describe(len(ended), budget, self._budget.left)}",
            style="" if record.status in ("finished", "pruned") else "yellow",
        )

    def confirm(self) -> Optimum:
        """Re-runs the best trials on fresh seeds, chooses, and writes the final optimum."""
        ended = self._store.ended()
        seeds, ranked = self._settings.confirm_seeds, rank_trials(ended, self._objective)
        if not ranked:
            raise PhasewiseError(f"{self._unit.label}: {describe_lack(ended)}")
        top = self._budget.confirmed(len(ranked), self._settings.confirm_top, seeds)
        best = ranked[: max(top, 1)]
        scores: dict[int, list[float]] = defaultdict(list)
        numbers: dict[str, int] = {}

        def end(job: RunJob, record: RunRecord) -> None:
            self._session.hook.end(record, job.folder)
            count(job, record)

        def count(job: RunJob, record: RunRecord) -> None:
            self._count(numbers[job.config.name], job, record, scores)

        run_jobs(
            self._session, list(self._confirmations(best[:top], numbers)), ended=end, recorded=count
        )
        self._session.dispatcher.dismiss()
        optimum = keep_verdict(self._describe(ended, best, scores, final=True), self._unit)
        self._session.lease.check()
        write_optimum(self._unit.paths.running_optimum, optimum)
        write_optimum(self._unit.paths.optimum, optimum)
        for text, style in describe_optimum(optimum):
            self._say(text, style=style)
        self._say(f"wrote {self._unit.paths.optimum}")
        if retries := describe_retries(list_failed(ended)):
            self._say(retries, style="yellow")
        return optimum

    def _confirmations(self, best: list[EndedTrial], numbers: dict[str, int]) -> Iterator[RunJob]:
        """Yields the runs; notes which trial each is of."""
        study, task = self._unit.study.settings, self._unit.task
        for trial in best:
            for index in range(self._settings.confirm_seeds):
                seeds = build_seeds(study.seed, "confirm", task, index)
                chosen = trial.hyperparameters
                job = self._unit.job("confirm", trial.number, chosen, seeds, repeat=index)
                numbers[job.config.name] = trial.number
                yield job

    def _count(
        self, number: int, job: RunJob, record: RunRecord, scores: dict[int, list[float]]
    ) -> None:
        score = self._objective.value(record) if record.status == "finished" else None
        if score is not None:
            scores[number].append(score)
        self._say(f"{job.config.name} · {describe_outcome(record)}")

    def _describe(
        self,
        ended: list[EndedTrial],
        best: list[EndedTrial],
        scores: dict[int, list[float]],
        *,
        final: bool,
    ) -> Optimum:
        candidates = build_candidates(best, scores)
        return build_optimum(self._unit, ended, candidates, self._objective, final=final)


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
