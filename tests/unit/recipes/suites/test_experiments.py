import json
from pathlib import Path

import pytest

from fake_pool import build_record, write_tuning_study
from phasewise.errors import RecordError
from phasewise.recipes.suites.experiments import ExperimentRun, ExperimentTracker, write_experiments
from synthetic import make_config


@pytest.fixture
def database(tmp_path: Path) -> Path:
    study = write_tuning_study(tmp_path)
    runs = [
        ExperimentRun(kind, f"r{rank}", build_record(config, status, score))
        for kind, rank, status, score in (
            ("rank_ablation", 4, "finished", 0.7),
            ("rank_ablation", 8, "failed", None),
            ("module_ablation", 8, "finished", 0.8),
        )
        for config in [make_config(study, "toy", "lora", f"trial-{rank:03d}", lora_rank=rank)]
    ]
    path = tmp_path / "results" / "experiments.db"
    write_experiments(path, runs)
    write_experiments(path, runs)  # written again, not added
    return path


def test_runs_are_found_by_status_and_by_type(database: Path) -> None:
    tracker = ExperimentTracker(database)
    assert [row["experiment_name"] for row in tracker.get_all_experiments()] == ["r4", "r8", "r8"]
    completed = tracker.get_all_experiments(status="completed")
    assert [row["score"] for row in completed] == [0.7, 0.8]
    assert [row["message"] for row in tracker.get_all_experiments("failed")] == ["it was failed"]
    ranks = tracker.get_experiments_by_type("rank_ablation")
    assert [row["hyperparameters"]["lora_rank"] for row in ranks] == [4, 8]
    assert tracker.get_experiments_by_type("none") == []


def test_the_export_holds_every_row(database: Path, tmp_path: Path) -> None:
    tracker = ExperimentTracker(database)
    tracker.export_to_json(tmp_path / "all.json")
    assert json.loads((tmp_path / "all.json").read_text()) == tracker.get_all_experiments()


def test_no_database_is_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="no results database"):
        ExperimentTracker(tmp_path / "none.db")
    (tmp_path / "text.db").write_text("not a database, but longer than its header would be")
    with pytest.raises(RecordError, match="not a results database"):
        ExperimentTracker(tmp_path / "text.db").get_all_experiments()
