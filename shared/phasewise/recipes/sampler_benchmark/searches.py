"""Search algorithms side by side: each searches the same space many times at the same budget.

Every search is the one of Phase 1, with its start-up draws, its redraws and its seeds per draw;
only the storage is memory and the training a `Score`.
"""

import time
import warnings
from collections.abc import Callable
from typing import NamedTuple

import optuna
from optuna.trial import TrialState

from phasewise.samplers import SamplerSize, sampler_kind
from phasewise.seeding import derive_seed
from phasewise.settings import (
    Hyperparameters,
    SamplerName,
    SearchSettings,
    merge_hyperparameters,
)
from phasewise.tuning.samplers import build_sampler
from phasewise.tuning.spaces import Space, suggest
from phasewise.tuning.startup import plan_startup

#: Returns the score of a configuration in the searches of one seed, larger being better; None where
#: it has none (it diverged).
Score = Callable[[Hyperparameters, int], float | None]


class BenchmarkSearch(NamedTuple):
    """One search of one algorithm.

    Attributes:
        sampler: Its name.
        seed: Index of the repetition; searches of one index share the seed they derive theirs from.
        values: Score of each trial in its order; None where it has none.
        draw_seconds: Mean time that drawing a trial took, without its training.
    """

    sampler: SamplerName
    seed: int
    values: tuple[float | None, ...]
    draw_seconds: float


def run_search(
    space: Space, score: Score, *, sampler: SamplerName, trials: int, seed: int, stream: int
) -> BenchmarkSearch:
    """Returns one search; shorter than ``trials`` only where a grid has fewer points.

    Args:
        space: What is searched.
        score: Trains a configuration, or stands in for it.
        sampler: Name.
        trials: Budget.
        seed: Index of the repetition.
        stream: Seed that every draw's own derives from.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize")
    startup = plan_startup(SearchSettings(sampler=sampler, trials=trials), space, seed=stream)
    for draw in startup:
        study.enqueue_trial(draw.values)
    budget = trials if sampler_kind(sampler).build is not None else min(trials, len(startup))
    size = SamplerSize(trials, len(space.searched))
    values: list[float | None] = []
    spent = 0.0
    for number in range(budget):
        begun = time.perf_counter()
        draw_seed = derive_seed(stream, "draw", number)
        study.sampler = build_sampler(sampler, seed=draw_seed, size=size, space=space)
        with warnings.catch_warnings():  # a published default outside its range is welcome
            warnings.filterwarnings("ignore", message="Fixed parameter", category=UserWarning)
            trial = study.ask()
            drawn = suggest(trial, space)
        spent += time.perf_counter() - begun
        value = score(merge_hyperparameters(space.default, drawn), seed)
        values.append(value)
        _tell(study, trial, value)
    return BenchmarkSearch(sampler, seed, tuple(values), spent / max(1, len(values)))


def _tell(study: optuna.Study, trial: optuna.Trial, value: float | None) -> None:
    """As Phase 1 tells it: without a score it is pruned with a violated constraint."""
    if value is not None:
        study.tell(trial, value)
        return
    trial.set_constraint("diverged", 1.0)
    study.tell(trial, state=TrialState.PRUNED)
