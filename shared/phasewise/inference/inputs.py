"""The rows to predict: ids and texts from a file, checked; every fault is named by its row."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phasewise.errors import ConfigError, DataError, suggest_nearest
from phasewise.inference.loading import ModelFolder, load_folder_tokenizer
from phasewise.methods.base_config import fit_positions, load_config, require_positions
from phasewise.settings import (
    TASK_KINDS,
    FilesSource,
    PromptSettings,
    TaskSettings,
    metrics_of,
    placeholders,
)
from phasewise.tasks.examples import Example
from phasewise.tasks.files import read_file
from phasewise.tasks.prompts import render_prompt
from phasewise.tasks.table import RowTable

DEFAULT_ID = "id"
#: Tokens of a text for a model whose record names no task.
DEFAULT_LENGTH = 512
_KINDS = {traits.auto_class: kind for kind, traits in TASK_KINDS.items()}
#: ``problem_type`` of models whose outputs are no classes that exclude each other.
_OTHER_LOSSES = ("multi_label_classification", "regression")
#: Columns of question answering where no record or flag names others.
_QA_COLUMNS = ("question", "context")


@dataclass(frozen=True)
class InputRows:
    """What is to be predicted.

    Attributes:
        id_column: Header of the ids in the output.
        examples: In the order of the file; each has its own id.
    """

    id_column: str
    examples: Sequence[Example]


def task_of_model(
    source: ModelFolder,
    text: Sequence[str],
    max_length: int | None,
    max_new_tokens: int | None = None,
) -> TaskSettings:
    """Returns the task that a model was trained for, or what its folder tells of it.

    Args:
        source: The model's folder.
        text: The user's text columns; empty: the task's own.
        max_length: The user's limit in tokens; None: the task's, else 512.
        max_new_tokens: Longest response of a decoder; None: the task's, else 128.

    Raises:
        ConfigError: No text column is known, or an option is not for models of this kind.
    """
    task = source.task or _build_task(source, text)
    changes: dict[str, Any] = {}
    if text and task.traits.generates:
        if source.record is not None:
            raise ConfigError(
                "--text: the columns of a prompt stand in the task's template "
                f"({', '.join(_prompt_columns(task))}); rename the file's"
            )
    elif text:
        wanted = len(task.text) if task.traits.has_classes else len(_QA_COLUMNS)
        if len(text) != wanted:
            named = ", ".join(task.text or _QA_COLUMNS)
            raise ConfigError(
                f"--text: the model reads {wanted} column(s) ({named}), got {len(text)}: "
                f"{', '.join(text)}"
            )
        changes["text"] = tuple(text)
    if max_length is not None:
        require_positions(source.base, max_length, "--max-length")
        changes["max_length"] = max_length
    if max_new_tokens is not None:
        if not task.traits.generates:
            raise ConfigError(
                f"--max-new-tokens: {source.folder} writes no responses; leave it out"
            )
        changes["generation"] = task.generation.model_copy(
            update={"max_new_tokens": max_new_tokens}
        )
    return task.model_copy(update=changes)


def plain_prompt(source: ModelFolder, tokenizer: Any, columns: Sequence[str]) -> PromptSettings:
    """Returns columns as they are, in the form of chat that a model was trained in.

    Without a record that is the tokenizer's chat template, if it has one.
    """
    template = "\n\n".join(f"{{{column}}}" for column in columns)
    trained = None if source.task is None else source.task.prompt
    if trained is not None:
        alone = {"template": template, "template_without": None, "system": None}
        return trained.model_copy(update=alone)
    is_chat = bool(getattr(tokenizer, "chat_template", None))
    return PromptSettings(template=template, chat="model" if is_chat else "none")


def read_inputs(
    path: Path, task: TaskSettings, *, id_column: str | None, allow_empty: bool = False
) -> InputRows:
    """Returns the rows of a CSV, TSV, JSONL or Parquet file in their order.

    Args:
        path: The file; its ending tells the format.
        task: Names the text columns, or the prompt.
        id_column: Holds the ids; None: ``id`` in any case if there is such a column, else rows
            are numbered from 0.
        allow_empty: Whether an empty text is predicted like any other, rather than refused.

    Raises:
        DataError: The file cannot be read, a column is missing, an id is empty or given twice, or
            a text is empty; the first row at fault is named, the others are counted.
    """
    table = read_file(path, task.quoted)
    if task.prompt is not None:
        name, ids = _read_ids(table, id_column)
        prompts = [render_prompt(task.prompt, table, index) for index in range(len(ids))]
        asked = zip(ids, prompts, strict=True)
        return InputRows(name, [Example(id=each, texts=(*turns, "")) for each, turns in asked])
    columns = task.text or _QA_COLUMNS
    for column in columns:
        _require_column(table, column, "--text")
    name, ids = _read_ids(table, id_column)
    texts = _read_texts(table, columns, allow_empty=allow_empty)
    examples = [Example(id=each, texts=row) for each, row in zip(ids, texts, strict=True)]
    return InputRows(name, examples)


def read_texts(path: Path, text: Sequence[str]) -> list[str]:
    """Returns the texts of a file's only text column, ``text`` unless another is named.

    Raises:
        ConfigError: Two columns are named.
        DataError: The file cannot be read, lacks the column, or a text is empty.
    """
    if len(text) > 1:
        raise ConfigError(f"--text: expected one column of plain texts, got {', '.join(text)}")
    column = text[0] if text else "text"
    table = read_file(path)
    _require_column(table, column, "--text")
    return [cells[0] for cells in _read_texts(table, (column,), allow_empty=False)]


def _build_task(source: ModelFolder, text: Sequence[str]) -> TaskSettings:
    kind = _KINDS[source.auto_class]
    traits = TASK_KINDS[kind]
    if not traits.has_contexts and not text:
        raise ConfigError(
            f"{source.folder}: no record names the text columns; give each with --text COLUMN"
        )
    loss = getattr(load_config(source.base), "problem_type", None) if traits.has_classes else None
    if loss in _OTHER_LOSSES and not source.is_adapter:
        raise ConfigError(
            f"{source.folder / 'config.json'}: problem_type: expected a classifier of one label a "
            f"text (single_label_classification), got {loss}"
        )
    return TaskSettings(
        name="input",
        kind=kind,
        source=FilesSource(files={}),
        text=() if traits.generates else tuple(text),
        labels=source.labels,
        prompt=_build_prompt(source, text) if traits.generates else None,
        metric=metrics_of(kind)[0],
        max_length=fit_positions(source.base, DEFAULT_LENGTH),
    )


def _build_prompt(source: ModelFolder, text: Sequence[str]) -> PromptSettings:
    """Returns the columns as they are, a paragraph each, in the model's chat if it has one."""
    for column in text:
        if not column.isidentifier():
            raise ConfigError(
                f"--text {column}: expected a name of letters, digits and _ for a prompt's column"
            )
    return plain_prompt(source, load_folder_tokenizer(source), text)


