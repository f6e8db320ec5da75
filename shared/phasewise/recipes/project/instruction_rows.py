"""What a first study says of instruction data: the columns of prompt and answer, lengths."""

import math
from collections.abc import Sequence
from typing import Any

from phasewise.errors import DataError, suggest_nearest
from phasewise.recipes.project.rows import Lengths, measure_words
from phasewise.tasks.table import RowTable

#: Usual names of the columns, the likelier first (Alpaca, Dolly, GSM8K, prompt and completion).
_PROMPTS = ("instruction", "prompt", "question", "query")
_RESPONSES = ("response", "output", "answer", "completion")
#: Of what a prompt may bring along, in some rows.
_EXTRAS = ("input", "context")


def find_response(table: RowTable, named: str) -> str:
    """Returns the column of the answers: the one named, else one with a usual name.

    Raises:
        DataError: It is missing, or there is none, and so no kind of task that the rows are of.
    """
    columns = list(table.rows[0])
    if named and named not in columns:
        raise DataError(f"{table.origin}: no column '{named}'{suggest_nearest(named, columns)}")
    found = named or next((name for name in _RESPONSES if name in columns), "")
    if not named and not (found and any(name in columns for name in _PROMPTS)):
        raise DataError(
            f"{table.origin}: which column holds the classes (--label COLUMN), or the answers to "
            f"be learned (--response COLUMN)? columns: {', '.join(columns)}"
        )
    return found


def find_prompt(table: RowTable, named: Sequence[str], response: str) -> list[str]:
    """Returns the prompt's columns: those named, else one with a usual name and what it brings.

    Raises:
        DataError: A column is missing, has a name that no template takes, or there is none.
    """
    columns = [column for column in table.rows[0] if column != response]
    found = list(named) or [name for name in _PROMPTS if name in columns][:1]
    if found and not named:
        found += [name for name in _EXTRAS if name in columns]
    if not found:
        raise DataError(
            f"{table.origin}: which column holds the prompts? give --text COLUMN; there are "
            f"{', '.join(columns) or 'none'}"
        )
    for name in (*found, response):
        if name not in (*columns, response):
            raise DataError(f"{table.origin}: no column '{name}'{suggest_nearest(name, columns)}")
        if not name.isidentifier():
            raise DataError(
                f"{table.origin}: column '{name}': expected a name of letters, digits and _, which "
                "a prompt's template can hold; rename it"
            )
    return found


def describe_instruction(table: RowTable, prompt: Sequence[str], response: str) -> dict[str, Any]:
    """Returns what the study says of the prompt, the metric and the lengths.

    Raises:
        DataError: A cell of the first column or an answer is empty.
    """
    partial = [name for name in prompt[1:] if any(_is_empty(row.get(name)) for row in table.rows)]
    always = [name for name in prompt if name not in partial]
    words = sorted(
        measure_words(table, row, [*always, response, *_given(table, row, partial)])
        for row in range(len(table.rows))
    )
    return {
        "template": _template(prompt),
        "template_without": _template(always) if partial else None,
        "without": " and ".join(partial),
        "response": response,
        "metric": "eval_loss",
        "metric_reason": "per token of the response; others: `phasewise list tasks`",
        "lengths": Lengths.of_words(words),
    }


def _template(columns: Sequence[str]) -> str:
    return "".join(f"{{{name}}}\n" for name in columns)


def _given(table: RowTable, row: int, columns: Sequence[str]) -> list[str]:
    return [name for name in columns if not _is_empty(table.rows[row].get(name))]


def _is_empty(value: object) -> bool:
    missing = value is None or (isinstance(value, float) and math.isnan(value))
    return missing or not str(value).strip()
