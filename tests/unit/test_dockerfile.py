"""The image's build context holds what the package's build needs (no Docker here to build it)."""

import re
import runpy
import shlex
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import setuptools

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")


def _copied() -> set[str]:
    lines = re.findall(r"^COPY (.+)$", DOCKERFILE, re.MULTILINE)
    return {source for line in lines for source in shlex.split(line)[:-1]}


def test_what_is_copied_is_there_and_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert len(_copied()) > 8
    for source in _copied():
        assert (ROOT / source).exists(), source
        assert not any(fnmatch(source, pattern) for pattern in ignored), source


def test_all_that_the_build_reads_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setuptools, "setup", lambda **_: None)
    bundled: Any = runpy.run_path(str(ROOT / "setup.py"))["BUNDLED"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {*bundled, project["readme"], *project["license-files"], "pyproject.toml", "setup.py"}
    assert needed <= _copied()


def test_python_is_one_that_the_package_takes_and_root_is_left() -> None:
    version = re.search(r"^FROM python:(\d+)\.(\d+)", DOCKERFILE, re.MULTILINE)
    floor = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert version is not None
    assert tuple(map(int, version.groups())) >= tuple(map(int, floor.strip(">=").split(".")))
    instructions = [line.split()[0] for line in DOCKERFILE.splitlines() if line[:1].isupper()]
    assert instructions.index("USER") < instructions.index("ENTRYPOINT")
    assert instructions[-2:] == ["ENTRYPOINT", "CMD"]
