"""Whether a trial goes on, and at which point of training two trials are compared.

Trials differ in epochs and in batch size, so neither steps nor epochs are a common clock: at step
100 a small batch has seen little data, and at epoch 1 a six-epoch trial still has nearly its peak
learning rate while a one-epoch trial has decayed to nothing; comparing there would prune long
trials for being long. The clock here is the fraction of a trial's own training, cut into STAGES,
at which all learning-rate schedules stand alike.
"""

import copy
import math
import warnings
from collections.abc import Callable, Mapping, Sequence

import optuna
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, TrialState

from phasewise.pruners import STAGES, pruner_kind
from phasewise.records import Evaluation
from phasewise.settings import SearchSettings
from phasewise.training.interface import Decision
from phasewise.tuning.loss_watch import LossWatch


def build_pruner(search: SearchSettings) -> BasePruner:
    """Returns the pruner that a study's ``search.pruner`` names."""
    return pruner_kind(search.pruner).build(search.pruning_factor)


def stage_of(epoch: float, epochs: float) -> int:
    """Returns how far a training is, 0..STAGES, rounded down.

    Args:
        epoch: Passes over the train sample done.
        epochs: Passes that the whole training takes.
    """
    return min(STAGES, math.floor(STAGES * epoch / epochs + 1e-6))


class TrialPruner:
    """Decides after each evaluation whether a trial goes on.

    Args:
        study: Holds all trials' scores and the pruner.
        search: Names the pruner, and says whether losses stop a trial too.
        score: Gives the objective's value of an evaluation's metrics; None: not to be judged.
        say: Is told why losses stop a trial.
    """

    def __init__(
        self,
        study: optuna.Study,
        search: SearchSettings,
        score: Callable[[Mapping[str, float]], float | None],
        say: Callable[[str], None],
    ) -> None:
        self._study = study
        self._score = score
        self._say = say
        self._fills_gaps = pruner_kind(search.pruner).fills_gaps
        self._losses = LossWatch() if search.stop_on_loss else None
        self._reports: dict[int, dict[int, float]] = {}

    def forget(self, number: int) -> None:
        """Drops the scores of a trial's earlier attempt, since it starts again."""
        self._reports.pop(number, None)
        if self._losses:
            self._losses.forget(number)

    def remember(
        self,
        trial: optuna.Trial | FrozenTrial,
        evaluations: Sequence[Evaluation],
        epochs: float,
    ) -> None:
        """Takes the scores up to a trial's checkpoint; they were judged when they were made."""
        if isinstance(trial, FrozenTrial):
            return
        for evaluation in evaluations:
            if self._take(trial, evaluation, epochs) is not None and self._losses:
                share = evaluation.epoch / epochs
                self._losses.judge(trial.number, evaluation, share, loses=False)

    def decide(
        self, trial: optuna.Trial | FrozenTrial, evaluation: Evaluation, epochs: float
    ) -> Decision:
        """Returns whether the trial goes on.

        It always does without a finite score (the engine will call it diverged), at a stage that
        was judged already, and at the end of its training. A frozen trial was judged before: it
        ends where it ended then.
        """
        if isinstance(trial, FrozenTrial):
            return _repeat_decision(trial, stage_of(evaluation.epoch, epochs))
        score = self._take(trial, evaluation, epochs)
        if score is None:
            return "continue"
        loses = self._loses(self._frozen(trial.number, self._reports[trial.number]))
        stops = self._stops_on_losses(trial.number, evaluation, epochs, score)
        return "prune" if loses or stops else "continue"

    def _take(self, trial: optuna.Trial, evaluation: Evaluation, epochs: float) -> float | None:
        """Reports an evaluation; returns its score, None if that is not to be judged."""
        score = self._score(evaluation.metrics)
        stage = stage_of(evaluation.epoch, epochs)
        reports = self._reports.setdefault(trial.number, {})
        if score is None or not math.isfinite(score) or stage < 1 or stage in reports:
            return None
        self._report(trial, reports, stage, score)
        return None if stage == STAGES else score

    def _loses(self, trial: FrozenTrial) -> bool:
        with warnings.catch_warnings():  # Wilcoxon warns of stages that the best trial skipped
            warnings.simplefilter("ignore", UserWarning)
            return self._study.pruner.prune(self._study, trial)

    def _stops_on_losses(
        self, number: int, evaluation: Evaluation, epochs: float, score: float
    ) -> bool:
        if self._losses is None:
            return False
        loses = self._is_below_best(score)
        reason = self._losses.judge(number, evaluation, evaluation.epoch / epochs, loses=loses)
        if reason:
            self._say(f"trial {number} is stopped: {reason}")
        return bool(reason)

    def _is_below_best(self, score: float) -> bool:
        try:
            best = self._study.best_value
        except ValueError:  # none has finished
            return False
        return score < best if self._study.direction.name == "MAXIMIZE" else score > best

    def _report(
        self, trial: optuna.Trial, reports: dict[int, float], stage: int, score: float
    ) -> None:
        stored = self._frozen(trial.number, None).intermediate_values
        last = max(reports, default=stage)
        gap = range(last + 1, stage) if self._fills_gaps else ()
        for at, value in [*((at, reports[last]) for at in gap), (stage, score)]:
            reports[at] = value
            if at not in stored:  # a trial that was cut off has reported before
                trial.report(value, at)

    def _frozen(self, number: int, reports: dict[int, float] | None) -> FrozenTrial:
        """Returns the stored trial; with ``reports``, as if it had reported only these."""
        frozen = self._study.get_trials(deepcopy=False)[number]
        if reports is None:
            return frozen
        current = copy.copy(frozen)
        current.intermediate_values = dict(reports)
        return current


def _repeat_decision(ended: FrozenTrial, stage: int) -> Decision:
    """Returns prune at the stage that a pruned trial had come to; diverged ones were not pruned."""
    pruned = ended.state == TrialState.PRUNED and not ended.constraints.keys() - {"memory_gb"}
    last = max(ended.intermediate_values, default=0)
    return "prune" if pruned and 0 < last <= stage else "continue"
