"""The clone that all is brought to, and how the command is called there."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from clones import Clone
from typer.testing import CliRunner, Result

from phasewise.cli.app import app
from phasewise.settings import Study


@pytest.fixture
def study(write_study: Callable[..., Study]) -> Study:
    """The study as the clone has it that all is brought to; it is the current folder."""
    return write_study()


@pytest.fixture
def clone(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Clone]:
    """Makes another machine's clone."""

    def make(host: str, of: Study = study) -> Clone:
        return Clone(of, tmp_path_factory.mktemp(host), host)

    return make


@pytest.fixture
def merge(study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Calls the command in the study's clone."""
    monkeypatch.setenv("PHASEWISE_CACHE", str(tmp_path / "cache"))

    def call(*sources: Any, **how: Any) -> Result:
        options = [f"--{k.replace('_', '-')}={v}" for k, v in how.items() if v is not True]
        flags = [f"--{k.replace('_', '-')}" for k, v in how.items() if v is True]
        words = ["merge", "--study", str(study.path), *options, *flags, *map(str, sources)]
        return CliRunner().invoke(app, words)

    return call
