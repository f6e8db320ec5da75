"""A stand-in for training: a forest fitted to the trials that a search has really trained.

Surrogate benchmarks (Eggensperger et al., AAAI 2015, "Efficient benchmarking of hyperparameter
optimizers via surrogates"): thousands of searches at the price of one. A forest, as they chose;
a Gaussian process would be the very model of some of the algorithms that are compared.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray
from optuna.distributions import CategoricalDistribution

from phasewise.errors import DataError
from phasewise.recipes.sampler_benchmark.guest_sampler import encode
from phasewise.settings import Hyperparameters, Scalar
from phasewise.tuning.spaces import Space, build_distribution

#: Fewer measured trainings than this cannot show the shape of a space of several parameters.
FEWEST_TRAININGS = 20
_TREES = 100


class Fit(NamedTuple):
    """How well trees predict trainings they were not fitted to (out of bag)."""

    trainings: int
    rank_correlation: float  # Spearman's, of foretold and measured scores
    explained: float  # 1 - squared error / variance; below 0: worse than the mean


class Surrogate:
    """Predicts the score of any configuration of a space.

    Args:
        space: The space the trainings were drawn from.
        chosen: Hyperparameters of each training.
        scores: Their scores, in the same order.
        seed: Of the forest.

    Raises:
        DataError: There are fewer than FEWEST_TRAININGS.
    """

    def __init__(
        self,
        space: Space,
        chosen: Sequence[Hyperparameters],
        scores: Sequence[float],
        *,
        seed: int,
    ) -> None:
        from sklearn.ensemble import RandomForestRegressor

        if len(chosen) < FEWEST_TRAININGS:
            raise DataError(
                f"benchmark of samplers: expected at least {FEWEST_TRAININGS} finished trials to "
                f"stand in for training, got {len(chosen)}; raise search.trials"
            )
        self._space = space
        self._forest = RandomForestRegressor(_TREES, oob_score=True, random_state=seed % 2**32)
        self._forest.fit([self._encode(each) for each in chosen], scores)
        self.fit = _measure_fit(self._forest.oob_prediction_, np.array(scores))

    def score(self, chosen: Hyperparameters, _: int) -> float:
        """Returns the foretold score of a configuration; the same in searches of any seed."""
        row = np.array([self._encode(chosen)], dtype=np.float32)  # (1, features)
        # The forest's own predict sets up a pool of threads each time, 20 times the work.
        return float(np.mean([tree.tree_.predict(row)[0, 0] for tree in self._forest.estimators_]))

    def _encode(self, chosen: Hyperparameters) -> list[float]:
        values: Mapping[str, Scalar] = chosen.model_dump()
        features: list[float] = []
        for name, parameter in self._space.searched.items():
            distribution = build_distribution(parameter)
            if isinstance(distribution, CategoricalDistribution):
                features += [float(values[name] == choice) for choice in distribution.choices]
            else:
                features.append(encode(distribution, values[name]))
        return features


def _measure_fit(foretold: NDArray[np.float64], scores: NDArray[np.float64]) -> Fit:
    """Both of shape (trainings,)."""
    spread = float(((scores - scores.mean()) ** 2).sum())
    if spread == 0.0:
        raise DataError("benchmark of samplers: all trainings scored the same; nothing to search")
    error = float(((scores - foretold) ** 2).sum())
    rank = float(scipy.stats.spearmanr(foretold, scores).statistic)
    return Fit(len(scores), rank, 1 - error / spread)
