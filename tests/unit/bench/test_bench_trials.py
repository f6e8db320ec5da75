"""Every tool must train the very same trials."""

from pathlib import Path

import pytest
from benchmarks.bench.trials import TrialList, read_trials
from benchmarks.bench.workloads import (
    WORKLOADS,
    Sizes,
    describe_study,
    export_trials,
    find_obstacle,
    write_study,
)

from phasewise.settings import Study
from phasewise.tuning.trials import TrialBook
from phasewise.tuning.units import Unit

SIZES = Sizes(trials=3, train_rows=8, search_rows=8)


def _write(name: str, folder: Path) -> tuple[Study, TrialList]:
    workload = WORKLOADS[name]._replace(layers=1)
    study = write_study(folder, describe_study(workload, SIZES, {"machine": {"device": "cpu"}}))
    return study, export_trials(study, folder)


@pytest.mark.parametrize("name", [n for n, w in WORKLOADS.items() if not find_obstacle(w)])
def test_exported_trials_are_those_that_a_search_trains(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    study, exported = _write(name, tmp_path)
    ((task, method),) = study.units_of("all")
    book = TrialBook(Unit(study, task, method), print)
    for expected in exported.trials:
        trial = book.next()
        assert trial is not None
        trained = book.job(trial).config.hyperparameters
        assert expected._asdict() == {
            key: value for key, value in trained.model_dump().items() if key in expected._fields
        }
        assert trained.epochs == exported.epochs
    assert book.next() is None
    assert len(exported.trials) == SIZES.trials
    assert (len(exported.train), len(exported.search)) == (8, 8)


def test_list_is_read_as_it_was_written(tmp_path: Path) -> None:
    _, exported = _write("documented", tmp_path)
    assert read_trials(tmp_path) == exported
