"""What is measured once per machine: all its processes go by the same answer.

Which of two libraries is faster decides in which order a sum is added up, so processes that each
measured for themselves could differ in the last digit of a loss.
"""

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile

import torch

from phasewise.hub import cache_folder
from phasewise.training.hardware import describe_processor

#: Features of the processor that are hidden from the libraries.
_MASKS = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "PHASEWISE_KERNEL_MARCH")


def decide_once(question: str, measure: Callable[[], bool]) -> bool:
    """Returns the answer of the first process of this machine that asked.

    Args:
        question: Names the answer's file in the cache folder, with the processor and PyTorch.
        measure: Answers, if nobody has; where the folder cannot be written to, each time.
    """
    machine = (describe_processor(), torch.__version__, *map(os.environ.get, _MASKS))
    key = hashlib.sha256(repr(machine).encode()).hexdigest()[:16]
    path = cache_folder() / "measured" / f"{question}-{key}.json"
    if (known := _read(path)) is not None:
        return known
    answer = measure()
    with suppress(OSError):
        _write_first(path, answer)
    known = _read(path)
    return answer if known is None else known


def _read(path: Path) -> bool | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, bool) else None


def _write_first(path: Path, answer: bool) -> None:
    """Writes whole or not at all, and never over another's answer."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile("w", dir=path.parent) as scratch:
        scratch.write(json.dumps(answer))
        scratch.flush()
        os.link(scratch.name, path)
