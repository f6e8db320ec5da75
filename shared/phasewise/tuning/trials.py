"""The trials of a unit: drawing, resuming and telling, so that none is lost, doubled or redrawn.

A trial that was cut off stays RUNNING in the storage and is trained again under its own number
with its own values; what it had drawn is never drawn again. A trial is told only after its record
is on disk, so one that is RUNNING with a matching record ended and was never told: it is told.

A trial that failed, because its worker was killed or the disk full, stays RUNNING likewise: a later
call trains it again. Optuna takes an ended trial's values only once.

The records are the truth. The storage holds what Optuna draws from: values, draws, states and
constraints. A trial that ended there and whose record is gone is trained again as it was drawn.
"""

import warnings
from dataclasses import replace
from typing import NamedTuple

import optuna
from optuna.trial import FrozenTrial, TrialState

from phasewise.records import RunRecord, read_matching_record
from phasewise.runs import build_seeds
from phasewise.samplers import SamplerSize, sampler_kind
from phasewise.seeding import derive_seed
from phasewise.settings import Hyperparameters, merge_hyperparameters
from phasewise.training.interface import RunJob
from phasewise.tuning.ended_trials import EndedTrial, peak_gb, read_outcome
from phasewise.tuning.locking import Lease, Say
from phasewise.tuning.memory import MemoryModel
from phasewise.tuning.objectives import Objective
from phasewise.tuning.pruners import build_pruner
from phasewise.tuning.samplers import build_sampler, draws_from_model, parallel_limit
from phasewise.tuning.spaces import suggest
from phasewise.tuning.startup import Draw, plan_startup
from phasewise.tuning.storage import open_study
from phasewise.tuning.units import Unit

#: Trial attribute: how it was drawn, see ``Origin``; a record has it from here.
ORIGIN = "origin"
#: Study attribute.
_SECONDS = "search_seconds"


class OpenTrial(NamedTuple):
    """A trial under way and its run."""

    trial: optuna.Trial | FrozenTrial  # frozen: told before, only its record is made anew
    job: RunJob


