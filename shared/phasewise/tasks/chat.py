"""Prompt and response as the model reads them: in its chat template, then as tokens.

Training, scoring, ``predict`` and the prompt suite all take their prompts from here.
"""

import datetime
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from phasewise.errors import ConfigError
from phasewise.settings import PromptSettings
from phasewise.tasks.prompts import RenderedPrompt

#: Chat templates for models that bring none; each ends a turn with the model's end token or its
#: own marker. Sources: OpenAI's ChatML; Mistral-7B-Instruct's and Zephyr's tokenizer_config.json.
_CHAT_TEMPLATES = {
    "chatml": (
        "{% for message in messages %}<|im_start|>{{ message.role }}\n"
        "{{ message.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    ),
    "mistral": (
        "{{ bos_token or '' }}{% for message in messages %}"
        "{% if message.role == 'system' %}{% set ns = namespace(x=message.content) %}"
        "{% elif message.role == 'user' %}[INST] "
        "{% if messages[0].role == 'system' and loop.index0 == 1 %}"
        "{{ messages[0].content }}\n\n{% endif %}{{ message.content }} [/INST]"
        "{% else %} {{ message.content }}{{ eos_token or '' }}{% endif %}{% endfor %}"
    ),
    "zephyr": (
        "{% for message in messages %}<|{{ message.role }}|>\n"
        "{{ message.content }}{{ eos_token or '' }}\n{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
    ),
}
#: Stands for a text, to see what a template writes around it; of Unicode's private use, so no
#: template looks for it.
_ANY_TEXT = "\ue000"
#: How models that think before they answer open their thoughts.
_THOUGHTS = "<think>"
#: The letters of strftime's directives.
_DIRECTIVES = "aAbBcCdDeFgGhHIjklmMnpPrRsStTuUVwWxXyYzZ"


class Turns(NamedTuple):
    """A conversation; together its two texts are all of it."""

    prompt: str
    """All that is there before the model writes: what the template opens its turn with too."""
    response: str
    """What the model is to write; the end of its turn too, where the template marks it."""


class TurnTokens(NamedTuple):
    """The tokens of ``Turns``: what is generated from, and what then should come."""

    start: list[int]
    """How the tokenizer starts any text: with a start token, of most."""
    prompt: list[int]
    """What follows it."""
    response: list[int]


def write_turns(
    settings: PromptSettings, rendered: RenderedPrompt, response: str, tokenizer: Any
) -> Turns:
    """Returns a conversation as the model reads it; the prompt is the same for every response.

    Raises:
        ConfigError: ``chat: model`` for a tokenizer without a chat template, or a template that
            cannot write such a conversation.
    """
    if settings.chat == "none":
        parts = [part for part in (rendered.system, rendered.prompt) if part]
        return Turns("\n\n".join(parts), response)
    messages = [{"role": "user", "content": rendered.prompt}]
    if rendered.system:
        messages.insert(0, {"role": "system", "content": rendered.system})
    prompt = _write_prompt(settings, messages, tokenizer)
    whole = _apply(settings, messages, tokenizer, response)
    if not whole.startswith(prompt):
        raise ConfigError(
            "prompt.chat: a response brings thoughts of its own, which the chat template writes "
            "where the prompt says that there are none; expected prompt.thinking: true"
            if _THOUGHTS in response and not settings.thinking
            else "prompt.chat: the chat template rewrites the prompt once it is answered; "
            f"expected one of none, {', '.join(_CHAT_TEMPLATES)}"
        )
    return Turns(prompt, whole[len(prompt) :].rstrip("\n"))


def tokenize_turns(
    settings: PromptSettings,
    conversations: Sequence[tuple[RenderedPrompt, str]],
    tokenizer: Any,
) -> list[TurnTokens]:
    """Returns the tokens of (prompt, response) pairs, one for each.

    A prompt's tokens never depend on its response. The tokenizer's start is there once, whether
    the template writes it or not. No end token is added, neither to prompts nor to responses.

    Raises:
        ConfigError: See ``write_turns``.
    """
    turns = [write_turns(settings, asked, said, tokenizer) for asked, said in conversations]
    if not turns:
        return []

    def _tokenize(texts: list[str]) -> list[list[int]]:
        found: list[list[int]] = tokenizer(texts, add_special_tokens=False)["input_ids"]
        return found

    start = _find_start(tokenizer)
    asked = _tokenize([each.prompt for each in turns])
    whole = _tokenize([each.prompt + each.response for each in turns])
    tokens = []
    for turn, prompt, both in zip(turns, asked, whole, strict=True):
        # Some tokenizers write a text's first word otherwise than the same word later on.
        continues = both[: len(prompt)] == prompt
        response = both[len(prompt) :] if continues else _tokenize([turn.response])[0]
        bare = prompt[len(start) :] if prompt[: len(start)] == start else prompt
        tokens.append(TurnTokens(start, bare, response))
    return tokens


def find_closed_thoughts(settings: PromptSettings, tokenizer: Any) -> str:
    """Returns how prompts end where the template says in them whether the model thinks; else ""."""
    if settings.chat == "none":
        return ""
    prompt = _write_prompt(settings, [{"role": "user", "content": _ANY_TEXT}], tokenizer)
    end = prompt.rpartition(_ANY_TEXT)[2]
    return end if _THOUGHTS in end else ""


def _write_prompt(settings: PromptSettings, messages: list[dict[str, str]], tokenizer: Any) -> str:
    """Returns all that a template writes before any response.

    After the generation prompt that may be a header, where the template knows no such prompt, or
    thoughts without content. A blank belongs to the response's first word.
    """
    asked = _apply(settings, messages, tokenizer)
    whole = _apply(settings, messages, tokenizer, _ANY_TEXT)
    if not whole.startswith(asked):
        return asked  # and so will the response's, which is refused
    opening = whole[len(asked) :].partition(_ANY_TEXT)[0]
    if settings.thinking:
        opening = opening.partition(_THOUGHTS)[0]
    return asked + opening.rstrip(" ") if opening.strip() else asked


def _find_template(settings: PromptSettings, tokenizer: Any) -> str:
    template = _CHAT_TEMPLATES.get(settings.chat)
    if template is None and not getattr(tokenizer, "chat_template", None):
        raise ConfigError(
            "prompt.chat: model, but the model's tokenizer has no chat "
            f"template; expected one of none, {', '.join(_CHAT_TEMPLATES)}"
        )
    found: str = template or tokenizer.get_chat_template()
    return _write_clock(settings.date) + found if "strftime_now" in found else found


@lru_cache(maxsize=1)
def _write_clock(date: datetime.date) -> str:
    """Returns Jinja that sets the template's clock to a date, midnight.

    transformers defines ``strftime_now`` by today's date and takes no function from its callers.
    """
    moment = datetime.datetime.combine(date, datetime.time())
    names = [f"%{flag}{letter}" for letter in _DIRECTIVES for flag in ("", "-")]
    values = {name: moment.strftime(name) for name in names} | {"%%": "%"}
    steps = "".join(f".replace({name!r}, {value!r})" for name, value in values.items())
    # The empty expression keeps a line break that the template starts with.
    return "{%- macro strftime_now(format) -%}{{ format" + steps + " }}{%- endmacro %}{{ '' }}"


def _apply(
    settings: PromptSettings,
    messages: list[dict[str, str]],
    tokenizer: Any,
    response: str | None = None,
) -> str:
    """Returns the conversation in its template, without a response up to where the model writes."""
    from jinja2 import TemplateError

    turn = [] if response is None else [{"role": "assistant", "content": response}]
    try:
        written: str = tokenizer.apply_chat_template(
            [*messages, *turn],
            chat_template=_find_template(settings, tokenizer),
            add_generation_prompt=response is None,
            enable_thinking=settings.thinking,  # as Qwen3, GLM and SmolLM3 call it
            tokenize=False,
        )
    except TemplateError as error:
        raise ConfigError(
            f"prompt.chat: the chat template refuses the conversation ({error}); "
            "without a system role, write prompt.system into prompt.template"
        ) from error
    return written


def _find_start(tokenizer: Any) -> list[int]:
    """Returns the tokens that a tokenizer puts before any text."""
    encoded = tokenizer("a", return_special_tokens_mask=True)
    added: list[int] = encoded["special_tokens_mask"]
    return list(encoded["input_ids"][: added.index(0)]) if 0 in added else []
