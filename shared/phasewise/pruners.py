"""Pruners: one row per name, with all that the search, the settings and the report ask of it.

Loads without Optuna, which the builders import, so that a study file is checked at once.
"""

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from phasewise.errors import suggest_nearest

if TYPE_CHECKING:
    from optuna.pruners import BasePruner

#: Stages of a training; 12 holds the evaluations of 1, 2, 3, 4 or 6 epochs exactly.
STAGES = 12
#: The median says little before this many trials have ended, or so early in training.
MEDIAN_STARTUP_TRIALS = 4
MEDIAN_WARMUP_STAGES = STAGES // 4
#: One-sided level of the Wilcoxon test (Optuna's default).
WILCOXON_LEVEL = 0.1


class PrunerKind(NamedTuple):
    """One row; ``words`` go on after "stopping unpromising trials by"."""

    words: str
    works: tuple[str, ...]  # keys of references.bib
    build: "Callable[[int], BasePruner]"  # from search.pruning_factor
    fills_gaps: bool = False  # sees the last known score of a trial between its evaluations
    takes_factor: bool = False  # search.pruning_factor means something to it


def _build_none(_: int) -> "BasePruner":
    from optuna.pruners import NopPruner

    return NopPruner()


def _build_median(_: int) -> "BasePruner":
    from optuna.pruners import MedianPruner

    return MedianPruner(n_startup_trials=MEDIAN_STARTUP_TRIALS, n_warmup_steps=MEDIAN_WARMUP_STAGES)


def _build_asha(factor: int) -> "BasePruner":
    from optuna.pruners import SuccessiveHalvingPruner

    # Two rungs before the end, at 1/f**2 and 1/f of the training.
    first = max(1, STAGES // factor**2)
    return SuccessiveHalvingPruner(min_resource=first, reduction_factor=factor)


def _build_hyperband(factor: int) -> "BasePruner":
    from optuna.pruners import HyperbandPruner

    return HyperbandPruner(min_resource=1, max_resource=STAGES, reduction_factor=factor)


def _build_wilcoxon(_: int) -> "BasePruner":
    from optuna.exceptions import ExperimentalWarning
    from optuna.pruners import WilcoxonPruner

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return WilcoxonPruner(p_threshold=WILCOXON_LEVEL)


PRUNERS: dict[str, PrunerKind] = {
    "none": PrunerKind("", (), _build_none),
    # Only the median compares scores of the very same stage. To a Wilcoxon test copies of a score
    # would be false evidence.
    "median": PrunerKind("the median rule", ("golovin2017vizier",), _build_median, fills_gaps=True),
    "asha": PrunerKind(
        "asynchronous successive halving", ("li2020asha",), _build_asha, takes_factor=True
    ),
    "hyperband": PrunerKind("Hyperband", ("li2018hyperband",), _build_hyperband, takes_factor=True),
    "wilcoxon": PrunerKind("a Wilcoxon test", (), _build_wilcoxon),
}


def pruner_kind(name: str) -> PrunerKind:
    """Returns a pruner's row.

    Raises:
        ValueError: There is none of that name; the nearest one is given.
    """
    if name not in PRUNERS:
        raise ValueError(f"no pruner has that name{suggest_nearest(name, PRUNERS)}")
    return PRUNERS[name]
