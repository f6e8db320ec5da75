"""How a row of an instruction task becomes a prompt, and what is generated from it."""

import datetime
from string import Formatter
from typing import Literal

from pydantic import Field, field_validator, model_validator

from phasewise.settings.base import Section
from phasewise.settings.kinds import GeneratedMetric

ChatName = Literal["none", "model", "chatml", "mistral", "zephyr"]


def placeholders(template: str) -> tuple[str, ...]:
    """Returns the columns that a template names, each once, in order.

    Raises:
        ValueError: A brace that neither names a column nor is doubled.
    """
    found: dict[str, None] = {}
    for _, name, form, conversion in Formatter().parse(template):
        if name is None:
            continue
        if not name.isidentifier() or form or conversion:
            raise ValueError(
                f"'{{{name}}}' is no column name; write {{column}}, and braces of the text as "
                "{{ and }}"
            )
        found[name] = None
    return tuple(found)


class PromptSettings(Section):
    """Text with ``{column}`` placeholders; braces of the text itself are doubled."""

    template: str = Field(description="The prompt, or the user's message of a chat.")
    template_without: str | None = Field(
        None,
        description="Used for rows where a column that only `template` names is empty or absent "
        "(Alpaca's form without an input).",
    )
    system: str | None = Field(
        None,
        description="System message of a chat; in plain prompts a paragraph before the prompt. "
        "Left out in rows where it comes out blank.",
    )
    chat: ChatName = Field(
        "none",
        description="none: plain text. model: the tokenizer's own chat template. Else the "
        "template of that name, for models that bring none.",
    )
    date: datetime.date = Field(
        datetime.date(2024, 7, 26),
        description="What a chat template that prints today's date prints, every day (the date "
        "that Llama 3's falls back on).",
    )
    thinking: bool = Field(
        False,
        description="Whether responses bring the model's thoughts (<think>…</think>). false: what "
        "a chat template writes before a response to say that there are none is of the prompt.",
    )
    too_long: Literal["cut", "refuse"] = Field(
        "cut",
        description="A prompt that leaves its response less than a quarter of max_length. cut: it "
        "loses its start, and the log says how many did. refuse: nothing is trained or scored.",
    )

    @field_validator("template", "template_without", "system")
    @classmethod
    def _check_braces(cls, text: str | None) -> str | None:
        if text is not None:
            placeholders(text)
        return text

    @model_validator(mode="after")
    def _check_columns(self) -> "PromptSettings":
        if not placeholders(self.template):
            raise ValueError("'template' names no column, so every prompt would be the same")
        if self.template_without is not None and not self.optional_columns:
            raise ValueError("'template_without' names every column of 'template': nothing differs")
        return self

    @property
    def optional_columns(self) -> tuple[str, ...]:
        """Columns that may be empty or absent, since ``template_without`` does without them."""
        if self.template_without is None:
            return ()
        needed = placeholders(self.template_without)
        return tuple(name for name in placeholders(self.template) if name not in needed)


class GenerationSettings(Section):
    """Responses that the model writes itself, greedily; slow, so only where a metric needs them."""

    max_new_tokens: int = Field(128, ge=1, description="Longest response, tokens.")
    report_metrics: tuple[GeneratedMetric, ...] = Field(
        (),
        description="Metrics of written responses on the report set, beside the task's metric.",
    )
    on_search_set: bool = Field(
        False, description="Also at each scoring of the search set (an objective may need them)."
    )

    @model_validator(mode="after")
    def _check_metrics(self) -> "GenerationSettings":
        if self.on_search_set and not self.report_metrics:
            raise ValueError("'on_search_set' needs 'report_metrics': nothing would be written")
        return self
