"""A run's peak memory, predicted from those that were measured, so that no trial is wasted.

    peak = c + 16 bytes x trainable weights + k x tokens in a forward pass

c (base weights, libraries) and k (activations) are fitted to the peaks measured so far; 16 bytes
are weight, gradient and AdamW's two moments in float32. Before runs of two sizes have been measured
k comes from the model's shape (``memory_estimate``, in 32 bits); at most all that the measured run
leaves beside its weights.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from phasewise.methods.model_shape import read_shape
from phasewise.records import RunRecord
from phasewise.settings import Hyperparameters
from phasewise.tuning.memory_estimate import BYTES_A_TRAINED_WEIGHT, token_bytes
from phasewise.tuning.units import Unit

_GB = 1e9


class MeasuredRun(NamedTuple):
    """What the prediction needs of one run."""

    hyperparameters: Hyperparameters
    tokens: float  # in one forward pass, at most
    trained: int  # weights
    peak_gb: float


class MemoryModel:
    """Predicts peaks of a unit's runs.

    Args:
        token_bytes: Activations a token from the model's shape; None if it is not known.
        max_length: The task's, tokens.
        micro_batch_size: Largest number of rows in a forward pass; None: the whole batch.
    """

    def __init__(
        self, token_bytes: float | None, *, max_length: int, micro_batch_size: int | None
    ) -> None:
        self._token_bytes = token_bytes
        self._max_length = max_length
        self._micro_batch_size = micro_batch_size
        self._runs: list[MeasuredRun] = []

    def learn(self, record: RunRecord) -> None:
        """Takes a run's measured peak; runs without one are left out."""
        cost = record.cost
        if cost is None or cost.peak_memory_mb is None:
            return
        chosen = record.config.hyperparameters
        tokens = cost.micro_batch_size * self._length(chosen)
        peak = cost.peak_memory_mb / 1e3
        self._runs.append(MeasuredRun(chosen, tokens, cost.trainable_parameters, peak))

    def predict_gb(self, chosen: Hyperparameters) -> float | None:
        """Returns the peak to expect, in 1e9 bytes; None before anything has been measured."""
        if not self._runs:
            return None
        constant, slope = self._fit()
        rows = chosen.rows_at_once(self._micro_batch_size)
        tokens = rows * self._length(chosen)
        return constant + _trained_gb(self._trained(chosen)) + slope * tokens

    def _length(self, chosen: Hyperparameters) -> int:
        """Tokens of the longest text; scoring keeps the task's own, but holds no activations."""
        return min(chosen.max_length or self._max_length, self._max_length)

    def _trained(self, chosen: Hyperparameters) -> float:
        """Weights that would train: proportional to the rank, from the nearest measured rank."""
        nearest = min(
            self._runs, key=lambda run: abs(run.hyperparameters.lora_rank - chosen.lora_rank)
        )
        ranks = {run.hyperparameters.lora_rank: run.trained for run in self._runs}
        if len(set(ranks.values())) == 1 and len(ranks) > 1:
            return nearest.trained  # a method without adapters
        return nearest.trained * chosen.lora_rank / nearest.hyperparameters.lora_rank

    def _fit(self) -> tuple[float, float]:
        """Returns (constant, slope a token), both in GB and not negative."""
        from scipy.optimize import nnls  # half a second to import, needed with a constraint only

        tokens = np.array([run.tokens for run in self._runs])  # (runs,)
        rest = np.array([run.peak_gb - _trained_gb(run.trained) for run in self._runs])  # (runs,)
        if len(np.unique(tokens)) > 1:
            fitted, _ = nnls(np.stack([np.ones_like(tokens), tokens], axis=1), rest.clip(min=0))
            return float(fitted[0]), float(fitted[1])
        most = max(0.0, float(rest.mean())) / tokens[0]
        known = self._token_bytes
        slope = most if known is None else min(most, known / _GB)
        return max(0.0, float(rest.mean()) - slope * tokens[0]), slope


def build_memory_model(unit: Unit, defaults: Sequence[RunRecord]) -> MemoryModel:
    """Returns the model of a unit's runs as Phase 0 leaves it.

    Args:
        unit: The unit.
        defaults: Records of the published default's runs.
    """
    settings, task = unit.study.settings, unit.study.tasks[unit.task]
    limited = settings.search.memory_constraint_gb is not None
    shape = read_shape(settings.model) if limited else None
    model = MemoryModel(
        token_bytes(shape, is_language_model=task.traits.generates) if shape else None,
        max_length=task.max_length,
        micro_batch_size=settings.training.micro_batch_size,
    )
    for record in defaults:
        model.learn(record)
    return model


def _trained_gb(weights: float) -> float:
    return BYTES_A_TRAINED_WEIGHT * weights / _GB
