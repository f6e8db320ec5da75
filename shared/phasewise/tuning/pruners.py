"""Pruners by name, and at which point of training two trials are compared.

Trials differ in epochs and in batch size, so neither steps nor epochs are a common clock: at step
100 a small batch has seen little data, and at epoch 1 a six-epoch trial still has nearly its peak
learning rate while a one-epoch trial has decayed to nothing; comparing there would prune long
trials for being long. The clock here is the fraction of a trial's own training, cut into STAGES,
at which all learning-rate schedules stand alike.
"""

import copy
import math
import warnings
from collections.abc import Callable, Mapping

import optuna
from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    SuccessiveHalvingPruner,
    WilcoxonPruner,
)

from phasewise.records import Evaluation
from phasewise.settings import PrunerName, SearchSettings
from phasewise.training.interface import Decision

#: Stages of a training; 12 holds the evaluations of 1, 2, 3, 4 or 6 epochs exactly.
STAGES = 12
#: The median says little before this many trials have ended, or so early in training.
MEDIAN_STARTUP_TRIALS = 4
MEDIAN_WARMUP_STAGES = STAGES // 4
#: One-sided level of the Wilcoxon test (Optuna's default).
WILCOXON_LEVEL = 0.1


def _build_median(_: SearchSettings) -> BasePruner:
    return MedianPruner(n_startup_trials=MEDIAN_STARTUP_TRIALS, n_warmup_steps=MEDIAN_WARMUP_STAGES)


def _build_asha(search: SearchSettings) -> BasePruner:
    # Two rungs before the end, at 1/f**2 and 1/f of the training.
    factor = search.pruning_factor
    first = max(1, STAGES // factor**2)
    return SuccessiveHalvingPruner(min_resource=first, reduction_factor=factor)


def _build_hyperband(search: SearchSettings) -> BasePruner:
    return HyperbandPruner(
        min_resource=1, max_resource=STAGES, reduction_factor=search.pruning_factor
    )


def _build_wilcoxon(_: SearchSettings) -> BasePruner:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return WilcoxonPruner(p_threshold=WILCOXON_LEVEL)


PRUNERS: dict[PrunerName, Callable[[SearchSettings], BasePruner]] = {
    "none": lambda _: NopPruner(),
    "median": _build_median,
    "asha": _build_asha,
    "hyperband": _build_hyperband,
    "wilcoxon": _build_wilcoxon,
}


def build_pruner(search: SearchSettings) -> BasePruner:
    """Returns the pruner that a study's ``search.pruner`` names."""
    return PRUNERS[search.pruner](search)


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
        pruner: Its name.
        score: Gives the objective's value of an evaluation's metrics; None: not to be judged.
    """

    def __init__(
        self,
        study: optuna.Study,
        pruner: PrunerName,
        score: Callable[[Mapping[str, float]], float | None],
    ) -> None:
        self._study = study
        self._score = score
        # Only the median compares scores of the very same stage; it sees the last known score of
        # a trial between its evaluations. To a Wilcoxon test such copies would be false evidence.
        self._fills_gaps = pruner == "median"
        self._reports: dict[int, dict[int, float]] = {}

    def forget(self, number: int) -> None:
        """Drops the scores of a trial's earlier attempt, since it starts again."""
        self._reports.pop(number, None)

    def decide(self, trial: optuna.Trial, evaluation: Evaluation, epochs: float) -> Decision:
        """Returns whether the trial goes on.

        It always does without a finite score (the engine will call it diverged), at a stage that
        was judged already, and at the end of its training.
        """
        score = self._score(evaluation.metrics)
        stage = stage_of(evaluation.epoch, epochs)
        reports = self._reports.setdefault(trial.number, {})
        if score is None or not math.isfinite(score) or stage < 1 or stage in reports:
            return "continue"
        self._report(trial, reports, stage, score)
        if stage == STAGES or not self._loses(self._frozen(trial.number, reports)):
            return "continue"
        return "prune"

    def _loses(self, trial: optuna.trial.FrozenTrial) -> bool:
        with warnings.catch_warnings():  # Wilcoxon warns of stages that the best trial skipped
            warnings.simplefilter("ignore", UserWarning)
            return self._study.pruner.prune(self._study, trial)

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

    def _frozen(self, number: int, reports: dict[int, float] | None) -> optuna.trial.FrozenTrial:
        """Returns the stored trial; with ``reports``, as if it had reported only these."""
        frozen = self._study.get_trials(deepcopy=False)[number]
        if reports is None:
            return frozen
        current = copy.copy(frozen)
        current.intermediate_values = dict(reports)
        return current
