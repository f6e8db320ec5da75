"""Where kernels come from, and what happens without them."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from phasewise.training.kernels import library
from phasewise.training.kernels.elementwise import Gelu
from phasewise.training.kernels.library import NoKernelsWarning, find_kernel, use_kernels


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    use_kernels(False)  # an engine of an earlier test may have asked for them
    library._load.cache_clear()
    yield
    use_kernels(False)
    library._load.cache_clear()
    torch.set_num_threads(threads)


def test_there_are_none_unless_asked_for() -> None:
    assert find_kernel("gelu", torch.zeros(1)) is None


@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler")
def test_only_for_one_thread_and_types_that_are_known() -> None:
    use_kernels(True)
    assert find_kernel("gelu", torch.zeros(1)) is not None
    assert find_kernel("gelu", torch.zeros(1, dtype=torch.float64)) is None
    assert find_kernel("gelu", torch.zeros(1, device="meta")) is None
    torch.set_num_threads(2)
    assert find_kernel("gelu", torch.zeros(1)) is None


def test_without_a_compiler_one_line_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    use_kernels(True)
    with pytest.warns(NoKernelsWarning, match=r"expected a C\+\+ compiler in PATH .*found none"):
        assert find_kernel("gelu", torch.zeros(1)) is None
    values = torch.randn(5)
    torch.testing.assert_close(Gelu()(values), torch.nn.functional.gelu(values))


def test_a_compiler_that_refuses_is_told_of(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    compiler = tmp_path / "g++"
    compiler.write_text("#!/bin/sh\necho 'unknown option' >&2; exit 1\n", encoding="utf-8")
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin")
    use_kernels(True)
    with pytest.warns(NoKernelsWarning, match="unknown option"):
        assert find_kernel("gelu", torch.zeros(1)) is None


@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler")
def test_it_is_compiled_once_and_where_that_can_be_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    blocked, kept = tmp_path / "file" / "folder", tmp_path / "cache"
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setattr(library, "_folders", lambda: iter((blocked, kept)))
    path = library._find_library()
    assert path.parent == kept
    assert [entry.name for entry in kept.iterdir()] == [path.name]
    monkeypatch.setattr(subprocess, "run", None)
    assert library._find_library() == path


@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler")
def test_other_processors_get_a_library_of_their_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    compiled: list[list[str]] = []

    def note(command: list[str], **_: object) -> None:
        compiled.append(command)
        Path(command[-1]).touch()

    monkeypatch.setattr(library, "_folders", lambda: iter((tmp_path,)))
    monkeypatch.setattr(subprocess, "run", note)
    monkeypatch.delenv(library.MARCH_VARIABLE, raising=False)
    own = library._find_library()
    monkeypatch.setenv(library.MARCH_VARIABLE, "x86-64-v3")
    assert library._find_library() != own
    assert [command[1] for command in compiled] == ["-march=native", "-march=x86-64-v3"]
