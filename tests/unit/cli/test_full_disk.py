"""A full disk is told in a line, from whichever command meets it."""

import errno
import os
from pathlib import Path

import pytest

import phasewise.records
from fake_pool import write_tuning_study
from phasewise.cli.app import EXIT_FAILURE, main

UNIT = "--task toy --method lora"


@pytest.mark.parametrize("command", ["defaults", "search"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_in_a_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    command: str,
    number: int,
) -> None:
    study = write_tuning_study(tmp_path)

    def fill(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(phasewise.records.os, "fsync", fill)
    arguments = ["phasewise", command, "--study", str(study.path), *UNIT.split()]
    monkeypatch.setattr("sys.argv", arguments)
    with pytest.raises(SystemExit) as ended:
        main()
    text = capfd.readouterr().err.splitlines()
    assert ended.value.code == EXIT_FAILURE
    assert text == [
        f"error: the disk of the results or of the cache: {os.strerror(number)}; free some and run "
        "the same command again: it keeps what has ended"
    ]
