"""A study: model, tasks, methods and budgets; the one file a user edits."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from phasewise.pruners import pruner_kind
from phasewise.samplers import sampler_kind
from phasewise.settings.base import Section, no_effect
from phasewise.settings.machine import MachineSettings, ResourceSettings
from phasewise.settings.names import Folder, Name
from phasewise.settings.objective import parse_objective
from phasewise.settings.storage_url import StorageUrl

#: The shard that holds every task; built in, so that one machine needs no ``shards:``.
ALL_SHARD = "all"


def _check_sampler(name: str) -> str:
    sampler_kind(name)
    return name


def _check_pruner(name: str) -> str:
    pruner_kind(name)
    return name


SamplerName = Annotated[str, AfterValidator(_check_sampler)]
PrunerName = Annotated[str, AfterValidator(_check_pruner)]


class ModelSettings(Section):
    """The pretrained model that every run starts from."""

    source: str = Field(
        min_length=1,
        description="Hub id, package:NAME, or a folder, relative to the YAML that names it.",
        json_schema_extra=no_effect("model_fingerprint stands for the files"),
    )
    revision: str | None = Field(
        None,
        description="Commit hash on the hub; pin it.",
        json_schema_extra=no_effect("model_fingerprint stands for the files"),
    )
    dtype: Literal["float32", "bfloat16", "auto"] = Field(
        "auto",
        description="Precision of the products. auto: bfloat16 where the device computes in it "
        "(GPU; CPU with AVX512-BF16), else float32. Trained weights are always float32.",
    )
    layers: int | None = Field(None, ge=1, description="Keep the first n layers (quick tests).")


class BaselineSettings(Section):
    """Phase 0."""

    seeds: int = Field(3, ge=2, description="Runs of each method's published default.")


class SearchSettings(Section):
    """Phase 1, for each unit (task x method)."""

    trials: int = Field(10, ge=1, description="Finished trials in all, however often resumed.")
    time_budget_hours: float | None = Field(
        None,
        gt=0,
        description="Ends the search, confirmations included, within so many hours: trials that "
        "would not end in time are not started.",
    )
    sampler: SamplerName = Field(
        "schedule",
        description="schedule: published default, Sobol until max(4, trials // 3), then TPE.",
    )
    pruner: PrunerName = Field("median", description="Stops unpromising trials early.")
    pruning_factor: int = Field(3, ge=2, description="Reduction factor of asha and hyperband.")
    stop_on_loss: bool = Field(
        False,
        description="Also stops a trial whose training loss rises or stands still, or whose search "
        "loss rises, and that scores below the best finished one.",
    )
    space: str = Field(
        "recommended",
        description="File in shared/spaces/, without .yaml.",
        json_schema_extra=no_effect("the ranges themselves are hashed"),
    )
    fixed: dict[str, Any] = Field(
        default_factory=dict, description="Hyperparameters held at a value in every unit."
    )
    confirm_top: int = Field(3, ge=1, description="Best trials re-run before the optimum is named.")
    confirm_seeds: int = Field(2, ge=2, description="Fresh seeds for each of them.")
    refine_from: str | None = Field(
        None,
        description="Study file, relative to this one, whose ended search of the same unit narrows "
        "the ranges; its optimum is trial 0. Coarse, refined and final are one study each.",
    )
    objective: str | None = Field(
        None,
        description="null: each task's metric. multi:a,b: weighted gains on the published "
        "default. pareto:a,b: the front. Of metrics and train_seconds, memory_gb, adapter_mb, "
        "trainable_parameters.",
    )
    objective_weights: tuple[float, ...] | None = Field(
        None, description="multi only, one each, > 0; null: equal. Only their ratio counts."
    )
    memory_constraint_gb: float | None = Field(
        None, gt=0, description="Peak of a run, 1e9 bytes; trials above it cannot win."
    )
    retries: int = Field(
        2,
        ge=0,
        description="New attempts for a trial whose worker died.",
        json_schema_extra=no_effect("how trials are run, not what they are"),
    )
    parallel_trials: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        "auto",
        description="Trials under way while the sampler draws from what ended ones taught; those "
        "that depend on no result (default, Sobol, grid, random) are not limited. auto: a fifth "
        "of all trials, at least 2.",
        json_schema_extra=no_effect("how trials are run, not what they are"),
    )

    @model_validator(mode="after")
    def _check_objective(self) -> "SearchSettings":
        kind, names = parse_objective(self.objective)
        weights = self.objective_weights
        if weights is not None and (kind != "multi" or len(weights) != len(names)):
            raise ValueError(
                f"objective_weights: {len(weights)} given; expected one per name of multi:…"
            )
        if weights is not None and min(weights) <= 0:
            raise ValueError("objective_weights must be above 0")
        if kind == "pareto" and not sampler_kind(self.sampler).searches_fronts:
            raise ValueError(
                f"sampler {self.sampler} has one objective; a front needs schedule, tpe, nsga2"
            )
        return self


class ValidationSettings(Section):
    """Phase 2, for each unit."""

    seeds: int = Field(10, ge=2, description="Runs of the optimum, each with fresh seeds.")


OptimizerName = Literal["adamw", "adamw_8bit", "paged_adamw_8bit"]


class TrainingSettings(Section):
    """What all runs of a study share."""

    engine: Literal["auto", "trainer", "packed"] = Field(
        "auto",
        description="packed: runs of a unit train together over one base model. trainer: one by "
        "one through transformers' Trainer. auto: packed where it can, else trainer (`plan` says "
        "why). The numbers are the same but for what dropout draws, so a run's hash leaves it out.",
        json_schema_extra=no_effect("both engines compute the same"),
    )
    evaluations_per_epoch: int = Field(1, ge=1, description="Scores on the search set.")
    evaluation_batch_size: int = Field(32, ge=1, description="Rows per forward pass of a scoring.")
    max_grad_norm: float = Field(1.0, gt=0, description="Gradient clipping, L2 norm.")
    group_by_length: bool = Field(
        False,
        description="Rows of about one length share a batch, so that little of it is padding, as "
        "the Trainer's `group_by_length` does; it pays where runs train one by one on texts of "
        "unequal length.",
    )
    micro_batch_size: int | None = Field(
        None,
        ge=1,
        description="Rows per forward pass; null: the whole batch, halved on out-of-memory.",
    )
    gradient_checkpointing: bool = Field(
        False,
        description="Compute activations a second time instead of keeping them: the memory of one "
        "layer for about a third more time. Its runs train one by one.",
        json_schema_extra=no_effect("the same numbers, computed twice"),
    )
    attention: Literal["eager", "sdpa", "flash_attention_2", "flash_attention_3"] | None = Field(
        None,
        description="transformers' attn_implementation; null: the model's default. With one, runs "
        "train one by one.",
    )
    optimizer: OptimizerName = Field(
        "adamw",
        description="adamw_8bit: bitsandbytes holds the moments in 2 bytes a weight instead of 8; "
        "paged: in CPU memory where the GPU's is full. With these, runs train one by one.",
    )
    save_adapters: bool = Field(
        True,
        description="Keep the adapters of Phase 2's runs.",
        json_schema_extra=no_effect("what is kept, not what is trained"),
    )


class TrackingSettings(Section):
    """Weights & Biases; a mirror of the records, never needed."""

    wandb: bool = Field(True, description="false: nothing is logged.")
    entity: str | None = Field(None, description="Team or user; null: the key's default.")
    projects: dict[Literal["phase0", "phase1", "phase2"], str] = Field(
        default={
            "phase0": "NLP-Phase0-Baselines",
            "phase1": "NLP-Phase1-Optuna",
            "phase2": "NLP-Phase2-Validation",
        },
        description="Project of each phase.",
    )


class StudySettings(Section):
    """One study file, for instance ``shared/config.yaml``."""

    name: Name = Field(
        description="Folder of its results in experiments/ and analysis/.",
        json_schema_extra=no_effect("a label"),
    )
    description: str = Field(
        "", description="For `phasewise list`.", json_schema_extra=no_effect("words")
    )
    seed: int = Field(0, ge=0, description="All random streams derive from it.")
    model: ModelSettings
    tasks: dict[str, dict[str, Any]] = Field(
        min_length=1,
        description="Task name to what this study changes in its YAML.",
        json_schema_extra=no_effect("hashed as they are resolved"),
    )
    methods: dict[str, dict[str, Any]] = Field(
        min_length=1,
        description="Method name to what this study changes in its YAML.",
        json_schema_extra=no_effect("hashed as they are resolved"),
    )
    shards: dict[Name, tuple[str, ...]] = Field(
        default_factory=dict,
        description="VM name to its tasks. Each task on one VM; 'all' is built in.",
        json_schema_extra=no_effect("which machine runs what"),
    )
    baselines: BaselineSettings = BaselineSettings()
    search: SearchSettings = SearchSettings()
    validation: ValidationSettings = ValidationSettings()
    training: TrainingSettings = TrainingSettings()
    machine: MachineSettings = Field(
        MachineSettings(), json_schema_extra=no_effect("results do not depend on it")
    )
    tracking: TrackingSettings = Field(TrackingSettings(), json_schema_extra=no_effect("a mirror"))
    resources: ResourceSettings = Field(
        default_factory=ResourceSettings,
        description="For every job, unless resources_by names its task or method.",
        json_schema_extra=no_effect("what a cluster is asked for"),
    )
    resources_by: dict[str, dict[str, int]] = Field(
        default_factory=dict,
        description="Task or method name to what differs for its jobs.",
        json_schema_extra=no_effect("what a cluster is asked for"),
    )
    data_dir: Path | None = Field(
        None,
        description="Folder that replaces hub sources: <dir>/<task>/<split>.jsonl.",
        json_schema_extra=no_effect("data_fingerprint stands for the rows"),
    )
    storage: StorageUrl = Field(
        None,
        description="postgresql://USER@HOST:PORT/DATABASE, without a password: controllers of "
        "several machines share each unit's runs. null: one controller at a time, in a file.",
        json_schema_extra=no_effect("who trains a run, not what it is"),
    )
    experiments_dir: Folder = Field(
        Path("experiments"),
        description="<dir>/<study>/… is written.",
        json_schema_extra=no_effect("a place"),
    )
    analysis_dir: Folder | None = Field(
        None, description="null: analysis/<study>.", json_schema_extra=no_effect("a place")
    )

    @property
    def analysis_path(self) -> Path:
        """Folder of the optima, tables, figures and the report."""
        return self.analysis_dir or Path("analysis") / self.name

    @property
    def experiments_path(self) -> Path:
        """Folder of this study's storage, records and adapters."""
        return self.experiments_dir / self.name