class TrialStore:
    """The unit's study: give the next trial, take the record of an ended one.

    Args:
        unit: The unit; its lock is held.
        objective: What trials are told.
        memory: Predicts peaks, from Phase 0's runs so far; it learns from the trials here.
        say: Gets a line about anything unusual.
        lease: On the unit; looked at before each write.
    """

    def __init__(
        self,
        unit: Unit,
        objective: Objective,
        memory: MemoryModel,
        say: Say,
        lease: Lease | None = None,
    ) -> None:
        search = unit.study.settings.search
        self._unit = unit
        self._search = search
        self._seed = derive_seed(unit.study.settings.seed, "sampler", unit.task, unit.method)
        self._objective = objective
        self._memory = memory
        self._limit = search.memory_constraint_gb
        self._space = unit.space if self._limit is None else replace(unit.space, fits=self._fits)
        self._size = SamplerSize(search.trials, len(unit.space.searched))
        # Planned before the memory model has learnt from any trial: a resumed search plans alike.
        self._startup: list[Draw] = plan_startup(search, self._space, seed=self._seed)
        # Trials below this number depend on no result of another.
        self._independent = len(self._startup) or sampler_kind(search.sampler).startup(self._size)
        self._ended: dict[int, EndedTrial] = {}
        self._lost: list[FrozenTrial] = []
        self._cut_off: list[FrozenTrial] = []
        self.study = self._open_study(build_pruner(search), say, lease)
        self._resume(say)

    def _open_study(
        self, pruner: optuna.pruners.BasePruner, say: Say, lease: Lease | None
    ) -> optuna.Study:
        return open_study(
            self._unit.paths.storage,
            name=self._unit.study_name,
            directions=self._objective.directions,
            settings_hash=self._unit.search_hash(),
            pruner=pruner,
            say=say,
            lease=lease,
        )

    def _resume(self, say: Say) -> None:
        self._enqueue_startup()
        cut_off = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        self._cut_off = [trial for trial in cut_off if trial.number < self._search.trials]
        without = self._read_records()
        if without:
            numbers = ", ".join(map(str, without))
            say(f"trials without a record are trained again, as they were drawn: {numbers}")

    @property
    def seconds(self) -> float:
        """Time that earlier sessions have searched."""
        return float(self.study.user_attrs.get(_SECONDS, 0.0))

    def save_seconds(self, seconds: float) -> None:
        """Notes the time searched so far, over all sessions."""
        self.study.set_user_attr(_SECONDS, seconds)

    @property
    def budget(self) -> int:
        """How many trials there will be: fewer than asked for only where a grid is exhausted."""
        if sampler_kind(self._search.sampler).build is None:
            return min(self._search.trials, len(self._startup))
        return self._search.trials

    def _read_records(self) -> list[int]:
        """Takes the records of the trials that have ended; the journal repeats none of it.

        Returns:
            The numbers of those without a record.
        """
        without = []
        for trial in self.study.get_trials(deepcopy=False):
            if trial.state.is_finished():
                job = self._job(trial)
                record = read_matching_record(job.folder, job.config)
                if record is None or record.status == "failed":
                    self._lost.append(trial)
                    without += [trial.number] if record is None else []
                else:
                    self._take(record)
        return without

    def _take(self, record: RunRecord) -> EndedTrial:
        if self._limit is not None:
            self._memory.learn(record)
        ended = read_outcome(record, self._objective, self._limit)
        self._ended[ended.number] = ended
        return ended

    def _fits(self, chosen: Hyperparameters) -> bool:
        """Whether a configuration is expected to keep the limit; True while nothing is known."""
        predicted = self._memory.predict_gb(chosen)
        return predicted is None or self._limit is None or predicted <= self._limit

    def _enqueue_startup(self) -> None:
        """Trial k is start-up draw k, so a creation that was cut off is completed by counting."""
        known = len(self.study.get_trials(deepcopy=False))
        for draw in self._startup[known:]:
            self.study.enqueue_trial(draw.values, user_attrs={ORIGIN: draw.origin})

    @property
    def owes_trials(self) -> bool:
        """Whether trials are left that earlier calls have drawn."""
        return bool(self._lost or self._cut_off)

    def is_next_known(self) -> bool:
        """Whether the next trial may be drawn before its turn: it follows from no result.

        What fits a memory limit is learnt from results, and a time budget ends a search between
        two draws. Samplers that make their start themselves may look at what has ended.
        """
        if self._limit is not None or self._search.time_budget_hours is not None:
            return False
        return self.owes_trials or self._next_number() < len(self._startup)

    def may_draw(self, under_way: int) -> bool:
        """Whether ``next`` may be asked while so many trials are under way.

        It always may for draws that depend on no result. Others wait until few enough trials are
        under way, and until their sampler has results to draw from, if any will still come.
        """
        if self.owes_trials or under_way == 0 or self._next_number() < self._independent:
            return True
        ready = draws_from_model(self._search.sampler, self.study, self._size)
        return ready and under_way < parallel_limit(self._search)

    def next(self) -> OpenTrial | None:
        """Returns a trial to train: one that lost its record or was cut off, else a new one.

        None if all are drawn.
        """
        if self._lost:
            lost = self._lost.pop(0)
            return OpenTrial(lost, self._job(lost))
        if self._cut_off:
            frozen = self._cut_off.pop(0)
            return self._open(frozen.number, frozen)
        number = self._next_number()
        return self._open(number, None) if number < self.budget else None

    def _next_number(self) -> int:
        trials = self.study.get_trials(deepcopy=False)
        return sum(trial.state != TrialState.WAITING for trial in trials)

    def _open(self, number: int, frozen: FrozenTrial | None) -> OpenTrial:
        name = self._search.sampler
        draw_seed = derive_seed(self._seed, "draw", number)
        self.study.sampler = build_sampler(name, seed=draw_seed, size=self._size, space=self._space)
        modeled = draws_from_model(name, self.study, self._size)
        with warnings.catch_warnings():  # a published default outside its range is welcome
            warnings.filterwarnings("ignore", message="Fixed parameter", category=UserWarning)
            trial = self.study.ask() if frozen is None else self._reopen(frozen)
            if ORIGIN not in trial.user_attrs:
                trial.set_user_attr(ORIGIN, "model" if modeled else "random")
            job = self._job(trial)
        assert trial.number == number
        return OpenTrial(trial, job)

    def _reopen(self, frozen: FrozenTrial) -> optuna.Trial:
        # ask() gives new trials only; the id is stable and public in storages
        return optuna.Trial(self.study, frozen._trial_id)

    def _job(self, trial: optuna.Trial | FrozenTrial) -> RunJob:
        """Returns the run of a trial; all trials share their seeds, so that settings compare."""
        drawn = suggest(trial, self._space)
        settings = self._unit.study.settings
        return self._unit.job(
            "trial",
            trial.number,
            merge_hyperparameters(self._unit.default, drawn),
            build_seeds(settings.seed, "phase1", self._unit.task, 0),
            origin=trial.user_attrs[ORIGIN],
        )

    def tell(self, trial: optuna.Trial | FrozenTrial, record: RunRecord, seconds: float) -> bool:
        """Takes an ended trial and writes its values and state into the storage.

        Finished trials are COMPLETE, pruned ones PRUNED. Diverged and infeasible ones are PRUNED
        with a violated constraint, which makes TPE avoid their surroundings; Optuna's samplers
        would ignore a FAIL, which those are that ended without a value. One whose run failed is not
        told: that a worker died says nothing of the settings, and the next call tries it again.
        A measured peak above the limit is a violated constraint as well, whatever the status.

        Args:
            trial: The open trial; a frozen one was told before.
            record: Its record, on disk.
            seconds: Time searched so far, over all sessions.

        Returns:
            Whether it counts; not if another controller has taken the trial over.
        """
        ended = self._take(record)
        self.save_seconds(seconds)
        if not isinstance(trial, FrozenTrial) and record.status != "failed":
            self._finish(trial, ended, record)
        return True

    def _finish(self, trial: optuna.Trial, ended: EndedTrial, record: RunRecord) -> None:
        peak = peak_gb(record)
        if self._limit is not None and peak is not None:
            trial.set_constraint("memory_gb", peak - self._limit)
        if ended.status == "finished":
            self.study.tell(trial, list(ended.values))
        elif ended.status == "failed":
            self.study.tell(trial, state=TrialState.FAIL)
        else:
            if ended.status != "pruned":
                trial.set_constraint(ended.status, 1.0)
            self.study.tell(trial, state=TrialState.PRUNED)

    def catch_up(self) -> list[RunRecord]:
        """Takes the trials that other controllers have ended since the last call."""
        return []

    def waits(self, *, draws: bool) -> bool:
        """Whether more may come of other controllers; ``draws``: or be taken over from them."""
        return False

    def is_lost(self, number: int) -> bool:
        """Whether another controller has taken over a trial that trains here."""
        return False

    def ended(self) -> list[EndedTrial]:
        """Returns all ended trials in the order of their numbers."""
        return [self._ended[number] for number in sorted(self._ended)]
