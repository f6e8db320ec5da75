"""What a study uses of the machine it runs on; no effect on results."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from phasewise.settings.base import Section


class MachineSettings(Section):
    """What one controller may use on its machine; no effect on results."""

    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="auto: the GPUs if there is one."
    )
    workers: int | None = Field(
        None,
        ge=1,
        description="Worker processes of a unit; null: one a GPU, or one on CPU, where Snakemake "
        "puts other units on the other cores.",
    )
    threads: int = Field(1, ge=1, description="CPU threads of a worker: 1 or few.")
    slots: int | None = Field(
        None,
        ge=1,
        description="Runs that a worker trains together, where they can; null: as many as memory "
        "holds and as still raise the tokens per second, both measured.",
    )
    gpus_per_run: int = Field(
        1,
        ge=1,
        description="Devices that train one run together, each a share of every batch (DDP); on a "
        "CPU, processes. More than 1: through transformers' Trainer, one run after another.",
    )
    fsdp_config: Path | None = Field(
        None,
        description="JSON file, relative to the study, of what transformers' `fsdp_config` takes: "
        "with gpus_per_run, each device holds a part of the weights (FSDP2). `{}` will do.",
    )
    deepspeed_config: Path | None = Field(
        None,
        description="JSON file, relative to the study, of DeepSpeed's settings, in place of "
        "fsdp_config; needs the package deepspeed.",
    )
    kernels: bool = Field(
        True,
        description="Compiled kernels for packed steps on one CPU thread, if a C++ compiler is "
        "there; false: PyTorch computes the same, slower.",
    )
    checkpoint_minutes: float | None = Field(
        10,
        gt=0,
        description="A run is saved after so many minutes of training each, and before its process "
        "ends if more than a tenth of them would be lost; its next attempt goes on from there. Two "
        "checkpoints are kept at most, until it has ended. null: never saved.",
    )

    @property
    def cores(self) -> int:
        """CPU cores that a unit's workers use."""
        return self.threads * (self.workers or 1) * self.gpus_per_run


class ResourceSettings(Section):
    """What one Snakemake job asks of a cluster."""

    gpu: int = Field(0, ge=0, description="GPUs.")
    mem_mb: int = Field(8000, ge=500, description="Memory, MB.")
    runtime: int = Field(240, ge=1, description="Minutes.")
