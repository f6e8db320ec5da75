"""One function for all members' pairs against the plain formulas and their gradients."""

import pytest
import torch
from torch import nn

from phasewise.training.dropout import Stream
from phasewise.training.kernels.library import use_kernels
from phasewise.training.packed.adapted_product import PairOnRows, apply_pairs
from phasewise.training.packed.frozen_products import LinearProduct
from phasewise.training.packed.low_rank import LowRank

_IN, _OUT, _RANK, _SCALING = 12, 7, 3, 2.5


def _pair(dropout: float, *, is_dora: bool) -> LowRank:
    magnitude = nn.Parameter(torch.rand(_OUT) + 0.5) if is_dora else None
    down, up = nn.Parameter(torch.randn(_RANK, _IN)), nn.Parameter(torch.randn(_OUT, _RANK))
    return LowRank(down, up, _SCALING, dropout, magnitude)


def _plain(rows: torch.Tensor, frozen: nn.Linear, pair: LowRank, seed: int) -> torch.Tensor:
    """As ``peft.tuners.lora.layer.Linear.forward`` and ``peft.tuners.lora.dora`` have it."""
    inputs = rows
    if pair.dropout > 0:
        draws = Stream(seed, rows.device).draw(rows.shape, pair.dropout)
        inputs = rows * draws.factors(rows.dtype)
    low = inputs @ pair.down.T @ pair.up.T * pair.scaling
    if pair.magnitude is None:
        return frozen(rows) + low
    norm = (frozen.weight + pair.scaling * pair.up @ pair.down).norm(dim=1).detach()
    scale = pair.magnitude / norm
    return frozen(rows) + (scale - 1) * (inputs @ frozen.weight.T) + scale * low


@pytest.mark.parametrize("computed", ["by PyTorch", "compiled"])
@pytest.mark.usefixtures("kernels")
def test_outputs_and_gradients_are_those_of_the_plain_formulas(
    computed: str,
) -> None:
    use_kernels(computed == "compiled")  # where there is a compiler
    torch.manual_seed(0)
    frozen = nn.Linear(_IN, _OUT).requires_grad_(False)
    kinds = ((0.0, False), (0.3, False), (0.0, True), (0.3, True), (0.5, True))
    pairs = [_pair(dropout, is_dora=is_dora) for dropout, is_dora in kinds]
    rows = torch.randn(22, _IN, requires_grad=True)  # the last two belong to nobody
    spans = [(4 * index, 4 * index + 4) for index in range(len(pairs))]
    on_rows = [
        PairOnRows(start, end, pair, Stream(start, rows.device))
        for (start, end), pair in zip(spans, pairs, strict=True)
    ]
    found = apply_pairs(rows, LinearProduct(frozen, torch.float32), on_rows)
    parts = [
        _plain(rows[start:end], frozen, pair, start)
        for (start, end), pair in zip(spans, pairs, strict=True)
    ]
    expected = torch.cat([*parts, frozen(rows[20:])])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)

    trained = [t for p in pairs for t in (p.down, p.up, p.magnitude) if t is not None]
    weights = torch.randn_like(expected)
    of_found = torch.autograd.grad((found * weights).sum(), [rows, *trained])
    of_expected = torch.autograd.grad((expected * weights).sum(), [rows, *trained])
    for one, other in zip(of_found, of_expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_norms_follow_an_optimizer_step() -> None:
    torch.manual_seed(0)
    frozen, pair = nn.Linear(_IN, _OUT).requires_grad_(False), _pair(0.0, is_dora=True)
    rows, product = torch.randn(4, _IN), LinearProduct(frozen, torch.float32)
    for _ in range(2):
        trains = PairOnRows(0, 4, pair, Stream(0, rows.device))
        out = apply_pairs(rows, product, [trains])
        torch.testing.assert_close(out, _plain(rows, frozen, pair, 0), rtol=1e-4, atol=1e-5)
        optimizer = torch.optim.AdamW([pair.down, pair.up], lr=0.1, fused=True)
        out.sum().backward()
        optimizer.step()
        for _ in range(2):
            with torch.inference_mode():
                scored = apply_pairs(rows, product, [PairOnRows(0, 4, pair, None)])
            torch.testing.assert_close(scored, _plain(rows, frozen, pair, 0), rtol=1e-4, atol=1e-5)
