"""The one model of a pack: a base model's own code over all members' tokens at once."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch import nn

from phasewise.methods.models import BaseModel, share_weights
from phasewise.methods.modules import find_biases
from phasewise.training.packed import attention
from phasewise.training.packed.biases import OwnBiases
from phasewise.training.packed.last_block import Position, narrow_block
from phasewise.training.packed.layers import PackedDropout, PackedHead, PackedLinear
from phasewise.training.packed.layout import (
    CannotPackError,
    Layout,
    Member,
    build_layout,
    current_layout,
    use_layout,
)
from phasewise.training.packed.low_rank import read_pair
from phasewise.training.packed.quantised import QuantizedLinear, exact_products, is_quantized
from phasewise.training.packed.rearrange import Places, find_places, take_places, take_tokens
from phasewise.training.products import OneDnnLinear

#: Largest relative difference between a packed model's logits and the base model's (float32; the
#: order of sums differs) that the check of a new architecture lets pass; bfloat16 has 8 bits.
_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 5e-2}


class PackedModel:
    """Runs the rows of many members through one base model without padding.

    Embeddings and whatever follows the blocks (pooler, head) see padded rows; between them all
    tokens lie in one sequence, kept apart by attention.

    Args:
        base: Stays as it is; its weights are shared.

    Raises:
        CannotPackError: The architecture computes otherwise than it does alone.
    """

    def __init__(self, base: BaseModel) -> None:
        if not getattr(base.model, "_supports_attention_backend", False):
            raise CannotPackError(f"{type(base.model).__name__} has an attention of its own")
        self._fresh = base.fresh_modules
        self._model = _share_copy(base.model)
        self._biases = OwnBiases()
        self._model.config.use_cache = False
        self._blocks = _find_blocks(self._model)
        self._model.set_attn_implementation(attention.NAME)
        _replace_dropouts(self._model)
        int8 = [name for name, m in self._model.named_modules() if is_quantized(m, "8bit")]
        for name in int8:  # adapted or not: whoever shares the pack must not change what it rounds
            self._adapt(name)
        for name in self._fresh:
            _replace(self._model, name, PackedHead(self._model.get_submodule(name), name))
        self._blocks[0].register_forward_pre_hook(_flatten_states)
        for block in self._blocks:
            block.register_forward_pre_hook(_flatten_keywords, with_kwargs=True)
        self._blocks[-1].register_forward_hook(_pad_states)
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
        found = find_biases(inner, self._fresh).items()
        biases: dict[str, torch.Tensor] = {name: b for name, b in found if b.requires_grad}
        self._biases.watch(self._model, biases)
        return Member(pairs, heads, torch.Generator(device).manual_seed(seed), biases)

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

    def _adapt(self, name: str) -> None:
        layer = self._model.get_submodule(name)
        self._biases.forget(name)
        if isinstance(layer, (PackedLinear, QuantizedLinear)):
            return
        if is_quantized(layer):
            _replace(self._model, name, QuantizedLinear(layer, name))
        elif type(layer) in (nn.Linear, OneDnnLinear):
            _replace(self._model, name, PackedLinear(layer, name))
        else:
            raise CannotPackError(f"layer {name} is a {type(layer).__name__}, not a Linear")

    @torch.no_grad()
    def _check(self, base: BaseModel) -> None:
        """Compares with the base model on rows of different lengths, then looks for dropouts."""
        device = next(base.model.parameters()).device
        batch = _probe_batch(base.model.config, device)
        heads = {n: dict(base.model.get_submodule(n).named_parameters()) for n in self._fresh}
        members = [Member({}, heads, torch.Generator(device)) for _ in range(2)]
        pack = [(members[0], 2), (members[1], 1)]
        self.train(False)
        with exact_products(base.model, self._model):
            expected = base.model(**batch).logits.float()
            if not _is_close(self(pack, batch), expected, self._model.dtype):
                name = type(base.model).__name__
                raise CannotPackError(f"{name} computes otherwise without padding")
            self._narrow(pack, batch, expected)
        self.train(True)
        again = []
        for _ in range(2):
            for member in members:
                member.generator.manual_seed(0)
            again.append(self(pack, batch))
        if not torch.equal(*again):
            raise CannotPackError(f"{type(base.model).__name__} has a dropout of its own")

    def _narrow(
        self,
        pack: Sequence[tuple[Member, int]],
        batch: dict[str, torch.Tensor],
        expected: torch.Tensor,
    ) -> None:
        """Has the last block compute one token a row, if the others leave the logits as they are.

        NaNs in place of the others would show in the logits.
        """
        positions: tuple[Position, ...] = ("first", "last")
        for position in positions:
            undo = narrow_block(self._blocks[-1], position, fill=float("nan"))
            found = self(pack, batch)
            undo()
            if _is_close(found, expected, self._model.dtype):
                narrow_block(self._blocks[-1], position)
                return


def _is_close(found: torch.Tensor, expected: torch.Tensor, dtype: torch.dtype) -> bool:
    """Whether all logits are (rows, classes) and close; NaN is not."""
    if found.shape != expected.shape:
        return False
    allowed = _TOLERANCE.get(dtype, 5e-2) * float(expected.abs().max())
    return float((found.float() - expected).abs().max()) <= allowed


def _share_copy(model: Any) -> Any:
    copied = copy.deepcopy(model, share_weights(model))
    # The weights are the base's own: members' tensors take part in the graph, these never do.
    if any(parameter.requires_grad for parameter in copied.parameters()):
        copied.requires_grad_(False)
    return copied


def _find_blocks(model: nn.Module) -> list[nn.Module]:
    depth = int(getattr(model.config, "num_hidden_layers", 0))
    lists = [m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) == depth]
    if len(lists) != 1:
        raise CannotPackError(f"{type(model).__name__} has no single list of {depth} blocks")
    return list(lists[0])


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, own = name.rpartition(".")
    setattr(model.get_submodule(parent), own, module)


def _replace_dropouts(model: nn.Module) -> None:
    for name, module in list(model.named_modules()):
        if type(module) is nn.Dropout:
            _replace(model, name, PackedDropout(module.p))


def _head_weights(module: Any) -> dict[str, torch.Tensor]:
    """Returns a fresh module's trained weights, past PEFT's wrapper if there is one."""
    if hasattr(module, "modules_to_save"):
        (name,) = module.active_adapters
        module = module.modules_to_save[name]
    return dict(module.named_parameters())


def _row_places(layout: Layout) -> Places:
    known: Places | None = layout.memo.get("rows")
    if known is None:
        known = find_places(layout.lengths, layout.mask.device)
        layout.memo["rows"] = known
    return known


def _flatten(tensor: torch.Tensor, layout: Layout) -> torch.Tensor:
    """Returns (1, tokens, ...) of (rows or 1, longest, ...)."""
    rows = tensor.expand(layout.rows, *tensor.shape[1:]).flatten(0, 1)
    return take_tokens(rows, _row_places(layout)).unsqueeze(0)


def _flatten_states(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Hook before the first block."""
    if not args:
        raise CannotPackError("blocks are called with keywords only")
    return (_flatten(args[0], current_layout()), *args[1:])


