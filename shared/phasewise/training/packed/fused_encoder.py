"""BERT-like blocks in one call for all of them, in place of transformers' own code.

A step of small batches is mostly Python, autograd and memory management around small products; here
all of that happens once per pass. The blocks' own code stays what everything else goes through, and
what a pack's model is compared with.
"""

from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from transformers.modeling_outputs import BaseModelOutputWithPooling

from phasewise.training.dropout import find_limit
from phasewise.training.kernels.elementwise import Gelu
from phasewise.training.kernels.fused_encoder import (
    FrozenBlock,
    FusedEncoderKernel,
    FusedEncoderPass,
    MemberPairs,
    OwnPair,
    Shape,
)
from phasewise.training.kernels.library import find_kernel
from phasewise.training.kernels.pairs import can_read
from phasewise.training.kernels.products import are_products_fast
from phasewise.training.packed.layout import DirectGradients, Layout, Member, current_layout
from phasewise.training.products import OneDnnLinear

#: Where a block of BERT's kind has its linear layers, in the order of a pass.
_LINEARS = (
    *(f"attention.self.{name}" for name in ("query", "key", "value")),
    *("attention.output.dense", "intermediate.dense", "output.dense"),
)
_NORMS = ("attention.output.LayerNorm", "output.LayerNorm")
#: What a backbone is given; the mask is the layout's.
_KEYWORDS = {"attention_mask", "token_type_ids", "return_dict"}
#: Tokens of a pass that trains, times bytes of a number: what longer ones write down leaves the
#: processor's caches. Between half and twice as many, times differ by 5 %.
_PASS_BYTES = 256 * 4


class FusedEncoder:
    """The blocks of a model, computed together where the kernels can, whoever the members are.

    Args:
        kernel: Theirs.
        names: Of all linear layers in the model, block by block.
        later: Names of layers behind the blocks, which the model's own code computes.
        sample: One of the weights.
    """

    def __init__(
        self,
        kernel: FusedEncoderKernel,
        names: Sequence[str],
        later: Set[str],
        sample: torch.Tensor,
    ) -> None:
        self._kernel, self._later, self._sample = kernel, later, sample
        self._places = {name: place for place, name in enumerate(names)}
        self._parts = WeakKeyDictionary[Member, _Part | None]()

    @classmethod
    def find(cls, model: Any, blocks: Sequence[nn.Module]) -> "FusedEncoder | None":
        """Returns the encoder of BERT-like blocks; None for others, or where there are no kernels.

        Args:
            model: A pack's, of which the head reads the first token of each row only.
            blocks: The model's.
        """
        names = {id(module): name for name, module in model.named_modules()}
        try:
            found = [_read_block(block) for block in blocks]
            shapes = {_read_shape(block) for block in blocks}
            width = len(model.base_model.embeddings.LayerNorm.weight)
        except AttributeError:
            return None
        linears = [linear for block in found for linear in block.linears]
        if len(shapes) > 1 or any(type(m) not in (nn.Linear, OneDnnLinear) for m in linears):
            return None
        weight = linears[0].weight
        if model.config.is_decoder or width != weight.shape[1]:
            return None
        if any(linear.weight.dtype != weight.dtype for linear in linears):
            return None
        if find_kernel("run_encoder", weight) is None or not are_products_fast(weight.dtype):
            return None
        kernel = FusedEncoderKernel(found, shapes.pop())
        pooler = getattr(model.base_model, "pooler", None)
        later = {names[id(module)] for module in (pooler.modules() if pooler else ())}
        return cls(kernel, [names[id(linear)] for linear in linears], later, weight)

    def stand_in(self, backbone: Any) -> Callable[[], None]:
        """Takes the place of a backbone's forward; states have the first token of each row only.

        Args:
            backbone: Embeddings, blocks and perhaps a pooler; its own forward is for passes that
                the kernels do not cover.

        Returns:
            What undoes it.
        """
        pooler, whole = getattr(backbone, "pooler", None), backbone.forward

        def forward(input_ids: torch.Tensor, **given: Any) -> Any:
            layout, trains = current_layout(), backbone.training
            if not self._covers(layout, given, trains=trains):
                for share in layout.shares:
                    share.member.direct = None
                return whole(input_ids, **given)
            kinds = given.get("token_type_ids")
            padded = backbone.embeddings(input_ids=input_ids, token_type_ids=kinds)
            rows = padded[layout.mask.bool()].to(self._sample.dtype)
            states = self._run(rows, layout, trains=trains).unsqueeze(1)
            pooled = None if pooler is None else pooler(states)
            return BaseModelOutputWithPooling(last_hidden_state=states, pooler_output=pooled)

        def undo() -> None:
            backbone.forward = whole

        backbone.forward = forward
        return undo

    @property
    def most_tokens(self) -> int:
        """How many tokens a pass that trains is best cut at."""
        return _PASS_BYTES // self._sample.itemsize

    def takes(self, member: Member) -> bool:
        """Whether it computes a member's passes."""
        return find_kernel("run_encoder", self._sample) is not None and bool(
            self._find_part(member)
        )

    def _covers(self, layout: Layout, given: dict[str, Any], *, trains: bool) -> bool:
        """Whether the kernels can do all of a pass that is given these keywords."""
        if any(given[name] is not None for name in given.keys() - _KEYWORDS):
            return False
        if torch.is_grad_enabled() and not trains:
            return False
        return all(self.takes(share.member) for share in layout.shares)

    def _find_part(self, member: Member) -> "_Part | None":
        """Returns a member's part, made once; None if it adapts what is not the blocks' alone."""
        if member not in self._parts:
            self._parts[member] = _Part(member, self._places) if self._can_take(member) else None
        return self._parts[member]

    def _can_take(self, member: Member) -> bool:
        """Whether a member adapts linear layers of the blocks or behind them, and without DoRA."""
        others = member.layers.keys() - self._places.keys()
        if member.biases or not others <= self._later:
            return False
        pairs = member.layers.values()
        weights = [weight for pair in pairs for weight in (pair.down, pair.up)]
        return all(pair.magnitude is None for pair in pairs) and can_read(weights)

    def _run(self, rows: torch.Tensor, layout: Layout, *, trains: bool) -> torch.Tensor:
        """Returns the first token's state of each row, (rows, features), of all tokens'."""
        members, anchors = list[MemberPairs](), list[torch.Tensor]()
        for share in layout.shares:
            member, part = share.member, self._find_part(share.member)
            assert part is not None
            members.append(MemberPairs(member.stream, share.rows, share.tokens, part.pairs))
            if trains:
                member.direct = part.direct
                anchors += [] if part.direct is None else [part.direct.anchor]
        done = self._kernel.describe(members, layout.lengths, trains=trains)
        out: torch.Tensor = _Pass.apply(rows, done, *anchors)  # type: ignore[no-untyped-call]
        return out


