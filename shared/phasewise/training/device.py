"""The device a run trains on: choice, precision, memory measured."""

import gc
import random
import re
import resource
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import torch
from transformers import set_seed

from phasewise.errors import ConfigError
from phasewise.settings import MachineSettings, MethodSettings, ModelSettings

_CLEAR_REFS = Path("/proc/self/clear_refs")
#: Written there, it sets the peak of the resident memory to its present size (man 5 proc).
_RESET_PEAK = "5"
#: Where a container or a SLURM job sees its own limits (cgroup v2).
_CGROUP = Path("/sys/fs/cgroup")
BYTES_PER_MB = 1e6


@dataclass(frozen=True)
class Precision:
    """Data types of a run; trained weights are always float32."""

    weights: torch.dtype
    """Of the base model's weights."""
    products: torch.dtype
    """Of matrix products, by autocast where it differs from float32."""


def seed_draws(seed: int, device: torch.device) -> None:
    """Seeds the generators that a model is drawn from: Python's, NumPy's and torch's.

    Args:
        seed: At most 32 bits.
        device: Where models lie.
    """
    if device.type != "cpu":
        set_seed(seed)
        return
    # Torch would format four stack traces, for devices that are not there.
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)


def choose_device(machine: MachineSettings, rank: int = 0) -> torch.device:
    """Returns the rank-th visible GPU, or the CPU where there is none or it was asked for.

    Raises:
        ConfigError: ``device: cuda`` where PyTorch has none.
    """
    if machine.device != "cpu" and torch.cuda.is_available():
        return torch.device("cuda", rank)
    if machine.device == "cuda":
        raise ConfigError(
            f"device cuda: PyTorch {torch.__version__} finds no GPU here; use auto or cpu, or "
            "install a build of PyTorch for this machine's CUDA driver"
        )
    return torch.device("cpu")


def choose_precision(
    model: ModelSettings, method: MethodSettings | None, device: torch.device
) -> Precision:
    """Returns the data types for a model; ``auto`` is bfloat16 where the device computes in it.

    Without a method the model is used as it was pretrained.
    """
    dtype = (method.dtype if method else None) or model.dtype
    half = dtype == "bfloat16" or (dtype == "auto" and _has_bfloat16(device))
    products = torch.bfloat16 if half else torch.float32
    # Only weights that never train may lie in bfloat16: an update can be smaller than its step.
    frozen = half and method is not None and method.trains_adapter
    return Precision(torch.bfloat16 if frozen else torch.float32, products)


def _has_bfloat16(device: torch.device) -> bool:
    """Whether products in bfloat16 run in hardware; emulated, they are slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # PyTorch names what the processor has, even where ATEN_CPU_CAPABILITY has it use less.
    uses = torch.backends.cpu.get_cpu_capability() == "AVX512"
    return uses and bool(torch.cpu.get_capabilities().get("avx512_bf16", False))


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[None]:
    """Returns the context in which forward passes run."""
    if precision.products == torch.float32:
        return nullcontext()
    context: AbstractContextManager[None] = torch.autocast(device.type, precision.products)
    return context


def describe_device(device: torch.device) -> str:
    """Returns ``cpu`` or the name of the GPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def reset_peak_memory(device: torch.device) -> None:
    """Starts a new measurement for ``peak_memory_mb``."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        _CLEAR_REFS.write_text(_RESET_PEAK)
    except OSError:
        return  # the peak since the process started is reported instead


def peak_memory_mb(device: torch.device) -> float:
    """Returns the peak in MB: the GPU allocator's, or the process's resident memory on CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / BYTES_PER_MB
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / BYTES_PER_MB if sys.platform == "darwin" else peak * 1024 / BYTES_PER_MB
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None, "no VmHWM in /proc/self/status"
    return int(found.group(1)) * 1024 / BYTES_PER_MB


def wait_for_device(device: torch.device) -> None:
    """Waits until all that was asked of a GPU is done, before a clock is read."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out on the GPU, or an allocation was refused on the CPU."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator: can't allocate" in str(error)


def release_memory(device: torch.device) -> None:
    """Gives back what a finished or failed run held."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def free_memory_bytes(device: torch.device) -> float:
    """Returns what new allocations may take: of the GPU, or of the machine and its cgroup."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return float(free + held)
    limits = [float(psutil.virtual_memory().available)]
    try:
        allowed = float((_CGROUP / "memory.max").read_text())
        limits.append(allowed - float((_CGROUP / "memory.current").read_text()))
    except (OSError, ValueError):  # no cgroup v2, or the limit is "max"
        pass
    return min(limits)


def used_memory_bytes(device: torch.device) -> float:
    """Returns what this process holds now: tensors on the GPU, or resident memory."""
    if device.type == "cuda":
        return float(torch.cuda.memory_allocated(device))
    return float(psutil.Process().memory_info().rss)


def describe_memory_error(error: BaseException) -> str:
    """Returns the message of a run that did not fit."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return f"out of memory at every micro-batch down to 1: {lines[0]}"
