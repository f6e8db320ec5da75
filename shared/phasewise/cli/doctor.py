"""``phasewise doctor``: what this machine has, a line each, with the remedy where it lacks some.

PyTorch is not imported: an installation without it, or a broken one, is told too.
"""

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import typer

from phasewise import __version__
from phasewise.cli.options import JsonOption, print_json
from phasewise.hub import answers, cache_folder, hub_endpoint, is_offline_wanted
from phasewise.provenance import code_revision
from phasewise.settings import BUNDLED, MachineSettings
from phasewise.tracking.marker import choose_mode
from phasewise.training.hardware import COMPILERS, find_compiler, find_gpus

#: Free space below which a study may not end: adapters, storages and the cache of a hub model.
_LITTLE_GB = 5.0
#: The GPU generation (Ampere) from which on bfloat16 is computed in hardware.
_BFLOAT16_CAPABILITY = 8.0
_PIN = re.compile(r"^([A-Za-z0-9_.-]+)==(\S+)$", re.MULTILINE)
_NAMED = 4


@dataclass(frozen=True)
class Finding:
    """What a check found: ``note`` costs speed or comfort, ``bad`` is in the way of studies."""

    name: str
    state: Literal["ok", "note", "bad"]
    text: str
    remedy: str = ""


def doctor(as_json: JsonOption = False) -> None:
    """Tell what this machine has and lacks for studies, a line each with the remedy.

    The exit code is 1 if anything is in the way of a study.
    """
    found = [check() for check in CHECKS]
    if as_json:
        print_json([asdict(each) for each in found])
    else:
        for each in found:
            remedy = f"; {each.remedy}" if each.remedy else ""
            typer.echo(f"{each.state:<4}  {each.name:<9}  {each.text}{remedy}")
    if any(each.state == "bad" for each in found):
        raise typer.Exit(1)


def _check_python() -> Finding:
    text = f"{platform.python_version()} on {platform.platform()}, Phasewise {__version__}"
    return Finding("python", "ok", f"{text} ({code_revision()})")


def _check_gpu() -> Finding:
    gpus, build = find_gpus(MachineSettings()), _version_of("torch")
    if build is None:
        return Finding("gpu", "bad", "PyTorch is not installed", "pip install torch")
    if not gpus:
        return Finding("gpu", "note", "none visible: studies train on the CPU")
    text = f"{len(gpus)}: {', '.join(gpus)}; PyTorch {build}"
    if build.endswith("+cpu"):
        return Finding("gpu", "bad", text, "this PyTorch uses none; install a CUDA build")
    return Finding("gpu", "ok", text)


def _check_bfloat16() -> Finding:
    if find_gpus(MachineSettings()):
        query = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
        capabilities = [float(each) for each in _output(query).split()]
        has = bool(capabilities) and min(capabilities) >= _BFLOAT16_CAPABILITY
    else:
        flags = _read(Path("/proc/cpuinfo"))
        has = "avx512_bf16" in flags or "amx_bf16" in flags
    if has:
        return Finding("bfloat16", "ok", "computed in hardware: dtype auto takes it")
    return Finding("bfloat16", "note", "not in hardware: dtype auto trains in float32")


def _check_compiler() -> Finding:
    compiler = find_compiler()
    if compiler is None:
        text = f"no C++ compiler ({', '.join(COMPILERS)}): steps on a CPU are slower"
        return Finding("compiler", "note", text, "apt-get install g++")
    return Finding("compiler", "ok", compiler)


def _check_disk() -> Finding:
    cache = cache_folder()
    existing = next(each for each in (cache, *cache.parents) if each.is_dir())
    free = {str(each): shutil.disk_usage(each).free / 1e9 for each in (Path.cwd(), existing)}
    text = ", ".join(f"{size:.0f} GB free at {folder}" for folder, size in free.items())
    if not os.access(Path.cwd(), os.W_OK):
        return Finding("disk", "bad", f"{Path.cwd()} cannot be written", "go to another folder")
    if min(free.values()) < _LITTLE_GB:
        return Finding("disk", "note", text, "free some, or set PHASEWISE_CACHE to another disk")
    return Finding("disk", "ok", text)


def _check_hub() -> Finding:
    local = "PHASEWISE_DATA=DIR and a local or package: model need none"
    if is_offline_wanted():
        return Finding("hub", "note", "HF_HUB_OFFLINE is set: only what is cached", local)
    endpoint = hub_endpoint()
    if answers(endpoint):
        return Finding("hub", "ok", f"{endpoint} answers")
    return Finding("hub", "note", f"{endpoint} does not answer", local)


def _check_wandb() -> Finding:
    mode = choose_mode(os.environ)
    if mode == "online":
        return Finding("wandb", "ok", "logged in: runs are mirrored as they train")
    return Finding("wandb", "note", f"{mode}: runs are kept on disk", "wandb login, to mirror them")


def _check_slurm() -> Finding:
    if shutil.which("sbatch") is None:
        return Finding("slurm", "ok", "not a cluster: no sbatch")
    if find_spec("snakemake_executor_plugin_slurm") is None:
        remedy = "pip install snakemake-executor-plugin-slurm"
        return Finding("slurm", "bad", "sbatch is there, Snakemake's executor is not", remedy)
    return Finding("slurm", "ok", "phasewise run STUDY --profile slurm")


def _check_profiles() -> Finding:
    own = sorted(file.parent.name for file in Path("profiles").glob("*/config.yaml"))
    if not own:
        text = "none of your own here: those of Phasewise are used"
        return Finding("profiles", "ok", text)
    missing = [name for name in own if not Path(name, "config.yaml").is_file()]
    if missing:
        text = f"{', '.join(own)}; snakemake --profile {missing[0]} does not find its own"
        remedy = f"phasewise run does; or --profile profiles/{missing[0]}, or make setup in a clone"
        return Finding("profiles", "note", text, remedy)
    return Finding("profiles", "ok", ", ".join(own))


def _check_lock() -> Finding:
    lock = BUNDLED / "requirements.lock"
    pins = dict(_PIN.findall(_read(lock)))
    installed = {name: _version_of(name) for name in pins}
    other = [
        f"{name} {installed[name]} (locked {pin})"
        for name, pin in pins.items()
        if installed[name] is not None and str(installed[name]).split("+")[0] != pin.split("+")[0]
    ]
    absent = sum(each is None for each in installed.values())
    text = f"{len(pins) - len(other) - absent} of {len(pins)} packages as locked"
    text += f", {absent} not installed" if absent else ""
    if not other:
        return Finding("versions", "ok", text)
    more = f" and {len(other) - _NAMED} more" if len(other) > _NAMED else ""
    text += f"; other: {', '.join(other[:_NAMED])}{more}"
    return Finding("versions", "note", text, f"pip install -r {lock}, to have those tested")


#: In the order of the lines.
CHECKS: tuple[Callable[[], Finding], ...] = (
    _check_python,
    _check_gpu,
    _check_bfloat16,
    _check_compiler,
    _check_disk,
    _check_hub,
    _check_wandb,
    _check_slurm,
    _check_profiles,
    _check_lock,
)


def _version_of(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _output(command: list[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
