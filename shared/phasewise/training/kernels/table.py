"""The table of all kernels: each module here lists its own in ``KERNELS``."""

from importlib import import_module
from pathlib import Path

from phasewise.training.kernels.library import Kernel


def all_kernels() -> tuple[Kernel, ...]:
    """Returns every entry, by module."""
    names = sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))
    modules = [import_module(f"phasewise.training.kernels.{name}") for name in names]
    return tuple(kernel for module in modules for kernel in getattr(module, "KERNELS", ()))
