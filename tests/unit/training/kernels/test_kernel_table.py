"""Every compiled function is in the table, with what it is held against."""

import re
import shutil
import subprocess
from functools import reduce
from importlib import import_module
from pathlib import Path

import pytest

from phasewise.training.kernels import library
from phasewise.training.kernels.library import Kernel
from phasewise.training.kernels.table import all_kernels

ROOT = Path(__file__).parents[4]
TABLE = all_kernels()
FUNCTIONS = [name for kernel in TABLE for name in kernel.functions]


@pytest.mark.skipif(not (shutil.which("g++") and shutil.which("nm")), reason="no compiler")
def test_every_compiled_function_has_one_entry() -> None:
    listed = subprocess.run(
        ["nm", "-D", "--defined-only", library._find_library()],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found = set(re.findall(r" T ([a-z]\w+)_(?:float|bfloat16|int16)$", listed, re.MULTILINE))
    assert sorted(FUNCTIONS) == sorted(found)


@pytest.mark.parametrize("kernel", TABLE, ids=lambda kernel: kernel.functions[0])
def test_reference_test_and_measurement_are_there(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, name = kernel.reference.split(":")
    assert callable(reduce(getattr, name.split("."), import_module(module)))
    file, function = kernel.test.split("::")
    text = (ROOT / "tests/unit/training" / file).read_text(encoding="utf-8")
    assert f"def {function}(" in text
    monkeypatch.syspath_prepend(str(ROOT))
    packed = import_module("benchmarks.packed")
    assert kernel.step in (*packed.STEPS, *packed.STEPS_OF_ALL)
