"""Runs Snakemake as a user would, in a folder of the test's own."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
Snakemake = Callable[..., subprocess.CompletedProcess[str]]


def snakemake_command(folder: Path, profile: str, study: Path, vm: str, *more: str) -> list[str]:
    return [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")),
        *("--directory", str(folder), "--profile", str(ROOT / "profiles" / profile)),
        *more,
        *("--config", f"study={study}", f"vm={vm}"),
    ]


@pytest.fixture
def snakemake(tmp_path: Path) -> Snakemake:
    """Calls snakemake to its end; stdout and stderr come back as one text."""

    def call(
        profile: str, study: Path, vm: str, *more: str, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            snakemake_command(tmp_path, profile, study, vm, *more),
            cwd=tmp_path,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
        )

    return call
