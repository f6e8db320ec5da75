"""Samplers by name: what draws the trials that are not fixed beforehand.

A sampler is built anew for every draw, from a seed of its own (study seed, unit, trial number):
Optuna keeps everything a sampler learns in the storage, so nothing is lost, and a search that was
killed and resumed draws what it would have drawn anyway, never the same again (a sampler that is
reopened with its old seed repeats its first draws).
"""

import itertools
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from phasewise.samplers import SamplerSize, sampler_kind
from phasewise.settings import CategoricalParameter, RangeParameter, SamplerName, SearchSettings
from phasewise.tuning.spaces import Space, build_distribution

#: Random draws after that; a space of which one in a thousand points is allowed is refused before.
RANDOM_DRAWS = 1000
#: Allowed ones among them, of which the nearest to the model's proposal is taken.
NEARBY_DRAWS = 32
#: Trials that ``parallel_trials: auto`` lets a model draw side by side, as a share of all and at
#: least: each draw then knows all results but those few, so a search of 10 trials stays nearly
#: sequential. Constant liar keeps the few apart (Optuna); far more would be random search.
PARALLEL_SHARE = 5
PARALLEL_FEWEST = 2
#: How a trial ends that says something about its settings.
TOLD = (TrialState.COMPLETE, TrialState.PRUNED)


class AllowedSampler(BaseSampler):
    """A sampler that draws whole configurations: applicable, allowed, and not tried before.

    Conditions decide which parameters a draw has. A draw that a constraint forbids, or that equals
    an earlier trial (NSGA-II often breeds a child equal to its parent; training it again on the
    same seeds would tell nothing) is drawn again from the same sampler; when that fails too, it is
    the nearest to the last of NEARBY_DRAWS random ones that are allowed. Rejected draws are never
    trials, so nothing is wasted and nothing told. For TPE this is sampling from its ratio
    l(x)/g(x) restricted to the allowed region (Bergstra et al. 2011, section 4): what it models is
    unchanged.
    """

    def __init__(self, inner: BaseSampler, space: Space, *, seed: int, redraws: int) -> None:
        self._inner = inner
        self._redraws = redraws
        self._space = space
        self._random = optuna.samplers.RandomSampler(seed=seed)

    def reseed_rng(self) -> None:
        """See BaseSampler."""
        self._inner.reseed_rng()

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Returns the whole space, since draws are whole."""
        if "fixed_params" in trial.system_attrs:  # enqueued: its values are given
            return {}
        return {name: build_distribution(p) for name, p in self._space.searched.items()}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Returns a draw that is allowed and that no earlier trial has tried.

        In a small space without such a one it is one tried before, or one that is not allowed.
        """
        if not search_space:
            return {}
        tried = [t.params for t in study.get_trials(deepcopy=False) if t.number != trial.number]
        known = self._inner.infer_relative_search_space(study, trial)

        def fits(drawn: dict[str, Any]) -> bool:
            return drawn not in tried and self._space.allows(drawn)

        for _ in range(self._redraws):
            drawn = self._draw(self._inner, study, trial, known)
            if fits(drawn):
                return drawn
        nearby = (self._draw(self._random, study, trial, {}) for _ in range(RANDOM_DRAWS))
        allowed = itertools.islice(filter(fits, nearby), NEARBY_DRAWS)
        return min(allowed, key=lambda other: self._space.distance(drawn, other), default=drawn)

    def _draw(
        self,
        sampler: BaseSampler,
        study: optuna.Study,
        trial: FrozenTrial,
        modeled: dict[str, BaseDistribution],
    ) -> dict[str, Any]:
        proposed = sampler.sample_relative(study, trial, modeled) if modeled else {}
        proposed |= trial.params  # a trial that was cut off has drawn these

        def choose(name: str, parameter: RangeParameter | CategoricalParameter) -> Any:
            if name in proposed:  # NSGA-II leaves out what it mutates
                return proposed[name]
            distribution = build_distribution(parameter)
            return sampler.sample_independent(study, trial, name, distribution)

        return self._space.drawn(self._space.fill(choose))

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


def build_sampler(name: SamplerName, *, seed: int, size: SamplerSize, space: Space) -> BaseSampler:
    """Returns the sampler for one draw.

    Args:
        name: In the registry; for ``qmc`` and ``grid``, which draw nothing themselves, it is a
            random sampler that is asked only where conditions leave no further point.
        seed: Of this draw only; derive it from the trial number.
        size: Budget and space.
        space: What it draws from.
    """
    kind = sampler_kind(name)
    inner = kind.build(seed, size) if kind.build else optuna.samplers.RandomSampler(seed=seed)
    return AllowedSampler(inner, space, seed=seed, redraws=kind.redraws)


def parallel_limit(search: SearchSettings) -> int:
    """Returns how many trials may be under way when a model draws one more, itself included."""
    if search.parallel_trials == "auto":
        return max(PARALLEL_FEWEST, search.trials // PARALLEL_SHARE)
    return search.parallel_trials


def draws_from_model(name: SamplerName, study: optuna.Study, size: SamplerSize) -> bool:
    """Returns whether the next adaptive draw uses what earlier trials taught."""
    kind = sampler_kind(name)
    states = TOLD if kind.pruned_teach else (TrialState.COMPLETE,)
    told = len(study.get_trials(deepcopy=False, states=states))
    return told >= kind.startup(size)
