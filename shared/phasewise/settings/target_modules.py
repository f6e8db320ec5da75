"""Which layers an adapter goes to: a named group, or roles joined by ``+``.

A role is a layer's part in its block, whatever a family of models calls it; ``methods.modules``
resolves roles to the layers of a model. Llama's names are understood too: ``q_proj+down_proj``.
"""

from collections.abc import Iterable
from typing import Annotated

from pydantic import AfterValidator

from phasewise.errors import suggest_nearest

#: Role to its name in Llama-like models, in the order of the forward pass.
LLAMA_NAMES = {
    "embedding": "embed_tokens",
    "query": "q_proj",
    "key": "k_proj",
    "value": "v_proj",
    "output": "o_proj",
    "gate": "gate_proj",
    "up": "up_proj",
    "down": "down_proj",
    "lm_head": "lm_head",
}
#: Roles within a block; the others stand outside and are adapted only where they are named.
BLOCK_ROLES = ("query", "key", "value", "output", "gate", "up", "down")
#: Group to its roles, as the DoRA document names them; ``all`` is every linear layer but the head.
MODULE_GROUPS: dict[str, tuple[str, ...]] = {
    "attention": ("query", "key", "value", "output"),
    "query_value": ("query", "value"),
    "mlp": ("gate", "up", "down"),
    "core": ("query", "value", "gate", "down"),
    "minimal": ("query", "value", "down"),
}
ALL_MODULES = "all"
_SPELLINGS = {name: role for role, name in LLAMA_NAMES.items()} | {r: r for r in LLAMA_NAMES}


def parse_target_modules(text: str) -> str:
    """Returns the one spelling of a group or of roles: a group's name, or roles in order.

    Raises:
        ValueError: A name is neither, or there is none.
    """
    if text == ALL_MODULES or text in MODULE_GROUPS:
        return text
    names = [name.strip() for name in text.split("+")]
    known = [ALL_MODULES, *MODULE_GROUPS, *_SPELLINGS]
    for name in names:
        if name not in _SPELLINGS:
            raise ValueError(
                f"'{name}' is neither a group of modules nor a role; write a group, or roles "
                f"joined by +, such as q_proj+v_proj{suggest_nearest(name, known)}"
            )
    return join_roles(_SPELLINGS[name] for name in names)


def join_roles(roles: Iterable[str]) -> str:
    """Returns roles in the order of the forward pass, joined by ``+``."""
    chosen = set(roles)
    return "+".join(role for role in LLAMA_NAMES if role in chosen)


def roles_of(target_modules: str) -> tuple[str, ...]:
    """Returns the roles of a group or of joined roles; ``all`` is every role of a block."""
    if target_modules == ALL_MODULES:
        return BLOCK_ROLES
    found = MODULE_GROUPS.get(target_modules)
    return found or tuple(parse_target_modules(target_modules).split("+"))


TargetModules = Annotated[str, AfterValidator(parse_target_modules)]
