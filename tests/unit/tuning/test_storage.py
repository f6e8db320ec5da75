"""The journal after a crash."""

from pathlib import Path

import optuna
import pytest

from phasewise.errors import RecordError
from phasewise.tuning.storage import free_name, open_study, repair_journal, set_aside


def _open(path: Path, lines: list[str], settings_hash: str = "aaaa") -> optuna.Study:
    return open_study(
        path,
        name="s",
        directions=["maximize"],
        settings_hash=settings_hash,
        pruner=optuna.pruners.NopPruner(),
        say=lines.append,
    )


@pytest.mark.parametrize(
    "torn",
    [
        b'{"op_code": 5, "wor',
        b"\0" * 64,
        b"\0" * 64 + b"\n",
        b"\xff\xfe garbage\n[1, 2]\n",
    ],
)
def test_torn_lines_are_cut_off_once(torn: bytes, tmp_path: Path) -> None:
    journal = tmp_path / "phase1" / "journal.log"
    lines: list[str] = []
    _open(journal, lines).add_trial(optuna.trial.create_trial(value=1.0))
    whole = journal.read_bytes()
    journal.write_bytes(whole + torn)
    study = _open(journal, lines)
    assert journal.read_bytes().startswith(whole)
    assert [trial.value for trial in study.trials] == [1.0]
    told = (
        f"journal.log: cut off {len(torn)} bytes torn by a crash; they are in journal.log.damaged"
    )
    assert lines == [told]
    assert journal.with_name("journal.log.damaged").read_bytes() == torn
    repair_journal(journal, lines.append)
    assert len(lines) == 1


def test_lock_of_a_dead_writer_costs_no_time(tmp_path: Path) -> None:
    journal = tmp_path / "phase1" / "journal.log"
    _open(journal, [])
    Path(f"{journal}.lock").symlink_to(journal)
    study = _open(journal, [])  # else 30 s of grace
    assert study.trials == []


def test_empty_journal_is_a_new_study(tmp_path: Path) -> None:
    journal = tmp_path / "phase1" / "journal.log"
    journal.parent.mkdir()
    journal.touch()
    assert _open(journal, []).user_attrs == {"settings_hash": "aaaa"}


def test_damaged_journal_is_refused_with_a_way_out(tmp_path: Path) -> None:
    journal = tmp_path / "phase1" / "journal.log"
    _open(journal, [])
    journal.write_bytes(b"not json\n" + journal.read_bytes())
    with pytest.raises(RecordError, match=r"journal\.log: expected Optuna's journal.*move it away"):
        _open(journal, [])


def test_other_settings_are_moved_aside_and_counted(tmp_path: Path) -> None:
    journal = tmp_path / "phase1" / "journal.log"
    lines: list[str] = []
    for settings_hash in ("aaaa", "bbbb", "aaaa", "bbbb"):
        _open(journal, lines, settings_hash).add_trial(optuna.trial.create_trial(value=1.0))
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["phase1", "phase1.old-aaaa", "phase1.old-aaaa-2", "phase1.old-bbbb"]
    assert lines[0] == (
        "settings have changed: the search under aaaa was moved to phase1.old-aaaa/"
    )


def test_free_name_and_set_aside(tmp_path: Path) -> None:
    folder = tmp_path / "x"
    assert free_name(folder) == folder
    folder.mkdir()
    assert free_name(folder).name == "x-2"
    assert set_aside(folder, "h") == tmp_path / "x.old-h"
    assert not folder.exists()