class _Part:
    """A member's pairs as the kernels read them, and memory for their gradients.

    Args:
        member: Its weights stay where they are.
        places: Name of a linear layer to its place among all of them.
    """

    @torch.inference_mode(False)  # else what is scored first could never train
    def __init__(self, member: Member, places: Mapping[str, int]) -> None:
        self.pairs, grads = (OwnPair * len(places))(), dict[int, torch.Tensor]()
        for name in places.keys() & member.layers.keys():
            pair = member.layers[name]
            own = [torch.empty_like(weight) for weight in (pair.down, pair.up)]
            grads |= {id(pair.down): own[0], id(pair.up): own[1]}
            self.pairs[places[name]] = OwnPair(
                *(tensor.data_ptr() for tensor in (pair.down, pair.up, *own)),
                *(len(pair.down), *_keep(pair.dropout), pair.scaling),
            )
        self.direct = DirectGradients(torch.empty(0, requires_grad=True), grads) if grads else None


class _Pass(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, rows: torch.Tensor, done: FusedEncoderPass, *anchors: torch.Tensor
    ) -> torch.Tensor:
        ctx.done, ctx.count = done, len(anchors)
        ctx.save_for_backward(rows)
        return done.run(rows)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        (rows,) = ctx.saved_tensors
        ctx.done.go_back(rows, grads[0].contiguous())
        return (None,) * (2 + ctx.count)


def _keep(dropout: float) -> tuple[int, int, float]:
    """Returns limit, whether there is any dropout, and factor."""
    limit, factor = find_limit(dropout)
    return limit, int(dropout > 0), factor


def _read_block(block: nn.Module) -> FrozenBlock:
    """Raises AttributeError if the block is of another kind."""
    linears: list[Any] = [block.get_submodule(name) for name in _LINEARS]
    norms: list[Any] = [block.get_submodule(name) for name in _NORMS]
    return FrozenBlock(linears, norms)


def _read_shape(block: Any) -> Shape:
    """Raises AttributeError if the block is of another kind."""
    attention, halves = block.attention.self, (block.attention.output, block.output)
    both = {(half.dropout.p, half.LayerNorm.eps) for half in halves}
    if len(both) > 1 or type(block.intermediate.intermediate_act_fn) is not Gelu:
        raise AttributeError("dropout, norm or activation of another kind")
    hidden, epsilon = both.pop()
    heads, scale = attention.num_attention_heads, attention.scaling
    return Shape(heads, scale, hidden, attention.dropout.p, epsilon)
