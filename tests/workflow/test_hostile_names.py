"""What a user calls files and folders reaches every command whole, and no shell runs it."""

import re
import shlex
from pathlib import Path

import pytest

from conftest import ROOT, Snakemake

#: Folders that a study may lie in: a shell that read them would make a file, or find none.
FOLDERS = [
    "two words",
    "curly {braces}",
    "a;touch x;echo b",
    "it's $(touch x) `touch x`",
    'say "x" > x & y',
]


def _write_study(folder: Path, **changes: str) -> Path:
    folder.mkdir()
    path = folder / "my study.yaml"
    lines = [f"extends: {ROOT}/shared/studies/test.yaml", "name: named"]
    path.write_text("\n".join([*lines, *(f"{k}: {v}" for k, v in changes.items())]) + "\n")
    return path


@pytest.mark.parametrize("name", FOLDERS)
def test_every_command_gets_the_study_as_one_word(
    snakemake: Snakemake, tmp_path: Path, name: str
) -> None:
    study = _write_study(tmp_path / name, experiments_dir="my results", analysis_dir="my analysis")
    done = snakemake("test", study, "all", "--dry-run", "--printshellcmds")
    assert done.returncode == 0, done.stdout
    commands = re.findall(r"phasewise .*", done.stdout)
    # The report's verdict is printed at the end of all: the rule's own redirection is no word.
    words = [shlex.split(command.removesuffix(" > /dev/null")) for command in commands]
    assert {each[1] for each in words} == {
        *("check", "baselines", "defaults", "search", "validate", "report")
    }
    for each in words:
        assert each[each.index("--study") + 1] == str(study)
        assert all(option.startswith("--") for option in each[2::2]), each


@pytest.mark.parametrize("name", FOLDERS[:3])
def test_a_study_of_any_path_runs(snakemake: Snakemake, tmp_path: Path, name: str) -> None:
    study = _write_study(tmp_path / name, experiments_dir="my results")
    done = snakemake("test", study, "all", "--until", "compute_baselines")
    assert done.returncode == 0, done.stdout
    results = tmp_path / "my results" / "named"
    assert (results / "checked_all.json").is_file()
    assert (results / "rotten_tomatoes" / "baselines.json").is_file()
    assert not list(tmp_path.rglob("x"))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("experiments_dir", "'exp;touch x;echo '"),
        ("analysis_dir", "'$(touch x)'"),
        ("shards", "{'vm;touch x': [rotten_tomatoes]}"),
        ("shards", "{'$(touch x)': [rotten_tomatoes]}"),
        ("name", "'n;touch x'"),
    ],
)
def test_a_hostile_name_is_refused_before_anything_is_written(
    snakemake: Snakemake, tmp_path: Path, key: str, value: str
) -> None:
    study = _write_study(tmp_path / "study", **{key: value})
    done = snakemake("test", study, "all")
    assert done.returncode != 0
    assert key in done.stdout
    assert "Traceback" not in done.stdout
    assert {path.name for path in tmp_path.iterdir()} <= {"study", ".snakemake"}
