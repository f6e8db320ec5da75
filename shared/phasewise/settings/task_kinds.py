"""The kinds of tasks."""

from typing import Literal

TaskKind = Literal["classification", "extractive_qa", "instruction"]
