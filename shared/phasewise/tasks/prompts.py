"""Prompts: a row's columns into text."""

from typing import NamedTuple

from phasewise.settings import PromptSettings, placeholders
from phasewise.tasks.table import RowTable


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


def _is_blank(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())
