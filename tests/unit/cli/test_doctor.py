"""`phasewise doctor`: a line per check, with the remedy where the machine lacks something."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from phasewise.cli import doctor
from phasewise.cli.app import app

NAMES = [
    *("python", "gpu", "bfloat16", "compiler", "disk", "hub", "wandb", "slurm", "profiles"),
    "versions",
]
Lack = Callable[[str], None]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder on a machine without programs, GPU and keys."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("PHASEWISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "bin").mkdir()
    return tmp_path


def _program(here: Path, name: str) -> Path:
    file = here / "bin" / name
    file.write_text("#!/bin/sh\necho 7.5\n")
    file.chmod(0o755)
    return file


def _find(code: int = 0) -> dict[str, tuple[str, str, str]]:
    result = CliRunner().invoke(app, ["doctor", "--json"])
    assert result.exit_code == code, result.output
    found = json.loads(result.stdout)
    return {each["name"]: (each["state"], each["text"], each["remedy"]) for each in found}


def test_every_check_is_a_line() -> None:
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert [line.split()[1] for line in lines] == NAMES
    assert {line.split()[0] for line in lines} <= {"ok", "note"}


def test_a_bare_machine_gets_remedies() -> None:
    found = _find()
    assert found["gpu"][:2] == ("note", "none visible: studies train on the CPU")
    assert found["compiler"][2] == "apt-get install g++"
    assert found["hub"][1] == "HF_HUB_OFFLINE is set: only what is cached"
    assert found["wandb"] == (
        "note",
        "offline: runs are kept on disk",
        "wandb login, to mirror them",
    )
    assert found["slurm"][1] == "not a cluster: no sbatch"
    assert found["profiles"][1] == "none of your own here: those of Phasewise are used"


def test_what_is_there_is_told(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = _program(here, "g++")
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    (here / "profiles" / "vm1").mkdir(parents=True)
    (here / "profiles" / "vm1" / "config.yaml").write_text("cores: 1\n")
    found = _find()
    assert found["compiler"] == ("ok", str(compiler), "")
    assert found["wandb"][0] == "ok"
    assert found["profiles"][0] == "note"
    assert "--profile profiles/vm1" in found["profiles"][2]
    (here / "vm1").symlink_to("profiles/vm1")
    assert _find()["profiles"] == ("ok", "vm1", "")


@pytest.mark.parametrize(
    ("build", "code", "state"), [("2.13.0+cpu", 1, "bad"), ("2.13.0", 0, "ok")]
)
def test_a_gpu_that_pytorch_cannot_use_is_in_the_way(
    here: Path, monkeypatch: pytest.MonkeyPatch, build: str, code: int, state: str
) -> None:
    _program(here, "nvidia-smi")  # of compute capability 7.5
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setattr(doctor, "_version_of", lambda name: build)
    found = _find(code)
    assert found["gpu"][0] == state
    assert found["bfloat16"][1] == "not in hardware: dtype auto trains in float32"


def test_a_cluster_needs_the_executor(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _program(here, "sbatch")
    assert _find()["slurm"][0] == "ok"
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    assert _find(1)["slurm"][2] == "pip install snakemake-executor-plugin-slurm"


def test_versions_other_than_locked_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = doctor._version_of
    state, text, _ = _find()["versions"]
    assert "packages as locked" in text
    monkeypatch.setattr(doctor, "_version_of", lambda name: "0.1" if name == "peft" else real(name))
    state, text, remedy = _find()["versions"]
    assert state == "note"
    assert "peft 0.1 (locked " in text
    assert remedy.startswith("pip install -r ")
