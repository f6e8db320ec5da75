"""The hyperparameters of one run; every method default, search space and record uses these."""

from collections.abc import Mapping
from math import ceil
from typing import Any, Literal

from pydantic import Field, model_validator

from phasewise.settings.base import Section
from phasewise.settings.target_modules import TargetModules

Sampling = Literal["shuffle", "balanced"]
ClassWeights = Literal["none", "sqrt", "balanced"]
Schedule = Literal["linear", "cosine", "constant_with_warmup", "constant", "polynomial"]
#: Hyperparameter to the one that it overrules, so that giving both would waste the second.
OVERRULES = {
    "device_batch_size": "batch_size",
    "warmup_steps": "warmup_ratio",
    "lora_alpha_over_rank": "lora_alpha",
}
#: What an adapter's configuration may take of a run (see ``MethodSettings.peft``).
ADAPTER_HYPERPARAMETERS = ("lora_rank", "lora_alpha", "lora_dropout", "target_modules")


class Hyperparameters(Section):
    """A complete set; entries of adapters are ignored by methods that do not take them."""

    learning_rate: float = Field(gt=0, lt=1, description="Peak rate of AdamW.")
    batch_size: int = Field(ge=1, description="Rows per optimizer step (the effective batch).")
    epochs: float = Field(gt=0, le=1000, description="Passes over the train sample.")
    device_batch_size: int | None = Field(
        None,
        ge=1,
        description="Rows per forward pass. If given, batch_size is this times "
        "gradient_accumulation_steps; null: as many as fit.",
    )
    gradient_accumulation_steps: int = Field(
        1, ge=1, description="Forward passes per optimizer step; needs device_batch_size."
    )
    warmup_ratio: float = Field(0.06, ge=0, lt=1, description="Share of all steps.")
    warmup_steps: int | None = Field(
        None, ge=0, description="If given, this many steps instead of warmup_ratio."
    )
    weight_decay: float = Field(0.0, ge=0, le=1, description="AdamW, decoupled.")
    lr_scheduler_type: Schedule = Field("linear", description="After warm-up.")
    lora_rank: int = Field(8, ge=1, description="r.")
    lora_alpha: float = Field(16, gt=0, description="Scale is alpha/r (rsLoRA: alpha/sqrt r).")
    lora_alpha_over_rank: float | None = Field(
        None, gt=0, description="If given, lora_alpha is this times lora_rank."
    )
    lora_dropout: float = Field(0.0, ge=0, lt=1, description="On the adapter's input.")
    target_modules: TargetModules = Field(
        "all", description="Group, or roles joined by +; resolved per model family."
    )
    max_length: int | None = Field(
        None, ge=8, description="Tokens of a training example; null: the task's. Scores keep it."
    )
    sampling: Sampling | None = Field(
        None,
        description="null, shuffle: each row once per epoch. balanced: as many draws, with "
        "replacement, each class as likely as any other (classification).",
    )
    class_weights: ClassWeights | None = Field(
        None,
        description="Weight of a row's loss by its class (classification). null, none: 1. "
        "balanced: rows / (classes x rows of the class). sqrt: its square root.",
    )
    loraplus_lr_ratio: float = Field(16, ge=1, description="LoRA+: rate of B over rate of A.")

    @model_validator(mode="before")
    @classmethod
    def _tie(cls, data: object) -> object:
        if not isinstance(data, dict):
            return data
        if data.get("lora_alpha_over_rank") is not None:
            rank = data.get("lora_rank", cls.model_fields["lora_rank"].default)
            data = {**data, "lora_alpha": data["lora_alpha_over_rank"] * rank}
        if data.get("device_batch_size") is not None:
            steps = data.get("gradient_accumulation_steps", 1)
            data = {**data, "batch_size": data["device_batch_size"] * steps}
        return data

    @property
    def schedule(self) -> Schedule:
        """What transformers calls it: its own ``constant`` leaves out the warm-up."""
        constant = self.lr_scheduler_type == "constant"
        return "constant_with_warmup" if constant else self.lr_scheduler_type

    @property
    def warmup(self) -> float:
        """Warm-up as transformers takes it: below 1 a share of all steps, else steps."""
        return self.warmup_ratio if self.warmup_steps is None else self.warmup_steps

    def count_steps(self, rows: int) -> int:
        """Returns the optimizer steps of a training on so many rows."""
        return count_steps(rows, self.batch_size, self.epochs)

    def count_warmup_steps(self, steps: int) -> int:
        """Returns the steps of warm-up in a training of so many steps."""
        return ceil(steps * self.warmup_ratio) if self.warmup_steps is None else self.warmup_steps

    def rows_at_once(self, limit: int | None = None) -> int:
        """Returns the rows of a forward pass before memory is known, at most ``limit``."""
        return min(self.batch_size, self.device_batch_size or self.batch_size, limit or 2**31)


def merge_hyperparameters(default: Hyperparameters, drawn: Mapping[str, Any]) -> Hyperparameters:
    """Returns the published default with the drawn values over it.

    A drawn ``lora_alpha`` frees alpha from a ratio that only the default holds; batch size and
    warm-up likewise.
    """
    values = default.model_dump()
    values |= dict.fromkeys(find_freed(drawn))
    return Hyperparameters.model_validate({**values, **drawn})


def count_steps(rows: int, batch_size: int, epochs: float) -> int:
    """Returns the optimizer steps of a training; an epoch's last batch may be smaller."""
    return ceil(ceil(rows / batch_size) * epochs)


def find_freed(given: Mapping[str, Any]) -> set[str]:
    """Returns the hyperparameters that would overrule some of the given ones, and are not given."""
    return {over for over, name in OVERRULES.items() if name in given and over not in given}


def find_settled(given: Mapping[str, Any]) -> set[str]:
    """Returns the hyperparameters that the given ones leave nothing to decide of; none of these."""
    overruled = {name for over, name in OVERRULES.items() if over in given}
    return (find_freed(given) | overruled) - set(given)
