"""Commands that only look, and wrong input, do not wait for libraries that take seconds."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

#: Imported by nothing that only looks; scipy without its parts is quick.
SLOW = (
    *("torch", "transformers", "peft", "datasets", "optuna", "sklearn", "pandas"),
    *("scipy.stats", "scipy.optimize", "scipy.special"),
)
_PROBE = """
import json, sys
from phasewise.cli import main
try:
    main()
except SystemExit as end:
    slow = [name for name in json.loads(sys.stdin.read()) if name in sys.modules]
    print("\\n" + json.dumps([end.code, slow]))
"""


def _call(folder: Path, command: str) -> tuple[str, int, list[str]]:
    """Returns what a command printed, its exit code, and what it imported of SLOW."""
    done = subprocess.run(
        [sys.executable, "-c", _PROBE, *command.split()],
        cwd=folder,
        input=json.dumps(SLOW),
        capture_output=True,
        text=True,
        timeout=120,
    )
    code, slow = json.loads(done.stdout.splitlines()[-1])
    return done.stdout + done.stderr, code or 0, slow


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("--version", "phasewise 0."),
        ("-h", "Exit codes: 0 done"),
        ("search -h", "search [OPTIONS]"),
        ("list tasks", "squad_v2"),
        ("status --study test", "rotten_tomatoes/lora"),
        ("plan --study test", "report examples detect a difference of"),
    ],
)
def test_a_look_is_quick(tmp_path: Path, command: str, said: str) -> None:
    printed, code, slow = _call(tmp_path, command)
    assert (code, slow) == (0, []), printed
    assert said in " ".join(printed.split())


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("train --study test --optimal none.yaml --output out", "none.yaml: no such file"),
        ("merge-adapter --adapter none --output out", "none: expected a model folder"),
        ("predict --model none --input none.csv --output out.csv", "none: expected a model"),
        ("evaluate --model none --input none.csv", "none: expected a model folder"),
        ("check --study none.yaml", "none.yaml: no such settings file"),
        ("prepare-data --dataset none", "no file none.yaml in shared/tasks/"),
    ],
)
def test_wrong_input_is_refused_quickly(tmp_path: Path, command: str, said: str) -> None:
    printed, code, slow = _call(tmp_path, command)
    assert (code, slow) == (2, []), printed
    assert said in " ".join(printed.split())


def test_a_missing_data_file_is_refused_before_the_model_is_read(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    printed, code, slow = _call(tmp_path, "predict --model model --input no.csv --output o.csv")
    assert (code, slow) == (2, []), printed
    assert "no.csv: no such file" in printed
