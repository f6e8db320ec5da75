"""Which commands have their workers' imports start at once, and for which study."""

import os
import subprocess
import sys
from contextlib import nullcontext

import pytest

from phasewise.cli import prewarm
from phasewise.training import server_process
from phasewise.training.server_process import SERVER_VARIABLE, server_ahead


@pytest.mark.parametrize(
    ("line", "asked"),
    [
        ("search --study s.yaml --task t --method dora", ("s.yaml", "dora")),
        ("validate -s s.yaml --task=t --method=dora", ("s.yaml", "dora")),
        ("defaults --task t -m lora", ("shared/config.yaml", "lora")),
        ("search --base-model m --train-file f", ("", "")),
        ("preset full --study", ("", "")),
        ("ablate ranks", ("", "")),
        ("ablate ranks --dry-run", None),
        ("search --help", None),
        ("report --study s.yaml", None),
        ("", None),
    ],
)
def test_only_commands_that_train_start_a_server(
    line: str, asked: tuple[str, str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, str]] = []

    def note(study: str, method: str) -> nullcontext[None]:
        calls.append((study, method))
        return nullcontext()

    monkeypatch.setattr(prewarm, "server_ahead", note)
    with prewarm.prewarm_workers(line.split()):
        pass
    assert calls == ([] if asked is None else [asked])


def test_a_server_that_is_shared_already_is_the_only_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(SERVER_VARIABLE, "of-snakemake")
    monkeypatch.setattr(server_process, "share_server", lambda *_: pytest.fail("a second server"))
    with server_ahead("study.yaml", "lora"):
        assert os.environ[SERVER_VARIABLE] == "of-snakemake"


def test_a_command_that_ends_early_leaves_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SERVER_VARIABLE, raising=False)

    def fail() -> None:
        with server_ahead("", ""):
            assert SERVER_VARIABLE in os.environ
            sys.exit(2)

    with pytest.raises(SystemExit):
        fail()
    server = server_process._servers[-1]
    assert server.returncode is not None
    assert SERVER_VARIABLE not in os.environ


def test_nothing_heavy_is_imported_before_the_server_starts() -> None:
    code = (
        "import sys, phasewise.cli; "
        "sys.exit(','.join({'typer', 'pydantic', 'yaml', 'numpy'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
