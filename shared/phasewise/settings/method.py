"""One fine-tuning method: how it alters a model, and its published default."""

from typing import Any, Literal

from pydantic import Field, model_validator

from phasewise.settings.base import Section

MethodKind = Literal["full", "lora", "bias", "frozen"]


class MethodSettings(Section):
    """One file in ``shared/methods/``; a study may override any key under ``methods:``."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_]*$", description="The file's name.")
    description: str = Field("", description="One sentence for `phasewise list`; no effect.")
    kind: MethodKind = Field(
        description="full: every weight trains. lora: low-rank adapters. bias: bias vectors and "
        "the head (arXiv 2106.10199). frozen: the head only."
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
    space: str = Field(description="Section of the search-space file that this method uses.")
    source: str = Field(description="Where the published default comes from.")
    defaults: dict[str, Any] = Field(description="Published default (see Hyperparameters).")
    defaults_by_task: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="What the publication changes for a named task."
    )

    @model_validator(mode="after")
    def _check_flags(self) -> "MethodSettings":
        adapters = self.use_dora or self.use_rslora or self.use_loraplus
        if self.kind != "lora" and (adapters or self.quantization != "none"):
            raise ValueError("use_* and quantization need kind: lora")
        return self

    @property
    def trains_adapter(self) -> bool:
        """Whether a run leaves an adapter rather than a whole model."""
        return self.kind == "lora"
