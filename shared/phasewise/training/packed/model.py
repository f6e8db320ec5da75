"""The one model of a pack: a base model's own code over all members' tokens at once."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer

from phasewise.methods.fresh import initialize_fresh
from phasewise.methods.models import BaseModel
from phasewise.methods.modules import find_biases
from phasewise.training.dropout import Stream
from phasewise.training.packed import attention
from phasewise.training.packed.agreement import (
    build_probe,
    is_close,
    label_probe,
    losses_of_logits,
)
from phasewise.training.packed.biases import OwnBiases
from phasewise.training.packed.conversion import (
    find_blocks,
    replace,
    replace_elementwise,
    share_copy,
    take_output,
)
from phasewise.training.packed.flat_blocks import flatten_blocks
from phasewise.training.packed.fused_encoder import FusedEncoder
from phasewise.training.packed.last_block import Position, narrow_block
from phasewise.training.packed.layers import (
    PackedHead,
    PackedLinear,
    read_linear,
)
from phasewise.training.packed.layout import (
    CannotPackError,
    Member,
    build_layout,
    use_layout,
)
from phasewise.training.packed.low_rank import read_pair
from phasewise.training.packed.quantized import QuantizedLinear, exact_products, is_quantized
from phasewise.training.packed.token_losses import (
    TargetStates,
    TokenLosses,
    find_targets,
    measure_losses,
)

#: Fresh heads with which a packed model may be compared, until one agrees.
_HEADS = 4


class PackedModel:
    """Runs the rows of many members through one base model without padding.

    Embeddings and whatever follows the blocks (pooler, head) see padded rows; between them all
    tokens lie in one sequence, kept apart by attention. A language model's output layer sees only
    the tokens that have a target.

    Args:
        base: Stays as it is; its weights are shared.

    Raises:
        CannotPackError: The architecture computes otherwise than it does alone.
    """

    def __init__(self, base: BaseModel) -> None:
        if not getattr(base.model, "_supports_attention_backend", False):
            raise CannotPackError(f"{type(base.model).__name__} has an attention of its own")
        self._fresh = base.fresh_modules
        self._model = share_copy(base.model)
        self._biases = OwnBiases()
        self._model.config.use_cache = False
        self._blocks = find_blocks(self._model)
        self._model.set_attn_implementation(attention.NAME)
        replace_elementwise(self._model)
        int8 = [name for name, m in self._model.named_modules() if is_quantized(m, "8bit")]
        for name in int8:  # adapted or not: whoever shares the pack must not change what it rounds
            self._adapt(name)
        for name in self._fresh:
            replace(self._model, name, PackedHead(self._model.get_submodule(name), name))
        self._output = None if self._fresh else take_output(self._model)
        flatten_blocks(self._blocks)
        self._fused: FusedEncoder | None = None
        self._check(base)

    def join(self, model: Any, seed: int) -> Member:
        """Returns what a run's own model brings; its weights stay where they are.

        Args:
            model: From ``adapt_model``, of the same base.
            seed: Of the member's dropouts.

        Raises:
            CannotPackError: It adapts a layer that is not a plain linear one.
        """
        inner = model.base_model.model if isinstance(model, PeftModel) else model
        device = next(model.parameters()).device
        pairs = {}
        for name, module in inner.named_modules():
            if isinstance(module, LoraLayer):
                self._adapt(name)
                pairs[name] = read_pair(module)
        heads = {name: _head_weights(inner.get_submodule(name)) for name in self._fresh}
        # None trains beside an adapter, and to look for them takes a tenth of a run's start.
        found = {} if isinstance(model, PeftModel) else find_biases(inner, self._fresh)
        biases: dict[str, torch.Tensor] = {n: b for n, b in found.items() if b.requires_grad}
        self._biases.watch(self._model, biases)
        return Member(pairs, heads, Stream(seed, device), biases)

    def most_tokens(self, member: Member) -> int | None:
        """Returns how many tokens of such members a pass is best cut at; None: at no number."""
        encoder = self._fused
        return None if encoder is None or not encoder.takes(member) else encoder.most_tokens

    def train(self, mode: bool = True) -> None:
        """Turns dropout on or off."""
        self._model.train(mode)

    def __call__(
        self, members: Sequence[tuple[Member, int]], batch: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        """Returns the logits, (rows, classes).

        Args:
            members: Each with its number of rows, in the order of the batch.
            batch: Collated without targets, padded on the right.
        """
        layout = build_layout(members, batch["attention_mask"])
        with use_layout(layout):
            logits: torch.Tensor = self._model(**batch).logits
        return logits

    def measure(
        self,
        members: Sequence[tuple[Member, int]],
        batch: dict[str, torch.Tensor],
        labels: torch.Tensor,
    ) -> TokenLosses:
        """Returns the losses of a language model.

        Args:
            members: See ``__call__``.
            batch: See ``__call__``.
            labels: int64 (rows, longest), ``IGNORED`` where a token is no target.
        """
        assert self._output is not None
        targets = find_targets(labels)
        layout = build_layout(members, batch["attention_mask"])
        with use_layout(dataclasses.replace(layout, wanted=targets.places)):
            states = self._model(**batch).logits
        losses, right = measure_losses(states, self._output, targets.tokens)
        return TokenLosses(losses, targets.counts, right)

    def _adapt(self, name: str) -> None:
        layer = self._model.get_submodule(name)
        self._biases.forget(name)
        if isinstance(layer, (PackedLinear, QuantizedLinear)):
            return
        if isinstance(layer, TargetStates):
            raise CannotPackError(f"the output layer {name} is adapted")
        if is_quantized(layer):
            replace(self._model, name, QuantizedLinear(layer, name))
        else:
            replace(self._model, name, PackedLinear(read_linear(layer, name), name))

    @torch.no_grad()
    def _check(self, base: BaseModel) -> None:
        """Compares with the base model on rows of different lengths, then looks for dropouts."""
        device = next(base.model.parameters()).device
        batch = build_probe(base.model.config, device)
        heads = {n: dict(base.model.get_submodule(n).named_parameters()) for n in self._fresh}
        members = [Member({}, heads, Stream(0, device)) for _ in range(2)]
        pack = [(members[0], 2), (members[1], 1)]
        self.train(False)
        with exact_products(base.model, self._model):
            expected = self._compare(base, pack, batch)
            if self._output is None:
                position = self._narrow(pack, batch, expected)
                if position == "first":
                    self._shorten(pack, batch, expected)
        self.train(True)
        again = []
        for _ in range(2):
            for member in members:
                member.stream = Stream(0, device)
            again.append(self._probe(pack, batch))
        if not torch.equal(*again):
            raise CannotPackError(f"{type(base.model).__name__} has a dropout of its own")

    def _compare(
        self, base: BaseModel, pack: Sequence[tuple[Member, int]], batch: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        """Returns the base model's logits or losses, to which the pack's are close.

        A fresh head is drawn at random, and now and then its logits are so small that rounding
        alone, in bfloat16, exceeds the tolerance: then another is drawn. No run uses it.
        """
        for left in reversed(range(_HEADS if self._fresh else 1)):
            expected: torch.Tensor = base.model(**batch).logits.float()
            if self._output is not None:
                expected = losses_of_logits(expected, batch)
            if is_close(self._probe(pack, batch), expected, self._model.dtype):
                break
            if not left:
                name = type(base.model).__name__
                raise CannotPackError(f"{name} computes otherwise without padding")
            for name in self._fresh:
                initialize_fresh(base.model, base.model.get_submodule(name))
        return expected

    def _probe(
        self, pack: Sequence[tuple[Member, int]], batch: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        if self._output is None:
            return self(pack, batch)
        return self.measure(pack, batch, label_probe(batch)).losses

    def _narrow(
        self,
        pack: Sequence[tuple[Member, int]],
        batch: dict[str, torch.Tensor],
        expected: torch.Tensor,
    ) -> Position | None:
        """Has the last block compute one token per row, if the others leave the logits as they are.

        Returns which one; None if it computes all. NaNs in place of the others would show in the
        logits.
        """
        positions: tuple[Position, ...] = ("first", "last")
        for position in positions:
            undo = narrow_block(self._blocks[-1], position, fill=float("nan"))
            found = self(pack, batch)
            undo()
            if is_close(found, expected, self._model.dtype):
                narrow_block(self._blocks[-1], position)
                return position
        return None

    def _shorten(
        self,
        pack: Sequence[tuple[Member, int]],
        batch: dict[str, torch.Tensor],
        expected: torch.Tensor,
    ) -> None:
        """Has all blocks computed at once, if they are of a kind that there are kernels for."""
        encoder = FusedEncoder.find(self._model, self._blocks)
        if encoder is None:
            return
        undo = encoder.stand_in(self._model.base_model)
        try:
            agrees = is_close(self(pack, batch), expected, self._model.dtype)
        except Exception:  # embeddings or a pooler that are called otherwise
            agrees = False
        if agrees:
            self._fused = encoder
        else:
            undo()


def _head_weights(module: Any) -> dict[str, torch.Tensor]:
    """Returns a fresh module's trained weights, past PEFT's wrapper if there is one."""
    if hasattr(module, "modules_to_save"):
        (name,) = module.active_adapters
        module = module.modules_to_save[name]
    return dict(module.named_parameters())
