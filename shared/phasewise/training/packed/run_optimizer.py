"""The optimizer of a run of a pack: gradients of micro-batches in, steps out."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch.optim.lr_scheduler import LambdaLR

from phasewise.training.kernels.adamw import AdamMoments, compile_adamw


class OptimizerState(NamedTuple):
    """What a run's next steps depend on, beside its weights."""

    steps: int
    moments: list[AdamMoments]
    """Of each parameter."""
    grads: list[torch.Tensor | None]
    """Sums of the micro-batches since the last step."""


class RunOptimizer:
    """Adds up gradients, clips them and steps, as transformers' Trainer does.

    Args:
        optimizer: AdamW over ``parameters``; a kernel makes its steps where there is one.
        schedule: Of ``optimizer``.
        parameters: What trains.
        max_norm: L2 norm to which all gradients together are clipped.

    Attributes:
        optimizer: As given, for its learning rates.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        schedule: LambdaLR,
        parameters: Sequence[torch.Tensor],
        max_norm: float,
    ) -> None:
        self.optimizer = optimizer
        self._parameters, self._max_norm = list(parameters), max_norm
        self._grads: list[torch.Tensor | None] = [None] * len(self._parameters)
        # LambdaLR's own step costs more than what it computes.
        parts = (optimizer.param_groups, schedule.base_lrs, schedule.lr_lambdas)
        self._schedules = list(zip(*parts, strict=True))
        self._steps = 0
        self._compiled = compile_adamw(optimizer, self._parameters, max_norm)

    def add(self, grads: Sequence[torch.Tensor | None]) -> None:
        """Adds the gradients of a micro-batch after which others follow; they are copied.

        Args:
            grads: Of the parameters.
        """
        self._grads = [
            old if new is None else new.clone() if old is None else old.add_(new)
            for old, new in zip(self._grads, grads, strict=True)
        ]

    def step(self, grads: Sequence[torch.Tensor | None]) -> None:
        """Makes a step with the gradients so far; the next one has the schedule's next rate.

        Args:
            grads: Of the effective batch's last micro-batch.
        """
        if any(grad is not None for grad in self._grads):
            self.add(grads)
            grads, self._grads = self._grads, [None] * len(self._parameters)
        if self._compiled is None:
            self._step_by_pytorch(grads)
        else:
            self._compiled.step(grads)
        self._steps += 1
        self._set_rates()

    def save(self) -> OptimizerState:
        """Returns all that its next steps depend on; the tensors change with them."""
        find = self._compiled.moments if self._compiled is not None else self._moments
        moments = [find(index) for index in range(len(self._parameters))]
        return OptimizerState(self._steps, moments, list(self._grads))

    def restore(self, state: OptimizerState) -> None:
        """Goes on as the one that was saved; the tensors are copied."""
        put_back = self._compiled.put_back if self._compiled is not None else self._put_back
        for index, moments in enumerate(state.moments):
            put_back(index, moments)
        self._grads = [None if grad is None else grad.clone() for grad in state.grads]
        self._steps = state.steps
        self._set_rates()

    def _set_rates(self) -> None:
        for group, base, factor in self._schedules:
            group["lr"] = base * factor(self._steps)

    def _moments(self, index: int) -> AdamMoments:
        weight = self._parameters[index]
        own = self.optimizer.state.get(weight)
        if not own:  # it has had no gradient yet
            return AdamMoments(0, torch.zeros_like(weight), torch.zeros_like(weight))
        return AdamMoments(int(own["step"]), own["exp_avg"], own["exp_avg_sq"])

    def _put_back(self, index: int, moments: AdamMoments) -> None:
        if moments.steps:
            weight = self._parameters[index]
            self.optimizer.state[weight] = {
                "step": torch.tensor(float(moments.steps), device=weight.device),
                "exp_avg": torch.empty_like(weight).copy_(moments.means),
                "exp_avg_sq": torch.empty_like(weight).copy_(moments.squares),
            }

    def _step_by_pytorch(self, grads: Sequence[torch.Tensor | None]) -> None:
        for parameter, grad in zip(self._parameters, grads, strict=True):
            parameter.grad = None if grad is None else _lay_like(grad, parameter)
        torch.nn.utils.clip_grad_norm_(self._parameters, self._max_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()


def _lay_like(grad: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Returns a gradient in its weight's layout, as ``backward`` would leave it.

    A fused AdamW takes any other without a word and mixes up the elements.
    """
    if grad.stride() == weight.stride():
        return grad
    return torch.empty_like(weight).copy_(grad)
