"""The trials of a search that several controllers work on, in a database.

All trials are created before the first is drawn, empty: however many controllers there are and
whatever cuts them off, there are as many as the budget, and trial k is start-up draw k.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState, create_trial

from phasewise.errors import ConfigError
from phasewise.records import RunRecord
from phasewise.tuning.ended_trials import EndedTrial
from phasewise.tuning.locking import Lease, Say
from phasewise.tuning.memory import MemoryModel
from phasewise.tuning.objectives import Objective
from phasewise.tuning.samplers import draws_from_model, parallel_limit
from phasewise.tuning.sharing import RunKey, RunState, SharedRuns
from phasewise.tuning.storage import open_shared_study
from phasewise.tuning.trials import ORIGIN, OpenTrial, TrialStore
from phasewise.tuning.units import Unit


class SharedTrialStore(TrialStore):
    """The unit's study in a database: a trial is claimed before it is drawn, and its record given.

    Args:
        unit: The unit; its lock is held, which keeps others off its folder only.
        objective: See ``TrialStore``; so are ``memory`` and ``say``.
        runs: The unit's.

    Raises:
        ConfigError: Another controller searches the unit under other settings just now.
    """

    def __init__(
        self, unit: Unit, objective: Objective, memory: MemoryModel, say: Say, runs: SharedRuns
    ) -> None:
        self._runs = runs
        self._scope = unit.search_hash()
        super().__init__(unit, objective, memory, say)

    def _open_study(
        self, pruner: optuna.pruners.BasePruner, say: Say, lease: Lease | None
    ) -> optuna.Study:
        if strangers := self._runs.find_strangers(self._scope):
            raise ConfigError(
                f"storage: {', '.join(strangers)} searches this unit under other settings just "
                "now; make settings, data, model and library versions alike, or rename one study"
            )
        return open_shared_study(
            self._runs.database,
            name=self._unit.study_name,
            directions=self._objective.directions,
            settings_hash=self._scope,
            pruner=pruner,
        )

    def _resume(self, say: Say) -> None:
        """Creates the trials that are missing; any beyond the budget would count for nothing."""
        self._runs.database.patience(self._create_missing)

    def _create_missing(self) -> None:
        with self._runs.database.alone():
            for _ in range(len(self.study.get_trials(deepcopy=False)), self.budget):
                self.study.add_trial(create_trial(state=TrialState.WAITING))

    @property
    def owes_trials(self) -> bool:
        """Whether trials are left that controllers have drawn and given up."""
        free = [number for number, state in self._states().items() if state == "free"]
        return any(number not in self._ended for number in free)

    def is_next_known(self) -> bool:
        """No trial is claimed before there is a slot for it: others may have one."""
        return False

    def may_draw(self, under_way: int) -> bool:
        """Leaves it to ``next``, which sees what is under way elsewhere too."""
        return True

    def next(self) -> OpenTrial | None:
        """Returns a trial to train, claimed; None if none is free."""
        if (frozen := self._claim()) is None:
            return None
        with suppress(UpdateFinishedTrialError):  # another took it, and ended it, in an outage
            return self._open(frozen.number, frozen)
        return None

    def _claim(self) -> FrozenTrial | None:
        states = self._states()
        for trial in self.study.get_trials(deepcopy=False)[: self.budget]:
            number = trial.number
            if number in self._ended or states.get(number, "free") != "free":
                continue
            if trial.state == TrialState.WAITING and not self._may_start(number, states):
                return None
            if not self._runs.claim(self._key(number)):
                return None  # another was quicker: look again before a later one is drawn
            with suppress(UpdateFinishedTrialError):
                self.study._storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING)
            return trial
        return None

    def _may_start(self, number: int, states: Mapping[int, RunState]) -> bool:
        """Whether a new trial may be drawn now; see ``TrialStore.may_draw``."""
        under_way = sum(state == "held" for state in states.values())
        if number < self._independent or under_way == 0:
            return True
        ready = draws_from_model(self._search.sampler, self.study, self._size)
        return ready and under_way < parallel_limit(self._search)

    def _open(self, number: int, frozen: FrozenTrial | None) -> OpenTrial:
        """Returns the trial as it is stored: another may have drawn it too, in an outage."""
        opened = super()._open(number, frozen)
        stored = self.study.get_trials(deepcopy=False)[number]
        return OpenTrial(opened.trial, self._job(stored))

    def _reopen(self, frozen: FrozenTrial) -> optuna.Trial:
        """Gives a trial that was created empty its start-up draw, if it has one."""
        if frozen.number < len(self._startup):
            draw, storage = self._startup[frozen.number], self.study._storage
            storage.set_trial_system_attr(frozen._trial_id, "fixed_params", draw.values)
            storage.set_trial_user_attr(frozen._trial_id, ORIGIN, draw.origin)
        return super()._reopen(frozen)

    def tell(self, trial: optuna.Trial | FrozenTrial, record: RunRecord, seconds: float) -> bool:
        """See ``TrialStore``; a failed run is given back, for any controller to try again."""
        key = self._key(record.config.index)
        if record.status == "failed":
            self._runs.release(key)
        elif not self._runs.commit(key, record):
            return False
        return super().tell(trial, record, seconds)

    def _finish(self, trial: optuna.Trial, ended: EndedTrial, record: RunRecord) -> None:
        number = record.config.index
        with suppress(UpdateFinishedTrialError):  # another controller has told it meanwhile
            if not self.study.get_trials(deepcopy=False)[number].state.is_finished():
                super()._finish(trial, ended, record)

    def catch_up(self) -> list[RunRecord]:
        """Takes the trials that other controllers have ended since the last call.

        One that died between giving a record and telling Optuna is told for.
        """
        news = list(self._read_news())
        for record in news:
            trial = self.study.get_trials(deepcopy=False)[record.config.index]
            self._finish(super()._reopen(trial), self._take(record), record)
        return news

    def _read_news(self) -> Iterator[RunRecord]:
        for number, state in sorted(self._states().items()):
            known = self._ended.get(number)
            if state == "ended" and (known is None or known.can_be_retried):
                yield self._runs.read(self._key(number))

    def waits(self, *, draws: bool) -> bool:
        """See ``TrialStore``."""
        states = self._states()
        left = [states.get(n, "free") for n in range(self.budget) if n not in self._ended]
        return any(state != "free" or draws for state in left)

    def is_lost(self, number: int) -> bool:
        """See ``TrialStore``."""
        return self._runs.is_lost(self._key(number))

    def _states(self) -> dict[int, RunState]:
        """Returns the state of each trial that was ever claimed."""
        numbers = {self._key(number): number for number in range(self.budget)}
        found = self._runs.states()
        return {numbers[key]: state for key, state in found.items() if key in numbers}

    def _key(self, number: int) -> RunKey:
        return RunKey(f"phase1/trial-{number:03d}", self._scope)
