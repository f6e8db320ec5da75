"""Which devices a machine has; looked up without torch, so that a controller can plan workers."""

import os
import platform
import shutil
import subprocess
from pathlib import Path

from phasewise.errors import ConfigError
from phasewise.settings import MachineSettings

#: In the order of preference.
COMPILERS = ("g++", "c++", "clang++")


def find_compiler() -> str | None:
    """Returns the path of a C++ compiler, which makes steps on a CPU faster."""
    return next(filter(None, map(shutil.which, COMPILERS)), None)


def describe_processor() -> str:
    """Returns what ``-march=native`` follows from: clusters share a home between processors."""
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.is_file():
        return f"{platform.machine()} {platform.processor()}"
    wanted = ("model name", "flags", "Features", "CPU part")
    lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(sorted({line for line in lines if line.startswith(wanted)}))


def find_gpus(machine: MachineSettings) -> list[str]:
    """Returns the ids of the GPUs that workers may use, as CUDA_VISIBLE_DEVICES wants them.

    Raises:
        ConfigError: ``device: cuda`` on a machine without a visible GPU.
    """
    if machine.device == "cpu":
        return []
    gpus = _visible_gpus()
    if not gpus and machine.device == "cuda":
        raise ConfigError(
            "machine.device: expected a CUDA GPU, found none (CUDA_VISIBLE_DEVICES, nvidia-smi); "
            "use device: auto or cpu, or ask the cluster for a GPU"
        )
    return gpus


def find_gpu_groups(machine: MachineSettings) -> list[str]:
    """Returns the GPUs of each run that can train at once, as CUDA_VISIBLE_DEVICES wants them.

    Raises:
        ConfigError: See ``find_gpus``; or there are fewer than one run needs.
    """
    gpus, each = find_gpus(machine), machine.gpus_per_run
    if gpus and len(gpus) < each:
        raise ConfigError(
            f"machine.gpus_per_run {each}: this machine shows {len(gpus)}; ask for more, lower it, "
            "or use device: cpu"
        )
    return [",".join(gpus[i : i + each]) for i in range(0, len(gpus) - each + 1, each)]


def describe_crowding(machine: MachineSettings) -> str:
    """Returns one line if ``machine.workers`` share devices; empty if each has its own.

    Workers take the GPUs in turn, so none shares one before every GPU has a worker.
    """
    if machine.workers is None:
        return ""
    gpus = len(find_gpu_groups(machine)) * machine.gpus_per_run
    if gpus:
        shared = "1 GPU" if gpus == 1 else f"{gpus} GPUs"
        crowded = f"{machine.workers} workers share {shared}: they slow each other down"
        return crowded if machine.workers * machine.gpus_per_run > gpus else ""
    cores = os.cpu_count() or 1
    held = "1 CPU core" if cores == 1 else f"{cores} CPU cores"
    return (
        f"{machine.cores} threads of {machine.workers} workers share {held} (no GPU): "
        "they slow each other down"
        if machine.cores > cores
        else ""
    )


def _visible_gpus() -> list[str]:
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [part.strip() for part in named.split(",") if part.strip() not in ("", "-1")]
    command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return done.stdout.split()
