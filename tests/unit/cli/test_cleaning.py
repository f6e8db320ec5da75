"""`phasewise gc` frees what no run goes on from, and nothing else; `plan` says what it may be."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from fake_pool import build_record, write_tuning_study
from phasewise.checkpoints import list_checkpoints, write_checkpoint
from phasewise.cli.cleaning import _checkpoint_bytes, gc
from phasewise.cli.inspect import plan
from phasewise.records import RunCost, write_record
from phasewise.runs import build_seeds
from phasewise.settings import Study, load_study
from phasewise.training.interface import RunJob
from phasewise.tuning.units import Unit

HOLDER = """
import sys, time
from pathlib import Path
from phasewise.tuning.locking import hold_lock
from phasewise.tuning.stopping import StopFlag
with hold_lock(Path(sys.argv[1]), print, StopFlag()):
    print("held", flush=True)
    time.sleep(60)
"""

_COST = RunCost(
    train_seconds=1,
    total_seconds=1,
    peak_memory_mb=1,
    train_tokens=1,
    trainable_parameters=5_000_000,
    total_parameters=30_000_000,
    adapter_bytes=20_000_000,
    micro_batch_size=1,
)


def _job(study: Study, index: int) -> RunJob:
    unit = Unit(study, "toy", "lora")
    seeds = build_seeds(0, "phase1", "toy", 0)
    return unit.job("trial", index, unit.default, seeds, origin="sobol")


def _save(folder: Path, size: int = 1000) -> None:
    write_checkpoint(folder, 3, "owner", {}, lambda new: (new / "w").write_bytes(b"0" * size))


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return write_tuning_study(tmp_path)


@pytest.fixture
def jobs(study: Study) -> dict[str, RunJob]:
    """A run that has ended, one that failed, one that was cut off, one of other settings."""
    jobs = {name: _job(study, index) for index, name in enumerate(("ended", "failed", "cut off"))}
    write_record(jobs["ended"].folder, build_record(jobs["ended"].config, "pruned"))
    write_record(jobs["failed"].folder, build_record(jobs["failed"].config, "failed"))
    other = _job(study, 3)
    root = other.folder.parents[1]
    jobs["other"] = other._replace(folder=root / "phase1.old-abc" / other.folder.name)
    for job in jobs.values():
        _save(job.folder)
    (jobs["cut off"].folder / ".record.json.x1").write_text("half")
    (jobs["cut off"].folder / "notes.txt").write_text("a user's")
    return jobs


def test_only_what_no_run_goes_on_from_is_freed(
    study: Study, jobs: dict[str, RunJob], capsys: pytest.CaptureFixture[str]
) -> None:
    gc(study.path, dry_run=True)
    assert all(list_checkpoints(job.folder) for job in jobs.values())
    assert capsys.readouterr().out.endswith("would be freed\n")
    gc(study.path)
    left = [name for name, job in jobs.items() if list_checkpoints(job.folder)]
    assert left == ["failed", "cut off"]  # their next attempts go on from them
    assert not (jobs["cut off"].folder / ".record.json.x1").exists()
    printed = capsys.readouterr().out
    assert len(re.findall("its run is not finished: kept$", printed, re.MULTILINE)) == 2
    gc(study.path, everything=True)
    assert not any(list_checkpoints(job.folder) for job in jobs.values())
    assert (jobs["cut off"].folder / "notes.txt").read_text() == "a user's"
    assert (jobs["ended"].folder / "record.json").is_file()


def test_a_unit_at_work_is_left_alone(
    study: Study, jobs: dict[str, RunJob], capsys: pytest.CaptureFixture[str]
) -> None:
    lock = Unit(study, "toy", "lora").paths.lock
    command = [sys.executable, "-c", HOLDER, str(lock)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        gc(study.path, everything=True)
        holder.kill()
    assert all(list_checkpoints(job.folder) for job in jobs.values())
    assert "toy/lora: left alone, it is at work" in capsys.readouterr().out


def test_a_link_in_place_of_checkpoints_is_not_followed(study: Study, tmp_path: Path) -> None:
    job, elsewhere = _job(study, 0), tmp_path / "elsewhere"
    _save(elsewhere)
    job.folder.mkdir(parents=True)
    (job.folder / "checkpoints").symlink_to(elsewhere / "checkpoints")
    gc(study.path, everything=True)
    assert list_checkpoints(elsewhere)
    assert not list_checkpoints(job.folder)


def test_a_plan_says_how_much_disk_checkpoints_take(
    study: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    plan(study.path)
    printed = " ".join(capsys.readouterr().out.split())
    assert (
        "checkpoints: of runs longer than 10 min, 2 at most for each that is under way" in printed
    )
    unit = Unit(study, "toy", "lora")
    job = unit.job("default", 0, unit.default, build_seeds(0, "phase0", "toy", 0))
    record = build_record(job.config, "finished").model_copy(update={"cost": _COST})
    write_record(job.folder, record)
    plan(study.path)
    printed = " ".join(capsys.readouterr().out.split())
    # Two of them, each with the weights and two moments of them: 2 * 3 * 5e6 * 4 bytes.
    assert "under way, together toy/lora 0.12 GB" in printed
    path = study.path.with_name("other.yaml")
    path.write_text(study.path.read_text() + "machine: {checkpoint_minutes: null}\n")
    plan(path)
    assert "checkpoints" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("divided", "weights"), [("", 30), ("2 devices (DDP)", 30), ("2 devices (FSDP)", 5)]
)
def test_a_run_alone_saves_all_weights_and_parts_of_one_those_that_train(
    study: Study, divided: str, weights: int
) -> None:
    record = build_record(_job(study, 0).config, "finished")
    unit = record.config.unit_config
    unit = unit.model_copy(update={"method": unit.method.model_copy(update={"kind": "bias"})})
    changes = {
        "config": record.config.model_copy(update={"unit_config": unit}),
        "cost": _COST,
        "environment": {"engine": "trainer", "divided": divided},
    }
    assert _checkpoint_bytes(record.model_copy(update=changes)) == 4e6 * (weights + 2 * 5)


def test_saving_is_no_part_of_what_a_run_is(study: Study) -> None:
    path = study.path.with_name("other.yaml")
    path.write_text(study.path.read_text() + "machine: {checkpoint_minutes: 1}\n")
    one, other = Unit(study, "toy", "lora"), Unit(load_study(path), "toy", "lora")
    assert other.study.settings.machine.checkpoint_minutes == 1
    assert one.search_hash() == other.search_hash()
    assert one.phase_hash("phase2") == other.phase_hash("phase2")
    assert _job(study, 0).config.hash == _job(other.study, 0).config.hash
