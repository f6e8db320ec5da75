"""What a person, a crash or a stranger may put into a file."""

import json
from typing import Any

import yaml
from hypothesis import strategies as st

#: Texts that mean something to one of the parsers a file goes through, or to a shell.
_TEXTS = [
    "",
    " ",
    "null",
    "~",
    "1e-6",
    "16",
    "nan",
    ".inf",
    "../../x",
    "/etc/passwd",
    "a\nb",
    "$(x)",
]
_TEXTS += ["\x00", "\ud800", "\x1b[2J", "{", "[" * 50, "&a", "*a", "!!python/object:x", "é" * 300]

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(),
    st.sampled_from(_TEXTS),
    st.text(max_size=8),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)


@st.composite
def mutated(draw: st.DrawFn, content: Any) -> Any:
    """The content with one to three values replaced, removed or added, anywhere in it."""
    changed = json.loads(json.dumps(content))
    for _ in range(draw(st.integers(1, 3))):
        changed = draw(_mutate_once(changed))
    return changed


@st.composite
def _mutate_once(draw: st.DrawFn, content: Any) -> Any:
    inner: list[Any] = []
    if isinstance(content, dict | list):
        inner = [*content] if isinstance(content, dict) else [*range(len(content))]
    if not inner or draw(st.integers(0, 3)) == 0:
        if isinstance(content, dict) and draw(st.booleans()):
            return {**content, draw(st.text(max_size=8)): draw(VALUES)}
        return draw(VALUES)
    key = draw(st.sampled_from(inner))
    if isinstance(content, dict) and draw(st.integers(0, 4)) == 0:
        return {k: v for k, v in content.items() if k != key}
    copy = dict(content) if isinstance(content, dict) else list(content)
    copy[key] = draw(_mutate_once(content[key]))
    return copy


@st.composite
def broken(draw: st.DrawFn, whole: bytes) -> bytes:
    """The bytes cut off, with some replaced, or others altogether."""
    kind = draw(st.sampled_from(["cut", "replace", "insert", "other"]))
    if kind == "other" or not whole:
        return draw(st.binary(max_size=200))
    place = draw(st.integers(0, len(whole) - 1))
    if kind == "cut":
        return whole[:place]
    more = draw(st.binary(min_size=1, max_size=8))
    return whole[:place] + more + whole[place + (len(more) if kind == "replace" else 0) :]


def as_yaml(content: Any) -> str:
    """As YAML, which takes what JSON does not; surrogates are no text at all."""
    text: str = yaml.safe_dump(content, allow_unicode=False)
    return text
