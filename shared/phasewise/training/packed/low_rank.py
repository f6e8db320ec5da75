"""One run's low-rank pair in one layer, as PEFT holds it, and its product."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - as everywhere
from peft.utils.integrations import dequantize_bnb_weight, get_bnb_param_type
from torch import nn

from phasewise.methods.dora import guard_norms
from phasewise.training.kernels.library import find_kernel
from phasewise.training.kernels.norms import NormedPair, find_norms
from phasewise.training.kernels.pairs import can_read
from phasewise.training.products import OneDnnLinear, multiply


@dataclass(frozen=True, eq=False)
class LowRank:
    """The pair of a LoRA, rsLoRA, LoRA+ or DoRA layer; the tensors are the PEFT model's own.

    Attributes:
        down: A, (rank, in).
        up: B, (out, rank).
        scaling: alpha/rank, or alpha/sqrt(rank).
        dropout: Probability, on the pair's input.
        magnitude: DoRA's, (out,); None otherwise.
    """

    down: torch.Tensor
    up: torch.Tensor
    scaling: float
    dropout: float
    magnitude: torch.Tensor | None = None
    _norms: list[torch.Tensor] = field(default_factory=list, repr=False)  # none or one


@torch.no_grad()
def find_row_norms(
    pairs: Sequence[LowRank], frozen: nn.Linear, *, trains: bool
) -> list[torch.Tensor | None]:
    """Returns the norms of the rows of W + s B A, (out,), above 0, without making that matrix.

    ``|w + s b A|^2 = |w|^2 + 2 s b.(A w) + s^2 b (A A^T) b^T`` for each row w of W, b of B; DoRA's
    gradient does not pass through it (arXiv 2402.09353, section 4.3). All pairs of a layer need one
    product with W.

    Args:
        pairs: Of one layer; all but DoRA's have None.
        frozen: The layer.
        trains: Whether a step of the optimizer may follow. If not, the norms are kept for the next
            pass; the next one that trains forgets them (versions of the tensors would not tell: a
            fused optimizer does not count them up).
    """
    dora = [pair for pair in pairs if pair.magnitude is not None]
    if trains:
        for pair in dora:
            pair._norms.clear()
        norms = iter(_compute_row_norms(dora, frozen))
    else:
        missing = [pair for pair in dora if not pair._norms]
        for pair, computed in zip(missing, _compute_row_norms(missing, frozen), strict=True):
            pair._norms.append(computed)
        norms = iter(pair._norms[0] for pair in dora)
    return [None if pair.magnitude is None else next(norms) for pair in pairs]


def _compute_row_norms(pairs: Sequence[LowRank], frozen: nn.Linear) -> list[torch.Tensor]:
    if not pairs:
        return []
    with torch.autocast(pairs[0].down.device.type, enabled=False):
        weight = read_weight(frozen)
        own = _squared_norms(frozen, weight)
        kernel = find_kernel("row_norms", weight)
        matrices = [matrix for pair in pairs for matrix in (pair.down, pair.up)]
        if kernel is None or not weight.is_contiguous() or not can_read(matrices):
            return _compute_by_pytorch(pairs, frozen, weight, own)
        parts = [NormedPair(pair.down, pair.up, pair.scaling) for pair in pairs]
        return find_norms(kernel, parts, weight, own)


def _compute_by_pytorch(
    pairs: Sequence[LowRank], frozen: nn.Linear, weight: torch.Tensor, own: torch.Tensor
) -> list[torch.Tensor]:
    """Returns the norms by one product with W for all pairs."""
    down, norms = torch.cat([pair.down for pair in pairs]), []
    by_onednn = type(frozen) is OneDnnLinear and weight.dtype == down.dtype == torch.float32
    product = multiply if by_onednn else F.linear
    ranks = [len(pair.down) for pair in pairs]
    lows = torch.split(product(weight.to(down.dtype), down), ranks, dim=1)
    for pair, low in zip(pairs, lows, strict=True):
        cross = (pair.up * low).sum(1)
        square = ((pair.up @ (pair.down @ pair.down.T)) * pair.up).sum(1)
        squares = own + 2 * pair.scaling * cross + pair.scaling**2 * square
        norms.append(guard_norms(squares).sqrt())
    return norms


def read_pair(layer: Any) -> LowRank:
    """Returns the pair of a PEFT LoRA layer with one adapter."""
    (name,) = layer.active_adapters
    vectors = layer.lora_magnitude_vector
    return LowRank(
        down=layer.lora_A[name].weight,
        up=layer.lora_B[name].weight,
        scaling=float(layer.scaling[name]),
        dropout=float(getattr(layer.lora_dropout[name], "p", 0.0)),
        magnitude=vectors[name].weight if name in vectors else None,
    )


def read_weight(frozen: nn.Linear) -> torch.Tensor:
    """Returns a frozen layer's weight, (out, in), dequantized if bitsandbytes holds it."""
    if not get_bnb_param_type(frozen.weight):
        return frozen.weight
    weight: torch.Tensor = dequantize_bnb_weight(
        frozen.weight, state=getattr(frozen, "state", None)
    )
    return weight


def _squared_norms(frozen: nn.Linear, weight: torch.Tensor) -> torch.Tensor:
    """Returns the squared norms of the rows of a frozen weight, computed once per layer."""
    known: torch.Tensor | None = frozen.__dict__.get("_phasewise_squared_norms")
    if known is None:
        known = weight.float().square().sum(1)
        frozen.__dict__["_phasewise_squared_norms"] = known
    return known
