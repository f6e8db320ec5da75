"""A run's steps against PyTorch's clipping, AdamW and LambdaLR."""

import copy
import math
import shutil
from collections.abc import Callable, Iterator, Sequence

import pytest
import torch
from transformers import get_scheduler

from phasewise.training.packed.run_optimizer import RunOptimizer

Grads = list[torch.Tensor | None]
_SHAPES = [(8, 384), (384, 8), (7, 5), (2, 4200), (384,), (3,), (1,)]


@pytest.fixture(params=["kernels", "no_kernels"])
def compiles(request: pytest.FixtureRequest) -> bool:
    """Whether there are kernels for the test; without, PyTorch makes the steps."""
    if request.param == "kernels":
        if shutil.which("g++") is None:
            pytest.skip("there is no C++ compiler")
        request.getfixturevalue("kernels")
    return bool(request.param == "kernels")


def _make_weights() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(shape, generator=generator).requires_grad_() for shape in _SHAPES]


def _make_optimizer(weights: Sequence[torch.Tensor], **settings: bool) -> torch.optim.AdamW:
    """Returns AdamW with three groups: their own rates and decays, in another order."""
    vectors = [w for w in weights if w.ndim < 2]
    groups = [
        {"params": vectors, "weight_decay": 0.0},
        {"params": weights[1:2], "lr": 1.6e-2},
        {"params": [weights[0], *weights[2:4]]},
    ]
    return torch.optim.AdamW(groups, lr=1e-3, weight_decay=0.1, **settings)


def _make_schedule(optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LambdaLR:
    schedule: torch.optim.lr_scheduler.LambdaLR = get_scheduler(
        "cosine", optimizer, num_warmup_steps=3, num_training_steps=12
    )
    return schedule


def _draw_grads(size: float) -> Iterator[Grads]:
    generator = torch.Generator().manual_seed(2)
    while True:
        yield [size * torch.randn(shape, generator=generator) for shape in _SHAPES]


def _step_both(
    steps: Sequence[Grads], *, max_norm: float = 1.0
) -> tuple[Grads, Grads, RunOptimizer]:
    """Returns the weights as ``RunOptimizer`` and as PyTorch leave them."""
    own, wanted = _make_weights(), _make_weights()
    optimizer = _make_optimizer(own, fused=True)
    updates = RunOptimizer(optimizer, _make_schedule(optimizer), own, max_norm)
    reference = _make_optimizer(wanted, fused=True)
    schedule = _make_schedule(reference)
    for grads in steps:
        for weight, grad in zip(wanted, grads, strict=True):
            weight.grad = None if grad is None else torch.empty_like(weight).copy_(grad)
        torch.nn.utils.clip_grad_norm_(wanted, max_norm)
        reference.step()
        schedule.step()
        updates.step(copy.deepcopy(grads))
        for one, other in zip(optimizer.param_groups, reference.param_groups, strict=True):
            assert one["lr"] == other["lr"]
    return list(own), list(wanted), updates


def _take(steps: Iterator[Grads], count: int) -> list[Grads]:
    return [next(steps) for _ in range(count)]


@pytest.mark.parametrize("size", [1e-9, 1e-4, 1.0, 1e3], ids=lambda size: f"size{size}")
def test_clipped_and_unclipped_steps_are_those_of_pytorch(compiles: bool, size: float) -> None:
    found, wanted, updates = _step_both(_take(_draw_grads(size), 12))
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)
    assert (updates._compiled is not None) is compiles
    assert all(not torch.equal(a, b) for a, b in zip(found, _make_weights(), strict=True))


def test_a_weight_without_a_gradient_stays_and_counts_no_step(compiles: bool) -> None:
    steps = _take(_draw_grads(0.1), 6)
    for grads in steps[:3]:
        grads[0] = grads[4] = None
    steps[4][1] = None
    found, wanted, _ = _step_both(steps)
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)


def test_no_gradients_at_all(compiles: bool) -> None:
    found, wanted, _ = _step_both([[None] * len(_SHAPES)])
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)


def test_gradients_that_lie_otherwise_in_memory(compiles: bool) -> None:
    steps = _take(_draw_grads(1.0), 4)
    for grads in steps:
        assert grads[0] is not None
        grads[0] = grads[0].T.contiguous().T
        assert not grads[0].is_contiguous()
    found, wanted, _ = _step_both(steps)
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 3e38])
def test_gradients_that_are_not_finite_spread_as_in_pytorch(compiles: bool, value: float) -> None:
    steps = _take(_draw_grads(1.0), 3)
    assert steps[1][0] is not None
    steps[1][0][2, 3] = value
    found, wanted, _ = _step_both(steps)
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6, equal_nan=True)


def test_micro_batches_add_up(compiles: bool) -> None:
    own, wanted = _make_weights(), _make_weights()
    runs = []
    for weights in (own, wanted):
        optimizer = _make_optimizer(weights, fused=True)
        runs.append(RunOptimizer(optimizer, _make_schedule(optimizer), weights, 1.0))
    first, second = _take(_draw_grads(0.01), 2)
    first[0], second[1] = None, None
    sums = [
        b if a is None else a if b is None else a + b for a, b in zip(first, second, strict=True)
    ]
    given = copy.deepcopy(first)
    runs[0].add(given)
    for grad in given:  # a run's next pass may write its gradients to the same memory
        if grad is not None:
            grad.fill_(math.nan)
    runs[0].step(second)
    runs[1].step(sums)
    torch.testing.assert_close(own, wanted, rtol=0, atol=0)


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize(
    "build",
    [
        lambda weights: _make_optimizer(weights, amsgrad=True),
        lambda weights: _make_optimizer(weights, maximize=True),
        lambda weights: torch.optim.SGD(weights, lr=1e-3),
    ],
    ids=["amsgrad", "maximize", "sgd"],
)
def test_pytorch_steps_what_the_kernel_does_not(
    build: Callable[[list[torch.Tensor]], torch.optim.Optimizer],
) -> None:
    weights = _make_weights()
    optimizer = build(weights)
    updates = RunOptimizer(optimizer, _make_schedule(optimizer), weights, 1.0)
    assert updates._compiled is None


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("weight", [torch.ones(2, 3).bfloat16(), torch.ones(3, 2).T])
def test_pytorch_steps_weights_of_another_kind(weight: torch.Tensor) -> None:
    weight.requires_grad_()
    optimizer = torch.optim.AdamW([weight], lr=1e-2, weight_decay=0.0)
    updates = RunOptimizer(optimizer, _make_schedule(optimizer), [weight], 1.0)
    assert updates._compiled is None
    for _ in range(4):  # the first step's rate is 0
        updates.step([torch.ones_like(weight)])
    assert (weight < 1).all()