def _flatten_keywords(
    module: nn.Module, args: tuple[Any, ...], keywords: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Hook before each block: positions, as angles or numbers, follow their tokens."""
    layout = current_layout()

    def follow(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(follow(item) for item in value)
        if not isinstance(value, torch.Tensor) or value.ndim < 2:
            return value
        if value.shape[0] not in (1, layout.rows) or value.shape[1] != layout.longest:
            return value
        key = ("keyword", id(value))
        if key not in layout.memo:
            layout.memo[key] = (_flatten(value, layout), value)  # held, so that ids stay unique
        return layout.memo[key][0]

    return args, {name: follow(value) for name, value in keywords.items()}


def _pad_states(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
    """Hook after the last block."""
    layout = current_layout()
    states = output[0] if isinstance(output, tuple) else output
    if not layout.is_flat(states):
        return output  # the block gave one token a row, in its place
    padded = take_places(states[0], _row_places(layout))
    padded = padded.view(layout.rows, layout.longest, -1)
    return (padded, *output[1:]) if isinstance(output, tuple) else padded


def _probe_batch(config: Any, device: torch.device) -> dict[str, torch.Tensor]:
    """Returns three rows of 5, 9 and 7 tokens that are neither padding nor special, if possible."""
    lengths, pad = (5, 9, 7), int(config.pad_token_id or 0)
    tokens = torch.arange(27).view(3, 9) * 37 % max(1, int(config.vocab_size) - 10) + 5
    tokens[tokens == pad] = pad + 1
    mask = torch.arange(9).unsqueeze(0) < torch.tensor(lengths).unsqueeze(1)
    tokens = torch.where(mask, tokens, torch.tensor(pad))
    return {"input_ids": tokens.to(device), "attention_mask": mask.long().to(device)}
