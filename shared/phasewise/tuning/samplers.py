"""Samplers by name: what draws the trials that are not fixed beforehand.

A sampler is built anew for every draw, from a seed of its own (study seed, unit, trial number):
Optuna keeps everything a sampler learns in the storage, so nothing is lost, and a search that was
killed and resumed draws what it would have drawn anyway, never the same again (FACTS A).
"""

import importlib
import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from phasewise.settings import SamplerName

#: Told trials that TPE wants before it models on its own (Optuna's default).
TPE_STARTUP = 10
#: The same for the Gaussian process; 10 would leave nothing of a small budget.
GP_STARTUP = 4
#: New draws in place of one that was tried before.
REDRAWS = 20
_COMPLETE = (TrialState.COMPLETE,)
_TOLD = (TrialState.COMPLETE, TrialState.PRUNED)


class SamplerSize(NamedTuple):
    """What a sampler's own sizes depend on."""

    trials: int  # of the whole search
    dimensions: int  # searched parameters


class SamplerKind(NamedTuple):
    """One entry of the registry."""

    build: Callable[[int, SamplerSize], BaseSampler] | None  # from a seed; None: fixed draws only
    startup: Callable[[SamplerSize], float]  # trials in ``states`` before a draw uses a model
    states: tuple[TrialState, ...] = _TOLD


def _generation(size: SamplerSize) -> int:
    """A third of the budget, so that even ten trials see two generations after the first."""
    return max(4, size.trials // 3)


def _build_tpe(seed: int, startup: int) -> BaseSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(
            n_startup_trials=startup, multivariate=True, group=True, constant_liar=True, seed=seed
        )


def _build_gp(seed: int, _: SamplerSize) -> BaseSampler:
    # Optuna fits the process with torch, six times faster on one thread than on all (FACTS G).
    importlib.import_module("torch").set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.GPSampler(
            n_startup_trials=GP_STARTUP, seed=seed, warn_independent_sampling=False
        )


def _build_cmaes(seed: int, _: SamplerSize) -> BaseSampler:
    return optuna.samplers.CmaEsSampler(
        n_startup_trials=1, seed=seed, warn_independent_sampling=False
    )


def _build_nsga2(seed: int, size: SamplerSize) -> BaseSampler:
    return optuna.samplers.NSGAIISampler(population_size=_generation(size), seed=seed)


def _cmaes_population(size: SamplerSize) -> int:
    """Trial 0 and one population, 4 + 3 ln d (Hansen, arXiv 1604.00772, table 1)."""
    return 1 + 4 + math.floor(3 * math.log(max(1, size.dimensions)))


class DistinctSampler(BaseSampler):
    """A sampler whose model never proposes an earlier trial again.

    NSGA-II often breeds a child equal to its parent, and any model does so in a small discrete
    space; training it again on the same seeds would tell nothing. A repeated proposal is drawn
    again; after REDRAWS the trial is drawn at random.
    """

    def __init__(self, inner: BaseSampler) -> None:
        self._inner = inner

    def reseed_rng(self) -> None:
        """See BaseSampler."""
        self._inner.reseed_rng()

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """See BaseSampler."""
        return self._inner.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Returns a proposal that no earlier trial has tried; empty if the sampler has none."""
        tried = [t.params for t in study.get_trials(deepcopy=False) if t.number != trial.number]
        for _ in range(REDRAWS):
            drawn = self._inner.sample_relative(study, trial, search_space)
            if not drawn:
                return {}
            for name in sorted(
                set(search_space) - set(drawn)
            ):  # NSGA-II leaves out what it mutates
                drawn[name] = self._inner.sample_independent(study, trial, name, search_space[name])
            if drawn not in tried:
                return drawn
        return {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, name: str, distribution: BaseDistribution
    ) -> Any:
        """See BaseSampler."""
        return self._inner.sample_independent(study, trial, name, distribution)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """See BaseSampler."""
        self._inner.before_trial(study, trial)

    def after_trial(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """See BaseSampler."""
        self._inner.after_trial(study, trial, state, values)


SAMPLERS: dict[SamplerName, SamplerKind] = {
    # Its start-up is fixed draws; one told trial is enough for TPE to go on from there.
    "schedule": SamplerKind(lambda seed, _: _build_tpe(seed, 1), lambda _: 1),
    "tpe": SamplerKind(lambda seed, _: _build_tpe(seed, TPE_STARTUP), lambda _: TPE_STARTUP),
    "random": SamplerKind(
        lambda seed, _: optuna.samplers.RandomSampler(seed=seed), lambda _: float("inf")
    ),
    "qmc": SamplerKind(None, lambda _: float("inf")),
    "grid": SamplerKind(None, lambda _: float("inf")),
    "gp": SamplerKind(_build_gp, lambda _: GP_STARTUP, _COMPLETE),
    "cmaes": SamplerKind(_build_cmaes, _cmaes_population, _COMPLETE),
    "nsga2": SamplerKind(_build_nsga2, _generation, _COMPLETE),
}


def build_sampler(name: SamplerName, *, seed: int, size: SamplerSize) -> BaseSampler:
    """Returns the sampler for one draw.

    Args:
        name: A key of SAMPLERS; for ``qmc`` and ``grid``, which draw nothing themselves, it is a
            random sampler that is never asked.
        seed: Of this draw only; derive it from the trial number.
        size: Budget and space.
    """
    build = SAMPLERS[name].build
    return DistinctSampler(build(seed, size)) if build else optuna.samplers.RandomSampler(seed=seed)


def draws_from_model(name: SamplerName, study: optuna.Study, size: SamplerSize) -> bool:
    """Returns whether the next adaptive draw uses what earlier trials taught."""
    kind = SAMPLERS[name]
    told = len(study.get_trials(deepcopy=False, states=kind.states))
    return told >= kind.startup(size)