def _prompt_columns(task: TaskSettings) -> tuple[str, ...]:
    assert task.prompt is not None
    return placeholders((task.prompt.system or "") + task.prompt.template)


def _require_column(table: RowTable, column: str, flag: str) -> None:
    """Every row must have the column; JSONL rows need not be alike."""
    missing = [index for index, row in enumerate(table.rows) if column not in row]
    if not missing:
        return
    near = suggest_nearest(column, table.rows[missing[0]])
    if len(missing) == len(table.rows):
        raise DataError(f"{table.origin}: no column '{column}'{near}; name another with {flag}")
    raise DataError(f"{table.place(missing[0])}: no '{column}'{near}{_and_more(missing)}")


def _read_ids(table: RowTable, column: str | None) -> tuple[str, list[str]]:
    if column is None:
        same = [name for name in table.rows[0] if name.lower() == DEFAULT_ID]
        if not same:
            return DEFAULT_ID, [str(index) for index in range(len(table.rows))]
        column = same[0]
    _require_column(table, column, "--id")
    first: dict[str, int] = {}
    repeated: list[int] = []
    for index, row in enumerate(table.rows):
        value = row[column]
        if value is None or not str(value).strip():
            raise table.refuse(index, column, "an id", value)
        if first.setdefault(str(value), index) != index:
            repeated.append(index)
    if repeated:
        value = str(table.rows[repeated[0]][column])
        earlier = table.numbers[first[value]]
        raise DataError(
            f"{table.place(repeated[0])}: column '{column}': id {value!r} stands in {table.unit} "
            f"{earlier} too; expected each id once{_and_more(repeated)}"
        )
    return column, list(first)


def _read_texts(
    table: RowTable, columns: Sequence[str], *, allow_empty: bool
) -> list[tuple[str, ...]]:
    texts: list[tuple[str, ...]] = []
    empty: list[tuple[int, str]] = []
    for index, row in enumerate(table.rows):
        cells = tuple("" if row[column] is None else row[column] for column in columns)
        for column, cell in zip(columns, cells, strict=True):
            if not isinstance(cell, str):
                raise table.refuse(index, column, "a text", cell)
            if not cell.strip():
                empty.append((index, column))
        texts.append(cells)
    if empty and not allow_empty:
        index, column = empty[0]
        error = table.refuse(index, column, "a text that is not empty", table.rows[index][column])
        raise DataError(
            f"{error}{_and_more(empty)}; fill it in, or predict empty texts too (--allow-empty)"
        )
    return texts


def _and_more(rows: Sequence[object]) -> str:
    return f" (and {len(rows) - 1} more rows)" if len(rows) > 1 else ""
