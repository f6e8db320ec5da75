"""What the first process of a machine measured holds for all."""

import multiprocessing
from pathlib import Path

import pytest

from phasewise.training.measured import decide_once


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PHASEWISE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "measured"


def _ask(answer: bool) -> bool:
    return decide_once("faster", lambda: answer)


def test_all_processes_go_by_the_first_answer() -> None:
    with multiprocessing.get_context("fork").Pool(8) as pool:
        found = pool.map(_ask, [index % 2 == 0 for index in range(64)], chunksize=1)
    assert len(set(found)) == 1
    assert _ask(not found[0]) is found[0]


def test_masked_features_are_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _ask(True)
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx2")
    assert not _ask(False)


def test_a_file_that_says_nothing_is_measured_anew(cache: Path) -> None:
    assert _ask(True)
    (file,) = cache.iterdir()
    file.write_text("tr")
    assert not _ask(False)


def test_a_folder_that_cannot_be_written_to_costs_a_measurement(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    assert _ask(True)
    assert not _ask(False)
