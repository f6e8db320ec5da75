"""The hyperparameters of one run; every method default, search space and record uses these."""

from typing import Literal

from pydantic import Field, model_validator

from phasewise.settings.base import Section

ModuleGroup = Literal["attention", "query_value", "mlp", "core", "minimal", "all"]
Schedule = Literal["linear", "cosine", "constant_with_warmup", "constant", "polynomial"]


class Hyperparameters(Section):
    """A complete set; the LoRA entries are ignored by methods without low-rank adapters."""

    learning_rate: float = Field(gt=0, lt=1, description="Peak rate of AdamW.")
    batch_size: int = Field(ge=1, description="Rows per optimiser step (the effective batch).")
    epochs: float = Field(gt=0, le=1000, description="Passes over the train sample.")
    warmup_ratio: float = Field(0.06, ge=0, lt=1, description="Share of all steps.")
    weight_decay: float = Field(0.0, ge=0, le=1, description="AdamW, decoupled.")
    lr_scheduler_type: Schedule = Field("linear", description="After warm-up.")
    lora_rank: int = Field(8, ge=1, description="r.")
    lora_alpha: float = Field(16, gt=0, description="Scale is alpha/r (rsLoRA: alpha/sqrt r).")
    lora_alpha_over_rank: float | None = Field(
        None, gt=0, description="If given, lora_alpha is this times lora_rank (FACTS F5)."
    )
    lora_dropout: float = Field(0.0, ge=0, lt=1, description="On the adapter's input.")
    target_modules: ModuleGroup = Field("all", description="Group resolved per model family.")
    max_length: int | None = Field(
        None, ge=8, description="Tokens of a training example; null: the task's. Scores keep it."
    )
    loraplus_lr_ratio: float = Field(16, ge=1, description="LoRA+: rate of B over rate of A.")

    @model_validator(mode="before")
    @classmethod
    def _tie_alpha(cls, data: object) -> object:
        if isinstance(data, dict) and data.get("lora_alpha_over_rank") is not None:
            rank = data.get("lora_rank", cls.model_fields["lora_rank"].default)
            return {**data, "lora_alpha": data["lora_alpha_over_rank"] * rank}
        return data
