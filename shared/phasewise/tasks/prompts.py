"""Prompts: a row's columns into text, text into the form a model's chat is written in."""

from typing import Any, NamedTuple

from phasewise.errors import ConfigError
from phasewise.settings import PromptSettings, TaskSettings, placeholders
from phasewise.tasks.table import RowTable

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


class RenderedPrompt(NamedTuple):
    """The texts of one row, before a tokenizer sees them."""

    system: str
    """Empty if there is none."""
    prompt: str


def render_prompt(prompt: PromptSettings, table: RowTable, index: int) -> RenderedPrompt:
    """Returns system message and prompt of one row.

    Raises:
        DataError: A column that the chosen template names is missing, empty or no text.
    """
    optional = prompt.optional_columns
    lacks = any(_is_blank(table.rows[index].get(column)) for column in optional)
    template = prompt.template_without if lacks and prompt.template_without else prompt.template
    system = ""
    if prompt.system is not None:
        columns = placeholders(prompt.system)
        system = prompt.system.format_map({name: read_text(table, index, name) for name in columns})
    values = {name: read_text(table, index, name) for name in placeholders(template)}
    if not any(value.strip() for value in values.values()):
        raise table.refuse(index, next(iter(values)), "a text that is not empty", "")
    return RenderedPrompt(system.strip(), template.format_map(values))


def read_text(table: RowTable, index: int, column: str) -> str:
    """Returns one cell as text; numbers are written out, an empty cell is an empty text.

    Raises:
        DataError: The column is missing, or holds something else.
    """
    value = table.value(index, column)
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise table.refuse(index, column, "a text or a number", value)
    return str(value)


def write_turns(
    task: TaskSettings, rendered: RenderedPrompt, response: str, tokenizer: Any
) -> tuple[str, str]:
    """Returns the text before the response and the response, as the model reads them.

    Together they are the whole conversation, so the end-of-turn marker belongs to the response.

    Raises:
        ConfigError: ``chat: model`` for a tokenizer without a chat template, or a template that
            cannot write such a conversation.
    """
    assert task.prompt is not None
    if task.prompt.chat == "none":
        parts = [part for part in (rendered.system, rendered.prompt) if part]
        return "\n\n".join(parts), response
    template = _CHAT_TEMPLATES.get(task.prompt.chat)
    if template is None and not getattr(tokenizer, "chat_template", None):
        raise ConfigError(
            f"task '{task.name}': prompt.chat: model, but the model's tokenizer has no chat "
            f"template; expected one of none, {', '.join(_CHAT_TEMPLATES)}"
        )
    messages = [{"role": "user", "content": rendered.prompt}]
    if rendered.system:
        messages.insert(0, {"role": "system", "content": rendered.system})
    answer = {"role": "assistant", "content": response}
    asked = _apply(task, tokenizer, template, messages, ends_open=True)
    whole = _apply(task, tokenizer, template, [*messages, answer], ends_open=False)
    if not whole.startswith(asked):
        raise ConfigError(
            f"task '{task.name}': the chat template rewrites the prompt once it is answered; "
            f"expected prompt.chat to be one of none, {', '.join(_CHAT_TEMPLATES)}"
        )
    return asked, whole[len(asked) :].rstrip("\n")


def _apply(
    task: TaskSettings,
    tokenizer: Any,
    template: str | None,
    messages: list[dict[str, str]],
    *,
    ends_open: bool,
) -> str:
    from jinja2 import TemplateError

    try:
        written: str = tokenizer.apply_chat_template(
            messages, chat_template=template, add_generation_prompt=ends_open, tokenize=False
        )
    except TemplateError as error:
        raise ConfigError(
            f"task '{task.name}': the chat template refuses the conversation ({error}); "
            "without a system role, write prompt.system into prompt.template"
        ) from error
    return written


def _is_blank(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())
