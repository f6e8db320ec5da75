"""Compiles the kernels once with the C++ compiler at hand, and finds the one for a tensor."""

import ctypes
import hashlib
import os
import subprocess
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch

from phasewise.hub import cache_folder
from phasewise.training.hardware import COMPILERS, describe_processor, find_compiler

#: Names the processors to compile for, as the compiler's -march does; this one unless it is set.
#: With `x86-64-v3` the kernels of a machine with AVX-512 are those of one with AVX2.
MARCH_VARIABLE = "PHASEWISE_KERNEL_MARCH"
#: Not -ffast-math: linking with it would change how the whole process rounds small numbers.
_FLAGS = (
    *("-O3", "-std=c++17", "-shared", "-fPIC", "-Wall", "-Wextra"),
    *("-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast"),
)
_PATIENCE = 120.0
_HERE = Path(__file__).resolve().parent
_NAMES = {torch.float32: "float", torch.bfloat16: "bfloat16", torch.int16: "int16"}


class NoKernelsWarning(UserWarning):
    """There are no compiled kernels; PyTorch computes the same, slower. The message says why."""


class Kernel(NamedTuple):
    """What is computed by compiled functions, and what they are held against."""

    functions: tuple[str, ...]
    """Names for ``find_kernel``."""
    reference: str
    """``module:name`` of what computes the same without them."""
    test: str
    """``file::function`` below ``tests/unit/training``: both compute the same."""
    step: str
    """The step of ``python benchmarks/packed.py --ablate`` that prints the gain."""


class _Choice:
    """Whether kernels are used; off until an engine asks for them."""

    wanted = False


def use_kernels(wanted: bool) -> None:
    """Says whether ``find_kernel`` may find any, in this process."""
    _Choice.wanted = wanted


def find_kernel(name: str, tensor: torch.Tensor) -> Any:
    """Returns a function of the library; None where PyTorch is to compute instead.

    Kernels use one thread, so there are none for a process with more.

    Args:
        name: As in the sources, without the type at its end.
        tensor: Of the type and on the device that it is to work on.
    """
    if not _Choice.wanted or tensor.device.type != "cpu" or tensor.dtype not in _NAMES:
        return None
    if torch.get_num_threads() != 1 or (library := _load()) is None:
        return None
    return _look_up(library, f"{name}_{_NAMES[tensor.dtype]}")


def address_of(tensor: torch.Tensor | None) -> ctypes.c_void_p:
    """Returns where a tensor's values lie, for a kernel; null for None."""
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())


@cache
def _look_up(library: ctypes.CDLL, name: str) -> Any:
    kernel = getattr(library, name)
    kernel.restype = None
    return kernel


@cache
def _load() -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(str(_find_library()))
    except (OSError, subprocess.SubprocessError) as error:
        output = getattr(error, "stderr", None) or str(error)
        told = output.strip().splitlines()[-1] if output.strip() else type(error).__name__
        message = f"no compiled kernels, so steps are slower: {told}"
        warnings.warn(message, NoKernelsWarning, stacklevel=2)
        return None


def _find_library() -> Path:
    """Returns the library for these sources, this compiler and this processor.

    Raises:
        OSError: There is no compiler, or no folder to write to.
        subprocess.SubprocessError: It refused the sources.
    """
    compiler = find_compiler()
    if compiler is None:
        raise OSError(f"expected a C++ compiler in PATH ({', '.join(COMPILERS)}), found none")
    sources = sorted(_HERE.glob("*.cpp"))
    parts = [path.read_bytes() for path in (*sources, *sorted(_HERE.glob("*.h")))]
    flags = [f"-march={os.environ.get(MARCH_VARIABLE, 'native')}", *_FLAGS]
    parts += [" ".join(flags).encode(), compiler.encode(), describe_processor().encode()]
    name = f"kernels-{hashlib.sha256(b'|'.join(parts)).hexdigest()[:16]}.so"
    for folder in _folders():
        if (folder / name).is_file():
            return folder / name
    for folder in _folders():
        if path := _compile([compiler, *flags, *map(str, sources)], folder / name):
            return path
    raise OSError(f"no folder can be written to: {', '.join(map(str, _folders()))}")


def _folders() -> Iterator[Path]:
    """Yields where the library may lie: with Python's own compiled files, else in the cache."""
    yield _HERE / "__pycache__"
    yield cache_folder() / "kernels"


def _compile(command: list[str], to: Path) -> Path | None:
    """Returns the library, written whole or not at all; None if the folder is read-only."""
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        scratch = TemporaryDirectory(dir=to.parent)
    except OSError:
        return None
    with scratch as own:
        made = Path(own) / to.name
        whole = [*command, "-o", str(made)]
        subprocess.run(whole, capture_output=True, text=True, timeout=_PATIENCE, check=True)
        os.replace(made, to)
    return to
