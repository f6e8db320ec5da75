"""Results are never written through links: what a stranger's archive planted alters nothing."""

from pathlib import Path

import pytest

from fake_pool import FakePool, write_tuning_study
from phasewise.errors import RecordError
from phasewise.records import open_unlinked
from phasewise.settings import Study
from phasewise.tasks.ledger import append_access
from phasewise.tuning.search import search_unit
from phasewise.tuning.units import Unit

OTHER = "of value\n"


def _search(study: Study, log: Path | None = None) -> None:
    search_unit(study, "toy", "lora", pool_factory=FakePool, log=log)


@pytest.mark.parametrize("name", ["controller.lock", "phase1/journal.log", "../../../the.log"])
def test_a_linked_file_is_refused_and_its_target_stays(tmp_path: Path, name: str) -> None:
    study = write_tuning_study(tmp_path, trials=2, confirm_top=1)
    link = (Unit(study, "toy", "lora").paths.root / name).resolve()
    target = tmp_path / "other"
    target.write_text(OTHER)
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(target)
    with pytest.raises(RecordError, match=rf"{link.name}: expected .* got a link to {target}"):
        _search(study, link if link.name == "the.log" else None)
    assert target.read_text() == OTHER


@pytest.mark.parametrize("name", ["", "phase1"])
def test_a_linked_folder_is_refused_and_stays_empty(tmp_path: Path, name: str) -> None:
    study = write_tuning_study(tmp_path, trials=2, confirm_top=1)
    link = Unit(study, "toy", "lora").paths.root / name
    target = tmp_path / "other"
    if link.exists():
        link.rename(target)
    else:
        target.mkdir()
    before = sorted(target.rglob("*"))
    link.symlink_to(target, target_is_directory=True)
    with pytest.raises(RecordError, match="got a link to"):
        _search(study)
    assert sorted(target.rglob("*")) == before


def test_the_ledger_is_no_link(tmp_path: Path) -> None:
    target, link = tmp_path / "other", tmp_path / "ledger.jsonl"
    target.write_text(OTHER)
    link.symlink_to(target)
    with pytest.raises(RecordError, match="remove it"):
        append_access(link, task="toy", run="run", reason="none", rows=1)
    assert target.read_text() == OTHER


def test_a_link_made_after_the_look_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, link = tmp_path / "other", tmp_path / "workers.log"
    target.write_text(OTHER)
    link.symlink_to(target)
    monkeypatch.setattr("phasewise.records.refuse_links", lambda *_: None)
    with pytest.raises(OSError, match=r"workers\.log"), open(link, "w", opener=open_unlinked):
        pass
    assert target.read_text() == OTHER
