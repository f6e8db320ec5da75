"""Blocks of BERT's kind, all of them in one compiled call each way (``fused_encoder.cpp``)."""

import ctypes
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from phasewise.training.dropout import Stream, find_limit
from phasewise.training.kernels.library import Kernel, address_of, find_kernel
from phasewise.training.kernels.products import count, order, ordered_size

KERNELS = (
    Kernel(
        ("measure_encoder", "run_encoder", "differentiate_encoder"),
        "transformers.models.bert.modeling_bert:BertLayer",
        "packed/test_fused_encoder.py::test_losses_gradients_and_random_streams",
        "fused encoder",
    ),
)

#: Linear layers of a block.
LINEARS = 6
_POINTER, _INT, _LONG, _FLOAT = ctypes.c_void_p, ctypes.c_int32, ctypes.c_int64, ctypes.c_float


class _Linear(ctypes.Structure):
    _fields_ = (
        *((name, _POINTER) for name in ("forward", "backward", "bias")),
        *((name, _LONG) for name in ("in", "out")),
    )


class _Norm(ctypes.Structure):
    _fields_ = (("weight", _POINTER), ("bias", _POINTER))


class _Block(ctypes.Structure):
    _fields_ = (("linears", _Linear * LINEARS), ("norms", _Norm * 2))


class OwnPair(ctypes.Structure):
    """A member's pair in one layer, by its addresses; all zero: none."""

    _fields_ = (
        *((name, _POINTER) for name in ("down", "up", "to_down", "to_up")),
        ("rank", _LONG),
        *((name, _INT) for name in ("limit", "drops")),
        *((name, _FLOAT) for name in ("factor", "scaling")),
    )


class _Member(ctypes.Structure):
    _fields_ = (
        ("place", ctypes.c_uint64),
        *((name, _LONG) for name in ("rows", "tokens")),
        ("pairs", _POINTER),
    )


class _Encoder(ctypes.Structure):
    _fields_ = (
        *((name, _POINTER) for name in ("blocks", "members", "lengths")),
        *((name, _LONG) for name in ("block_count", "member_count", "row_count", "token_count")),
        *((name, _LONG) for name in ("width", "inner", "heads")),
        *((name, _INT) for name in ("trains", "hidden_limit", "hidden_drops")),
        *((name, _INT) for name in ("weights_limit", "weights_drops")),
        *((name, _FLOAT) for name in ("hidden_factor", "weights_factor", "epsilon", "scale")),
    )


class FrozenBlock(NamedTuple):
    """One block's layers.

    Attributes:
        linears: Query, key, value, the attention's output, the two around GELU.
        norms: After the attention, after the other half.
    """

    linears: Sequence[nn.Linear]
    norms: Sequence[nn.LayerNorm]


class Shape(NamedTuple):
    """What all blocks have in common.

    Attributes:
        heads: Of the attention.
        scale: Of its scores.
        hidden_dropout: Probability, on what is added to the states.
        weights_dropout: Probability, on the attention's weights.
        epsilon: Of the norms.
    """

    heads: int
    scale: float
    hidden_dropout: float
    weights_dropout: float
    epsilon: float


class MemberPairs(NamedTuple):
    """What a member brings to a pass.

    Attributes:
        stream: Of its dropouts.
        rows: Of the batch.
        tokens: Of these rows.
        pairs: One for each linear layer, block by block.
    """

    stream: Stream
    rows: int
    tokens: int
    pairs: "ctypes.Array[OwnPair]"


