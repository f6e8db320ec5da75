"""Module groups (attention, mlp, ...) resolved to the linear layers of a model's family."""

import re
import warnings
from collections.abc import Sequence

from torch import nn
from transformers.pytorch_utils import Conv1D

from phasewise.errors import ConfigError
from phasewise.settings.target_modules import ALL_MODULES, roles_of

#: Role of a layer in its block, as Llama names it, to the end of its name elsewhere (a regular
#: expression but for its dots). A fused layer plays several roles.
_BERT = {
    "query": "self.query",
    "key": "self.key",
    "value": "self.value",
    "output": "attention.output.dense",
    "up": "intermediate.dense",
    "down": r"\d+.output.dense",
}
_LLAMA = {
    "query": "q_proj",
    "key": "k_proj",
    "value": "v_proj",
    "output": "o_proj",
    "gate": "gate_proj",
    "up": "up_proj",
    "down": "down_proj",
}
_FAMILIES: dict[str, dict[str, str]] = {
    "bert": _BERT,
    "roberta": _BERT,
    "distilbert": {
        "query": "q_lin",
        "key": "k_lin",
        "value": "v_lin",
        "output": "out_lin",
        "up": "ffn.lin1",
        "down": "ffn.lin2",
    },
    "deberta-v2": {
        **_BERT,
        "query": "self.query_proj",
        "key": "self.key_proj",
        "value": "self.value_proj",
    },
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "phi": {
        "query": "q_proj",
        "key": "k_proj",
        "value": "v_proj",
        "output": "self_attn.dense",
        "up": "mlp.fc1",
        "down": "mlp.fc2",
    },
    "phi3": {
        "query": "qkv_proj",
        "key": "qkv_proj",
        "value": "qkv_proj",
        "output": "o_proj",
        "gate": "gate_up_proj",
        "up": "gate_up_proj",
        "down": "down_proj",
    },
    "gpt2": {
        "query": "attn.c_attn",
        "key": "attn.c_attn",
        "value": "attn.c_attn",
        "output": "attn.c_proj",
        "up": "mlp.c_fc",
        "down": "mlp.c_proj",
    },
}
#: Names of other families' configs that build the same layers.
_ALIASES = {
    "camembert": "roberta",
    "xlm-roberta": "roberta",
    "electra": "bert",
    "gemma": "llama",
    "gemma2": "llama",
    "smollm3": "llama",
}


class UnknownFamilyWarning(UserWarning):
    """A model's family is not in the table, so a group stands for all its linear layers."""


def family_roles(family: str) -> dict[str, tuple[str, ...]] | None:
    """Returns layer to the roles it plays in a family's blocks, in order; None if not known.

    A fused layer plays several roles: adapting one of them adapts all.

    Args:
        family: ``config.model_type``.
    """
    roles = _FAMILIES.get(_ALIASES.get(family, family))
    if roles is None:
        return None
    layers: dict[str, tuple[str, ...]] = {}
    for role, layer in roles.items():
        layers[layer] = (*layers.get(layer, ()), role)
    return layers


def find_target_modules(
    model: nn.Module, group: str, exclude: Sequence[str] = (), in_full: Sequence[str] = ()
) -> list[str]:
    """Returns the full names of the layers that a group stands for, in the model's order.

    A family without a gate plays its part by `up`. Embedding and language-model head are adapted
    only where they are named.

    Args:
        model: A transformers model; its ``config.model_type`` names the family.
        group: A group, or roles joined by ``+``; ``all`` is every linear layer, also outside the
            blocks (a pooler).
        exclude: Modules whose layers are left out: the head, and whatever trains in full.
        in_full: Modules that train in full: naming one of them adds no adapter.

    Raises:
        ConfigError: The model has no such layer.
    """
    names = [
        name
        for name, module in model.named_modules()
        if isinstance(module, (nn.Linear, Conv1D)) and not _lies_in(name, exclude)
    ]
    family = str(getattr(model.config, "model_type", "")) if hasattr(model, "config") else ""
    roles = _FAMILIES.get(_ALIASES.get(family, family))
    if roles is None and group != ALL_MODULES:
        warnings.warn(
            f"model family '{family}' is not known; target_modules: {group} adapts all its linear "
            f"layers but the head (known: {', '.join(sorted({*_FAMILIES, *_ALIASES}))})",
            UnknownFamilyWarning,
            stacklevel=2,
        )
    found = names if roles is None or group == ALL_MODULES else _select(names, roles, group)
    if group != ALL_MODULES:
        found = [*found, *_find_outside(model, roles_of(group), in_full)]
    if not found:
        raise ConfigError(
            f"target_modules: {group} names no linear layer of this {family or 'unknown'} model"
        )
    return found


def find_biases(model: nn.Module, exclude: Sequence[str] = ()) -> dict[str, nn.Parameter]:
    """Returns a model's bias vectors by the full names of their modules; none of a Llama.

    Args:
        model: A transformers model.
        exclude: Modules whose biases are left out: the head, and whatever trains in full.
    """
    return {
        name: bias
        for name, module in model.named_modules()
        if not _lies_in(name, exclude)
        and isinstance(bias := getattr(module, "bias", None), nn.Parameter)
    }


def _find_outside(model: nn.Module, roles: Sequence[str], in_full: Sequence[str]) -> list[str]:
    """Returns the names of embedding and language-model head, as far as a group names them."""
    owners = {"embedding": "get_input_embeddings", "lm_head": "get_output_embeddings"}
    wanted = [getattr(model, owners[role])() for role in roles if role in owners]
    return [
        name
        for name, module in model.named_modules()
        if any(module is each for each in wanted) and not _lies_in(name, in_full)
    ]


def _select(names: Sequence[str], roles: dict[str, str], group: str) -> list[str]:
    wanted = roles_of(group)
    if "gate" in wanted and "gate" not in roles:
        wanted = (*wanted, "up")
    ends = {roles[role].replace(".", r"\.") for role in wanted if role in roles}
    if not ends:
        return []
    pattern = re.compile(rf"(?:^|.*\.)(?:{'|'.join(sorted(ends))})$")
    return [name for name in names if pattern.match(name)]


def _lies_in(name: str, modules: Sequence[str]) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in modules)
