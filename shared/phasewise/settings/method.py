"""One fine-tuning method: how it alters a model, and its published default."""

from typing import Any, Literal, NamedTuple

from pydantic import Field, field_validator, model_validator

from phasewise.errors import suggest_nearest
from phasewise.settings.base import Section, no_effect
from phasewise.settings.hyperparameters import ADAPTER_HYPERPARAMETERS
from phasewise.settings.names import UnitName
from phasewise.settings.target_modules import parse_target_modules

MethodKind = Literal["full", "lora", "peft", "bias", "frozen"]

#: Keys of PEFT's classes that follow from the task and the model.
_SET_BY_TASK = ("peft_type", "task_type", "modules_to_save", "fan_in_fan_out", "inference_mode")


class KindTraits(NamedTuple):
    """What a kind of method means for whoever loads, trains or saves its models."""

    trains_adapter: bool = False
    """A run leaves an adapter rather than a whole model; a fresh head always trains."""
    low_rank: bool = False
    """The adapter is LoRA's pair in one of the forms that the flags name, on any base."""
    takes_peft: bool = False
    """The method's file gives the arguments of a class of PEFT's."""
    trains_biases: bool = False
    """The base model's bias vectors train."""
    trains_base: bool = False
    """Every weight of the base model trains."""
    copies_base: bool = False
    """A run may change any weight, so that none is shared with the base model."""
    obstacle: str = ""
    """Why its runs cannot train together; empty: they can."""


#: One row per kind; ``methods.adapt`` builds the models.
_KINDS: dict[MethodKind, KindTraits] = {
    "full": KindTraits(
        trains_base=True,
        copies_base=True,
        obstacle="every weight trains, so runs share no base model",
    ),
    "lora": KindTraits(trains_adapter=True, low_rank=True),
    # Some alter the frozen weights where they start (PiSSA, OLoRA), so none is trusted with them.
    "peft": KindTraits(
        trains_adapter=True,
        takes_peft=True,
        copies_base=True,
        obstacle="the packed engine knows the low-rank adapters of kind lora only",
    ),
    "bias": KindTraits(trains_biases=True),
    "frozen": KindTraits(),
}


class MethodSettings(Section):
    """One file in ``shared/methods/``; a study may override any key under ``methods:``."""

    name: UnitName = Field(description="The file's name.", json_schema_extra=no_effect("a label"))
    description: str = Field(
        "",
        description="One sentence for `phasewise list`; no effect.",
        json_schema_extra=no_effect("words"),
    )
    kind: MethodKind = Field(
        description="full: every weight trains. lora: low-rank adapters. peft: any adapter of "
        "PEFT. bias: bias vectors and the head (arXiv 2106.10199). frozen: the head only."
    )
    peft: dict[str, Any] | None = Field(
        None,
        description="kind peft: `type`, a name of PEFT's (VERA, IA3, …), and what its config class "
        "takes. $lora_rank, $lora_alpha, $lora_dropout and $target_modules stand for a run's "
        "hyperparameters, {layers: down} for the targeted layers of a group or of roles.",
    )
    use_dora: bool = Field(False, description="Weight-decomposed LoRA (arXiv 2402.09353).")
    use_rslora: bool = Field(False, description="Scale alpha/sqrt(r) (arXiv 2312.03732).")
    use_loraplus: bool = Field(False, description="Higher rate for B (arXiv 2402.12354).")
    quantization: Literal["none", "nf4", "int8"] = Field(
        "none", description="How the frozen base weights are held (bitsandbytes)."
    )
    dtype: Literal["float32", "bfloat16", "auto"] | None = Field(
        None, description="As in `model`, for this method only; null: the study's."
    )
    space: str = Field(
        description="Section of the search-space file that this method uses; where the file has "
        "none of that name, its section `default`.",
        json_schema_extra=no_effect("the ranges themselves are hashed"),
    )
    source: str = Field(
        description="Where the published default comes from.", json_schema_extra=no_effect("words")
    )
    defaults: dict[str, Any] = Field(
        description="Published default (see Hyperparameters).",
        json_schema_extra=no_effect("each run holds its own hyperparameters"),
    )
    defaults_by_task: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="What the publication changes for a named task.",
        json_schema_extra=no_effect("each run holds its own hyperparameters"),
    )

    @field_validator("peft")
    @classmethod
    def _check_peft(cls, peft: dict[str, Any] | None) -> dict[str, Any] | None:
        if peft is None:
            return None
        if not isinstance(peft.get("type"), str):
            raise ValueError("expected `type`, a name of PEFT's such as VERA")
        for key, value in peft.items():
            if key in _SET_BY_TASK:
                raise ValueError(f"{key} follows from the task and the model; leave it out")
            if isinstance(value, dict) and set(value) == {"layers"}:
                parse_target_modules(str(value["layers"]))
            name = placeholder(value)
            if name is not None and name not in ADAPTER_HYPERPARAMETERS:
                near = suggest_nearest(name, ADAPTER_HYPERPARAMETERS)
                raise ValueError(f"{key}: ${name} is no hyperparameter of adapters{near}")
        return peft

    @model_validator(mode="after")
    def _check_flags(self) -> "MethodSettings":
        flags = self.use_dora or self.use_rslora or self.use_loraplus
        if not self.traits.low_rank and (flags or self.quantization != "none"):
            raise ValueError("use_* and quantization need kind: lora")
        if self.traits.takes_peft != (self.peft is not None):
            raise ValueError("kind: peft needs `peft: {type: …}`, and no other kind takes it")
        return self

    @property
    def traits(self) -> KindTraits:
        """What its kind means for whoever loads, trains or saves its models."""
        return _KINDS[self.kind]

    @property
    def trains_adapter(self) -> bool:
        """Whether a run leaves an adapter rather than a whole model."""
        return self.traits.trains_adapter

    @property
    def adapter(self) -> dict[str, Any]:
        """What PEFT's config class takes, in the form of ``peft``; empty without an adapter."""
        if not self.traits.low_rank:
            return self.peft or {}
        return {
            "type": "LORA",
            "r": "$lora_rank",
            "lora_alpha": "$lora_alpha",
            "lora_dropout": "$lora_dropout",
            "target_modules": "$target_modules",
            "use_dora": self.use_dora,
            "use_rslora": self.use_rslora,
        }

    def takes(self, hyperparameter: str) -> bool:
        """Returns whether a hyperparameter has an effect on this method."""
        if hyperparameter == "loraplus_lr_ratio":
            return self.use_loraplus
        if hyperparameter == "lora_alpha_over_rank":
            return self.takes("lora_alpha")
        if hyperparameter not in ADAPTER_HYPERPARAMETERS:
            return True
        return hyperparameter in map(placeholder, self.adapter.values())


def placeholder(value: Any) -> str | None:
    """Returns the hyperparameter that a value of ``MethodSettings.peft`` stands for, if it does."""
    return value[1:] if isinstance(value, str) and value.startswith("$") else None
