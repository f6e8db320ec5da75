"""`phasewise run`: the command it makes of a study, a shard and a profile."""

import os
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from phasewise.cli.app import app
from phasewise.errors import ConfigError
from phasewise.settings import BUNDLED

ROOT = Path(__file__).parents[3]


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """Commands that would have taken the process's place, in an empty folder."""
    commands: list[list[str]] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "execv", lambda program, words: commands.append(words[2:]))
    return commands


@pytest.mark.parametrize(
    ("arguments", "profile", "config"),
    [
        (["test"], "local", ["study=test", "vm=all"]),
        (["{config}", "--vm", "vm1"], "vm1", ["study={config}", "vm=vm1"]),
        (["test", "--profile", "slurm", "-n"], "slurm", ["study=test", "vm=all", "-n"]),
        (["test", "--unlock"], "local", ["study=test", "vm=all", "--unlock"]),
    ],
)
def test_the_command_of_a_study_is_printed_and_run(
    executed: list[list[str]], arguments: list[str], profile: str, config: list[str]
) -> None:
    default = str(ROOT / "shared" / "config.yaml")
    result = CliRunner().invoke(app, ["run", *(each.format(config=default) for each in arguments)])
    assert result.exit_code == 0, result.output
    (command,) = executed
    assert command == [
        *("snakemake", "--snakefile", str(BUNDLED / "Snakefile")),
        *("--profile", str(BUNDLED / "profiles" / profile), "--config"),
        *(each.format(config=default) for each in config),
    ]
    assert shlex.split(result.stderr) == command


def test_the_project_s_own_profile_and_snakefile_come_first(
    executed: list[list[str]], tmp_path: Path
) -> None:
    (tmp_path / "profiles" / "local").mkdir(parents=True)
    (tmp_path / "profiles" / "local" / "config.yaml").write_text("cores: 1\n")
    (tmp_path / "Snakefile").write_text("\n")
    CliRunner().invoke(app, ["run", "test"], catch_exceptions=False)
    assert executed[0][:5] == [
        *("snakemake", "--snakefile", "Snakefile", "--profile", "profiles/local")
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["test", "--profile", "vm7"], r"^no profile 'vm7' in profiles/; did you .*copy .*vm1 to"),
        (["test", "--vm", "vm7"], r"vm 'vm7' is not a shard"),
        (["-n"], r"^expected the study before options of snakemake: run STUDY -n$"),
        (["tset"], r"^tset: no such settings file, .*did you mean 'test'\?"),
    ],
)
def test_what_cannot_run_is_refused_in_one_line(
    executed: list[list[str]], arguments: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        CliRunner().invoke(app, ["run", *arguments], catch_exceptions=False)
    assert "\n" not in str(caught.value)
    assert not executed


def test_after_a_kill_it_says_how_to_unlock(executed: list[list[str]]) -> None:
    locks = Path(".snakemake/locks")
    locks.mkdir(parents=True)
    said = CliRunner().invoke(app, ["run", "test"]).stderr
    assert "unlock" not in said  # an empty folder locks nothing
    (locks / "0.input.lock").touch()
    said = CliRunner().invoke(app, ["run", "test"]).stderr
    assert said.endswith("phasewise run test --unlock, then run it again\n")
    assert "--unlock, then" not in CliRunner().invoke(app, ["run", "test", "--unlock"]).stderr
    assert len(executed) == 3