class FusedEncoderKernel:
    """The frozen blocks, their weights ordered for the kernels.

    Args:
        blocks: From the first to the last; float32 or bfloat16, on the CPU.
        shape: Of all of them.
    """

    def __init__(self, blocks: Sequence[FrozenBlock], shape: Shape) -> None:
        self._held = list[torch.Tensor]()  # what the addresses below belong to
        self._shape = shape
        up = blocks[0].linears[4]
        self._sizes = up.in_features, up.out_features
        ways = [self._order(blocks, backward=backward) for backward in (False, True)]
        described = (self._describe_block(block, ways) for block in blocks)
        self._blocks = (_Block * len(blocks))(*described)
        self._spare = torch.empty(0, dtype=torch.uint8)

    def describe(
        self, members: Sequence[MemberPairs], lengths: Sequence[int], *, trains: bool
    ) -> "FusedEncoderPass":
        """Returns a pass of some rows.

        Args:
            members: In the order of the rows.
            lengths: Tokens of each row.
            trains: Whether dropout is on and gradients will be asked for.
        """
        table = (_LONG * len(lengths))(*lengths)
        own = (_Member * len(members))(
            *(
                _Member(int(m.stream.state), m.rows, m.tokens, ctypes.addressof(m.pairs))
                for m in members
            )
        )
        hidden, weights = self._shape.hidden_dropout, self._shape.weights_dropout
        limits, factors = zip(find_limit(hidden), find_limit(weights), strict=True)
        call = _Encoder(
            *(ctypes.addressof(self._blocks), ctypes.addressof(own), ctypes.addressof(table)),
            *(len(self._blocks), len(members), len(lengths), sum(lengths)),
            *(*self._sizes, self._shape.heads),
            *(int(trains), limits[0], int(hidden > 0), limits[1], int(weights > 0)),
            *(*factors, self._shape.epsilon, self._shape.scale),
        )
        return FusedEncoderPass(self, call, members, own, (table, self._blocks))

    def lend(self, size: int) -> torch.Tensor:
        """Returns memory, uint8 (size or more,): the last pass's, if it is enough and given back.

        To ask the system for so much in each pass takes some percent of its time.
        """
        spare, self._spare = self._spare, torch.empty(0, dtype=torch.uint8)
        return spare if len(spare) >= size else torch.empty(size, dtype=torch.uint8)

    def take_back(self, memory: torch.Tensor) -> None:
        """Takes memory that nobody reads any more."""
        self._spare = memory

    def _order(self, blocks: Sequence[FrozenBlock], *, backward: bool) -> dict[nn.Linear, int]:
        """Orders all weights for one direction, one behind the other; returns their addresses.

        While a product ends, what lies behind its weight is fetched already.
        """
        linears = [linear for block in blocks for linear in block.linears]
        if backward:  # in the order of use
            linears = [
                block.linears[index] for block in reversed(blocks) for index in (5, 4, 3, 0, 1, 2)
            ]
        weights = [linear.weight.detach() for linear in linears]
        rights = [weight if backward else weight.t() for weight in weights]
        sizes = [ordered_size(right) for right in rights]
        memory = torch.empty(sum(sizes), dtype=weights[0].dtype)
        self._held.append(memory)
        parts = torch.split(memory, sizes)
        for right, part in zip(rights, parts, strict=True):
            order(right, part)
        return {linear: part.data_ptr() for linear, part in zip(linears, parts, strict=True)}

    def _describe_block(self, block: FrozenBlock, ways: Sequence[dict[nn.Linear, int]]) -> _Block:
        linears = (
            _Linear(
                *(addresses[linear] for addresses in ways),
                self._hold(linear.bias),
                *(linear.in_features, linear.out_features),
            )
            for linear in block.linears
        )
        norms = (_Norm(self._hold(norm.weight), self._hold(norm.bias)) for norm in block.norms)
        return _Block((_Linear * LINEARS)(*linears), (_Norm * 2)(*norms))

    def _hold(self, vector: torch.Tensor | None) -> int | None:
        """Returns where a vector lies as floats."""
        if vector is None:
            return None
        self._held.append(vector.detach().float().contiguous())
        return self._held[-1].data_ptr()


class FusedEncoderPass:
    """One pass of a pack's rows, and its way back.

    Args:
        kernel: Lends memory.
        call: What the kernels read.
        members: Whose streams move on.
        own: Theirs, in the call.
        held: What else has addresses in it.
    """

    def __init__(
        self,
        kernel: FusedEncoderKernel,
        call: _Encoder,
        members: Sequence[MemberPairs],
        own: Any,
        held: Any,
    ) -> None:
        self._kernel, self._call, self._members = kernel, call, members
        self._own, self._held = own, held
        self._memory = torch.empty(0)

    def run(self, states: torch.Tensor) -> torch.Tensor:
        """Returns the first token's state of each row, (rows, width).

        Args:
            states: (tokens or more, width), contiguous; the tokens of all rows.
        """
        size = count("measure_encoder", states, ctypes.byref(self._call))
        self._memory = self._kernel.lend(size)
        out = states.new_empty(self._call.row_count, states.shape[1])
        self._do("run_encoder", states, out)
        for member, own in zip(self._members, self._own, strict=True):
            member.stream.put_back(int(own.place))
        if not self._call.trains:
            self._kernel.take_back(self._memory)
        return out

    def go_back(self, states: torch.Tensor, grad: torch.Tensor) -> None:
        """Writes the pairs' gradients; once.

        Args:
            states: As ``run`` had them.
            grad: Of what it returned, contiguous.
        """
        self._do("differentiate_encoder", states, grad)
        self._kernel.take_back(self._memory)

    def _do(self, name: str, *tensors: torch.Tensor) -> None:
        addresses = map(address_of, (self._memory, *tensors))
        find_kernel(name, tensors[0])(ctypes.byref(self._call), *addresses)
