"""Every profile plans exactly the units of its machine, and bad input stops before any job."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT, Snakemake

DEFAULT = ROOT / "shared" / "config.yaml"
DEMO = ROOT / "shared" / "studies" / "demo.yaml"
TEST = ROOT / "shared" / "studies" / "test.yaml"


def _planned(output: str, rule: str) -> set[str]:
    """Returns ``task/method`` (or ``task``) of each planned job of a rule."""
    found = set()
    for block in re.findall(rf"rule {rule}:\n((?: .*\n)+)", output):
        wildcards = re.search(r"wildcards: (.*)", block)
        assert wildcards, block
        found.add("/".join(part.split("=")[1] for part in wildcards[1].split(", ")))
    return found


@pytest.mark.parametrize(
    ("profile", "study", "vm", "tasks", "methods"),
    [
        ("vm1", DEFAULT, "vm1", {"squad_v2"}, {"full_finetune", "lora"}),
        ("vm2", DEFAULT, "vm2", {"mrpc", "sst2", "rte"}, {"full_finetune", "lora"}),
        ("slurm", DEFAULT, "all", {"squad_v2", "mrpc", "sst2", "rte"}, {"full_finetune", "lora"}),
        ("demo", DEMO, "all", {"rotten_tomatoes"}, {"full_finetune", "lora"}),
        ("test", TEST, "all", {"rotten_tomatoes"}, {"full_finetune", "lora"}),
    ],
)
def test_profile_plans_its_units_and_no_others(
    snakemake: Snakemake, profile: str, study: Path, vm: str, tasks: set[str], methods: set[str]
) -> None:
    done = snakemake(profile, study, vm, "--dry-run", "--executor", "local", "--quiet", "host")
    assert done.returncode == 0, done.stdout
    units = {f"{task}/{method}" for task in tasks for method in methods}
    assert _planned(done.stdout, "compute_baselines") == tasks
    for rule in ("run_defaults", "search", "validate"):
        assert _planned(done.stdout, rule) == units
    assert "write_report" in done.stdout


@pytest.mark.parametrize("profile", ["demo", "test", "vm1", "vm2", "slurm"])
def test_profile_names_its_own_study_and_shard(profile: str) -> None:
    """As the user calls it: nothing but --profile, in the clone."""
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--profile", f"profiles/{profile}", "-n", "phase1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("vm", "expected"),
    [("vm9", "vm 'vm9' is not a shard; did you mean 'vm"), ("", "which machine is this?")],
)
def test_unknown_machine_is_refused(snakemake: Snakemake, vm: str, expected: str) -> None:
    done = snakemake("vm1", DEFAULT, vm, "--dry-run")
    assert done.returncode != 0
    assert expected in done.stdout


def test_machine_has_no_default() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "-n", "--cores", "1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode != 0
    assert "which machine is this?" in done.stdout + done.stderr


def test_bad_study_stops_before_anything_is_written(snakemake: Snakemake, tmp_path: Path) -> None:
    study = tmp_path / "bad.yaml"
    study.write_text(f"extends: {TEST}\nsearch: {{trails: 3}}\n", encoding="utf-8")
    done = snakemake("test", study, "all")
    assert done.returncode != 0
    assert "unknown key 'search.trails'; did you mean 'trials'?" in done.stdout
    assert "Traceback" not in done.stdout
    assert {path.name for path in tmp_path.iterdir()} <= {"bad.yaml", ".snakemake"}


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["plan", "--study", str(TEST)]])
def test_looking_never_imports_torch(arguments: list[str]) -> None:
    code = (
        "import sys; from phasewise.cli.app import app; app(standalone_mode=False); "
        "heavy = {'torch', 'transformers', 'peft', 'snakemake', 'wandb'} & set(sys.modules); "
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
