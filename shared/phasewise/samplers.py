"""Samplers: one row per name, with all that the search, the settings and the report ask of it.

Loads without Optuna, which the builders import, so that a study file is checked at once.
"""

import importlib
import math
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, NamedTuple

from phasewise.errors import suggest_nearest
from phasewise.extensions import recipe_modules

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

#: Told trials that TPE wants before it models on its own (Optuna's default).
TPE_STARTUP = 10
#: The same for the Gaussian process; 10 would leave nothing of a small budget.
GP_STARTUP = 4
#: New draws by a model in place of one that was tried before or is not allowed.
REDRAWS = 20
#: A Gaussian process takes a second per draw and proposes nearly the same again.
GP_REDRAWS = 1
#: Fewest start-up trials of the schedule, and the share of all trials that they take.
SCHEDULE_FEWEST = 4
SCHEDULE_SHARE = 3


class SamplerSize(NamedTuple):
    """What a sampler's own sizes depend on."""

    trials: int  # of the whole search
    dimensions: int  # searched parameters


class FixedDraws(NamedTuple):
    """Draws that are known before the first trial runs."""

    points: Literal["sobol", "grid"]
    count: Callable[[int], int] = lambda trials: trials  # of all trials
    default_first: bool = False  # the published default is the first of them


class SamplerKind(NamedTuple):
    """One row; ``words`` go on after "trials were drawn by", {start} being the fixed draws."""

    words: str
    works: tuple[str, ...]  # keys of references.bib
    build: "Callable[[int, SamplerSize], BaseSampler] | None"  # from a seed; None: fixed draws only
    startup: Callable[[SamplerSize], float]  # trials that taught it before a draw uses a model
    fixed: FixedDraws | None = None
    pruned_teach: bool = True  # whether a pruned trial counts as one of them
    searches_fronts: bool = True  # whether it can have several objectives
    redraws: int = REDRAWS
    require: Callable[[], None] = lambda: None  # refuses a sampler that is not installed

    @property
    def starts_with_default(self) -> bool:
        """Whether trial 0 is the published default."""
        return self.fixed is not None and self.fixed.default_first


def schedule_startup(trials: int) -> int:
    """Returns how many trials the schedule spends before its model draws."""
    return min(trials, max(SCHEDULE_FEWEST, trials // SCHEDULE_SHARE))


def _generation(size: SamplerSize) -> int:
    """A third of the budget, so that even ten trials see two generations after the first."""
    return max(4, size.trials // 3)


def _cmaes_population(size: SamplerSize) -> int:
    """Trial 0 and one population, 4 + 3 ln d (Hansen, arXiv 1604.00772, table 1)."""
    return 1 + 4 + math.floor(3 * math.log(max(1, size.dimensions)))


def _build_tpe(seed: int, startup: int) -> "BaseSampler":
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(
            n_startup_trials=startup, multivariate=True, group=True, constant_liar=True, seed=seed
        )


def _build_random(seed: int, _: SamplerSize) -> "BaseSampler":
    import optuna

    return optuna.samplers.RandomSampler(seed=seed)


def _build_gp(seed: int, _: SamplerSize) -> "BaseSampler":
    import optuna

    # Optuna fits the process with torch, six times faster on one thread than on all.
    importlib.import_module("torch").set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.GPSampler(
            n_startup_trials=GP_STARTUP, seed=seed, warn_independent_sampling=False
        )


def _build_cmaes(seed: int, _: SamplerSize) -> "BaseSampler":
    import optuna

    return optuna.samplers.CmaEsSampler(
        n_startup_trials=1, seed=seed, warn_independent_sampling=False
    )


def _build_nsga2(seed: int, size: SamplerSize) -> "BaseSampler":
    import optuna

    return optuna.samplers.NSGAIISampler(population_size=_generation(size), seed=seed)


def _never(_: SamplerSize) -> float:
    return math.inf


SAMPLERS: dict[str, SamplerKind] = {
    "schedule": SamplerKind(
        "the published default first, a Sobol sequence up to trial {start} and a tree-structured "
        "Parzen estimator from there",
        ("sobol1967distribution", "bergstra2011algorithms"),
        # Its start-up is fixed draws; one told trial is enough for TPE to go on from there.
        lambda seed, _: _build_tpe(seed, 1),
        lambda _: 1,
        FixedDraws("sobol", schedule_startup, default_first=True),
    ),
    "tpe": SamplerKind(
        "the tree-structured Parzen estimator",
        ("bergstra2011algorithms",),
        lambda seed, _: _build_tpe(seed, TPE_STARTUP),
        lambda _: TPE_STARTUP,
    ),
    "random": SamplerKind("random search", (), _build_random, _never),
    "qmc": SamplerKind(
        "a scrambled Sobol sequence",
        ("sobol1967distribution",),
        None,
        _never,
        FixedDraws("sobol"),
    ),
    "gp": SamplerKind(
        "a Gaussian process",
        (),
        _build_gp,
        lambda _: GP_STARTUP,
        pruned_teach=False,
        redraws=GP_REDRAWS,
    ),
    "cmaes": SamplerKind(
        "CMA-ES", (), _build_cmaes, _cmaes_population, pruned_teach=False, searches_fronts=False
    ),
    "grid": SamplerKind("a grid", (), None, _never, FixedDraws("grid")),
    "nsga2": SamplerKind("NSGA-II", (), _build_nsga2, _generation, pruned_teach=False),
}


def all_samplers() -> dict[str, SamplerKind]:
    """Returns every row, those that recipes add included."""
    added = [module.SAMPLERS for module in recipe_modules("samplers")]
    return {**SAMPLERS, **{name: row for rows in added for name, row in rows.items()}}


def sampler_kind(name: str) -> SamplerKind:
    """Returns a sampler's row.

    Raises:
        ValueError: There is none of that name; the nearest one is given.
    """
    if name in SAMPLERS:  # recipes are looked for where they are asked for
        return SAMPLERS[name]
    known = all_samplers()
    if name not in known:
        raise ValueError(f"no sampler has that name{suggest_nearest(name, known)}")
    return known[name]


def require_sampler(name: str) -> None:
    """Checks that what a sampler draws with is installed: before anything is trained for it.

    Raises:
        ConfigError: It is not; the message says what to install.
    """
    sampler_kind(name).require()
