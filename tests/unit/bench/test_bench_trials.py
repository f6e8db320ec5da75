"""Every tool must train the very same trials."""

from pathlib import Path

import pytest
from benchmarks.bench.trials import TrialList, read_trials
from benchmarks.bench.workloads import (
    WORKLOADS,
    Sizes,
    describe_study,
    export_trials,
    write_study,
)

from phasewise.settings import Study

SIZES = Sizes(trials=3, train_rows=8, search_rows=8)


def _write(name: str, folder: Path) -> tuple[Study, TrialList]:
    workload = WORKLOADS[name]._replace(layers=1)
    study = write_study(folder, describe_study(workload, SIZES, {"machine": {"device": "cpu"}}))
    return study, export_trials(study, folder)


@pytest.mark.parametrize(
    ("name", "batches", "layers"),
    [
        ("documented", {1, 2, 4}, {"query", "value"}),
        ("realistic", {8, 16, 32}, {"query", "key", "value", "dense"}),
        ("dora", {8, 16, 32}, {"query", "key", "value", "dense"}),
    ],
)
def test_exported_trials_lie_in_the_workloads_space(
    name: str, batches: set[int], layers: set[str], tmp_path: Path
) -> None:
    _, exported = _write(name, tmp_path)
    assert len(set(exported.trials)) == SIZES.trials
    assert {trial.batch_size for trial in exported.trials} <= batches
    assert {target.rpartition(".")[2] for target in exported.targets} == layers
    assert (len(exported.train), len(exported.search)) == (8, 8)
    assert exported.use_dora == (name == "dora")


def test_list_is_read_as_it_was_written(tmp_path: Path) -> None:
    _, exported = _write("documented", tmp_path)
    assert read_trials(tmp_path) == exported
