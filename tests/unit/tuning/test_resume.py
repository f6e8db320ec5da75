"""A search killed anywhere ends as if it had not been: same trials, none lost, none doubled."""

import contextlib
import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages.journal import JournalFileBackend

import phasewise.records
import phasewise.tuning.trials
from fake_pool import FakePool, build_record, write_tuning_study
from phasewise.errors import PhasewiseError
from phasewise.records import RunRecord, read_record, write_record
from phasewise.runs import RunConfig
from phasewise.settings import MachineSettings, Study
from phasewise.summaries import Optimum, read_optimum
from phasewise.training.pool import WorkerPool
from phasewise.tuning.search import search_unit
from phasewise.tuning.storage import connect
from phasewise.tuning.units import Unit

TRIALS = 6


class KilledError(BaseException):
    """Stands for SIGKILL: nothing in the package catches it."""


def _search(study: Study, pool: FakePool) -> Optimum:
    return search_unit(study, "toy", "lora", pool_factory=lambda: pool)


def _stored(study: Study) -> list[optuna.trial.FrozenTrial]:
    unit = Unit(study, "toy", "lora")
    loaded = optuna.load_study(study_name=unit.study_name, storage=connect(unit.paths.storage))
    return [trial for trial in loaded.trials if trial.state != optuna.trial.TrialState.WAITING]


def _draws(study: Study) -> list[dict[str, Any]]:
    return [trial.params for trial in _stored(study)]


def _check_complete(study: Study, expected: list[dict[str, Any]]) -> None:
    trials = _stored(study)
    assert [trial.params for trial in trials] == expected
    assert len({str(trial.params) for trial in trials}) == TRIALS
    assert all(trial.state.is_finished() for trial in trials)
    folder = Unit(study, "toy", "lora").paths.run("phase1", "trial-000").parent
    assert sorted(f.name for f in folder.glob("trial-*")) == [f"trial-{k:03d}" for k in range(6)]
    for trial in trials:
        record = read_record(folder / f"trial-{trial.number:03d}")
        assert record is not None
        if trial.state == optuna.trial.TrialState.COMPLETE:
            assert record.search_score == trial.value
    optimum = read_optimum(Unit(study, "toy", "lora").paths.optimum)
    assert optimum is not None
    assert optimum.final
    assert optimum.n_trials == TRIALS


def _fresh(folder: Path) -> Study:
    folder.mkdir()
    return write_tuning_study(
        folder, trials=TRIALS, pruner="median", confirm_top=1, confirm_seeds=2
    )


@pytest.fixture
def uninterrupted(tmp_path: Path) -> list[dict[str, Any]]:
    study = _fresh(tmp_path / "whole")
    _search(study, FakePool())
    return _draws(study)


def _kill_at(append: int, mode: str) -> Callable[[JournalFileBackend, list[Any]], None]:
    """Returns an ``append_logs`` that dies at its n-th call: before, after or within the write."""
    original = JournalFileBackend.append_logs
    calls = 0

    def append_logs(self: JournalFileBackend, logs: list[Any]) -> None:
        nonlocal calls
        calls += 1
        if calls < append:
            return original(self, logs)
        if mode == "after":
            original(self, logs)
        if mode == "torn":
            with open(self._file_path, "ab") as stream:
                stream.write(b'{"op_code":4,"work')
        raise KilledError

    return append_logs


@pytest.mark.parametrize("mode", ["before", "after", "torn"])
def test_killed_at_any_write_of_the_storage(
    tmp_path: Path, uninterrupted: list[dict[str, Any]], mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stride = {"before": 11, "after": 10, "torn": 13}[mode]  # other points in each mode
    for append in range(1, 1000, stride):
        study = _fresh(tmp_path / f"{mode}-{append}")
        with monkeypatch.context() as patch:
            patch.setattr(JournalFileBackend, "append_logs", _kill_at(append, mode))
            try:
                _search(study, FakePool())
            except KilledError:
                pass
            else:
                assert append > 60, "the search made hardly any writes"
                return
        _search(study, FakePool())
        _check_complete(study, uninterrupted)
    pytest.fail("the search never came to an end")


def test_killed_before_a_record_trains_the_trial_again(
    tmp_path: Path, uninterrupted: list[dict[str, Any]]
) -> None:
    study = _fresh(tmp_path / "killed")

    def fate(config: RunConfig) -> str:
        if config.name == "trial-003":
            raise KilledError
        return "finished"

    with pytest.raises(KilledError):
        _search(study, FakePool(fate=fate))
    again = FakePool()
    _search(study, again)
    assert again.started[0] == "trial-003"
    assert "trial-002" not in again.started
    _check_complete(study, uninterrupted)


def test_killed_between_record_and_tell_tells_without_training(
    tmp_path: Path, uninterrupted: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = _fresh(tmp_path / "killed")
    tell = phasewise.tuning.trials.TrialStore.tell

    def die(self: Any, trial: optuna.Trial, record: RunRecord, seconds: float) -> bool:
        if trial.number == 4:
            raise KilledError
        return tell(self, trial, record, seconds)

    with monkeypatch.context() as patch:
        patch.setattr(phasewise.tuning.trials.TrialStore, "tell", die)
        with pytest.raises(KilledError):
            _search(study, FakePool())
    again = FakePool()
    _search(study, again)
    assert not {"trial-003", "trial-004"} & set(again.started)
    _check_complete(study, uninterrupted)


def test_killed_while_confirming_keeps_what_was_confirmed(tmp_path: Path) -> None:
    study = _fresh(tmp_path / "killed")

    def fate(config: RunConfig) -> str:
        if config.name.startswith("confirm") and config.name.endswith("-1"):
            raise KilledError
        return "finished"

    with pytest.raises(KilledError):
        _search(study, FakePool(fate=fate))
    assert not Unit(study, "toy", "lora").paths.optimum.exists()
    again = FakePool()
    optimum = _search(study, again)
    assert [name[-2:] for name in again.started] == ["-1"]
    assert optimum.confirmed_seeds == 2


def test_records_alone_bring_a_lost_storage_back(
    tmp_path: Path, uninterrupted: list[dict[str, Any]]
) -> None:
    study = _fresh(tmp_path / "lost")
    _search(study, FakePool())
    Unit(study, "toy", "lora").paths.storage.unlink()
    again = FakePool()
    _search(study, again)
    assert again.started == []
    _check_complete(study, uninterrupted)


def test_a_lost_record_is_made_again_as_it_was_drawn(
    tmp_path: Path, uninterrupted: list[dict[str, Any]]
) -> None:
    study = _fresh(tmp_path / "lost")
    first = _search(study, FakePool())
    paths = Unit(study, "toy", "lora").paths
    states = [trial.state for trial in _stored(study)]
    for number in (1, 4):
        shutil.rmtree(paths.run("phase1", f"trial-{number:03d}"))
    again = FakePool()
    lines = tmp_path / "search.log"
    second = search_unit(study, "toy", "lora", pool_factory=lambda: again, log=lines)
    assert again.started == ["trial-001", "trial-004"]
    assert "trained again, as they were drawn: 1, 4" in lines.read_text(encoding="utf-8")
    assert [trial.state for trial in _stored(study)] == states
    assert second.model_dump(exclude={"provenance"}) == first.model_dump(exclude={"provenance"})
    _check_complete(study, uninterrupted)


def test_a_lost_record_of_a_pruned_trial_is_pruned_where_it_was(tmp_path: Path) -> None:
    study = write_tuning_study(tmp_path, trials=20, pruner="median", sampler="random")
    first = _search(study, FakePool())
    root = Unit(study, "toy", "lora").paths.run("phase1", "x").parent
    pruned = {f: r for f in root.glob("trial-*") if (r := read_record(f)) and r.status == "pruned"}
    assert len(pruned) >= 2
    for folder in pruned:
        shutil.rmtree(folder)
    assert _search(study, FakePool()).trial_states == first.trial_states
    for folder, record in pruned.items():
        made_anew = read_record(folder)
        assert made_anew is not None
        assert (made_anew.hash, made_anew.status) == (record.hash, "pruned")


def test_the_journal_repeats_nothing_that_records_say(tmp_path: Path) -> None:
    study = _fresh(tmp_path / "plain")
    _search(study, FakePool(fate=lambda config: "failed" if config.index == 2 else "finished"))
    assert {key for trial in _stored(study) for key in trial.user_attrs} == {"origin"}


@pytest.mark.parametrize("lost", [{1}, {0, 3, 5}, set(range(TRIALS))])
def test_trials_that_the_machine_failed_are_tried_again(
    tmp_path: Path, uninterrupted: list[dict[str, Any]], lost: set[int]
) -> None:
    """With its own number and draw, as often as it is called; the storage is told its values."""
    study = _fresh(tmp_path / "failed")
    log = tmp_path / "search.log"

    def search(fate: Callable[[RunConfig], str]) -> list[str]:
        pool = FakePool(fate=fate)
        failing: Any = contextlib.nullcontext()
        if fate is die and len(lost) == TRIALS:
            message = r"none of 6 trials finished \(6 failed\); .*the same command tries them again"
            failing = pytest.raises(PhasewiseError, match=message)
        with failing:
            search_unit(study, "toy", "lora", pool_factory=lambda: pool, log=log)
        return [name for name in pool.started if name.startswith("trial")]

    def die(config: RunConfig) -> str:
        return "death" if config.role == "trial" and config.index in lost else "finished"

    names = [f"trial-{number:03d}" for number in sorted(lost)]
    search(die)
    assert search(die) == [name for name in names for _ in range(3)]  # attempts of a call
    assert search(lambda _: "finished") == names
    text = log.read_text("utf-8")
    assert f"{names[0]}: tried again, retry 1; before: failed: worker died 3 times" in text
    assert f"{names[0]}: tried again, retry 2; before: failed: worker died 3 times" in text
    draws = _draws(study)
    assert len(draws) == TRIALS
    assert draws[:4] == uninterrupted[:4]  # those that follow from no result
    assert all(trial.state.is_finished() for trial in _stored(study))
    root = Unit(study, "toy", "lora").paths.run("phase1", "trial-000").parent
    for trial in _stored(study):
        record = read_record(root / f"trial-{trial.number:03d}")
        assert record is not None
        assert record.status != "failed"
        if record.status == "finished":
            assert trial.value == record.search_score
    assert search(lambda _: "finished") == []


MORTAL_WORKER = """
import os, signal, sys
from multiprocessing.connection import Connection
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from fake_pool import build_record
from phasewise.training.worker import serve

class Engine:
    slots = 1

    def train(self, jobs, report):
        for job in jobs:
            if job is not None:
                if not Path(sys.argv[2]).exists():
                    os.kill(os.getpid(), signal.SIGKILL)
                yield build_record(job.config, "finished")

serve(Connection(int(sys.argv[3])), Engine())
"""


def test_workers_killed_for_real_cost_no_trial(
    tmp_path: Path, uninterrupted: list[dict[str, Any]]
) -> None:
    study, memory = _fresh(tmp_path / "killed"), tmp_path / "enough memory"
    code = (sys.executable, "-c", MORTAL_WORKER, str(Path(__file__).parents[2]), str(memory))

    def search() -> Optimum:
        machine = MachineSettings(device="cpu")
        return search_unit(
            study, "toy", "lora", pool_factory=lambda: WorkerPool(machine, None, code)
        )

    with pytest.raises(PhasewiseError, match="worker killed by SIGKILL, often the kernel out of"):
        search()
    memory.touch()
    assert search().trial_states == {"finished": TRIALS}
    assert _draws(study)[:4] == uninterrupted[:4]


@pytest.mark.parametrize("fate", ["diverged", "infeasible"])
def test_what_its_settings_failed_is_not_tried_again(tmp_path: Path, fate: str) -> None:
    study = _fresh(tmp_path / "failed")
    _search(study, FakePool(fate=lambda config: fate if config.index == 2 else "finished"))
    again = FakePool()
    _search(study, again)
    assert again.started == []


def test_a_full_disk_fails_the_call_and_nothing_after_it(
    tmp_path: Path, uninterrupted: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = _fresh(tmp_path / "full")
    room = 14  # files that fit: about half of the search's

    def fsync(handle: int) -> None:
        nonlocal room
        room -= 1
        if room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(phasewise.records.os, "fsync", fsync)
        for _ in range(2):
            with pytest.raises(OSError, match="No space left"):
                _search(study, FakePool())
    assert 0 < len(_stored(study)) <= TRIALS
    _search(study, FakePool())
    _check_complete(study, uninterrupted)


def test_a_retry_is_owed_when_the_time_budget_is_spent(tmp_path: Path) -> None:
    study = write_tuning_study(tmp_path, trials=50, time_budget_hours=0.2 / 3600, retries=0)
    pool = FakePool(pause=0.05, fate=lambda _: "death")
    with pytest.raises(PhasewiseError, match="trials finished"):
        _search(study, pool)
    again = FakePool()
    assert _search(study, again).trial_states == {"finished": len(pool.started)}
    assert again.started[: len(pool.started)] == pool.started


def test_more_trials_continue_the_search(tmp_path: Path) -> None:
    study = write_tuning_study(tmp_path, trials=5)
    _search(study, FakePool())
    first = _draws(study)
    study = write_tuning_study(tmp_path, trials=9)
    again = FakePool()
    optimum = _search(study, again)
    assert next(name for name in again.started if name.startswith("trial")) == "trial-005"
    assert _draws(study)[:5] == first
    assert optimum.n_trials == 9


def test_changed_space_is_moved_aside_and_not_mixed(tmp_path: Path) -> None:
    study = write_tuning_study(tmp_path, trials=4)
    _search(study, FakePool())
    old = Unit(study, "toy", "lora").search_hash()
    space = {"learning_rate": {"type": "log_uniform", "min": 1e-4, "max": 1e-3}}
    study = write_tuning_study(tmp_path, trials=4, space=space)
    again = FakePool()
    _search(study, again)
    root = Unit(study, "toy", "lora").paths.root
    assert len([name for name in again.started if name.startswith("trial")]) == 4
    assert (root / f"phase1.old-{old}" / "trial-000" / "record.json").is_file()
    assert all(set(draw) == {"learning_rate"} for draw in _draws(study))


def test_foreign_record_in_a_trial_folder_is_moved_not_overwritten(tmp_path: Path) -> None:
    study = write_tuning_study(tmp_path, trials=4)
    unit = Unit(study, "toy", "lora")
    job = unit.job("trial", 0, unit.default, _other_seeds())
    folder = unit.paths.run("phase1", "trial-000")
    write_record(folder, build_record(job.config, "finished"))
    text = (folder / "record.json").read_text("utf-8")
    _search(study, FakePool())
    moved = unit.paths.root / f"phase1.old-{job.config.hash}" / "trial-000" / "record.json"
    assert moved.read_text(encoding="utf-8") == text


def _other_seeds() -> Any:
    from phasewise.runs import RunSeeds

    return RunSeeds(init=1, order=2, subset=3)


SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from fake_pool import FakePool
from phasewise.settings import load_study
from phasewise.training.pool import WorkerPool
from phasewise.tuning.search import search_unit
study = load_study(Path({study!r}))
search_unit(study, "toy", "lora", pool_factory=lambda: FakePool(pause=0.01))
"""


def _start(study: Study) -> subprocess.Popen[bytes]:
    tests = str(Path(__file__).parents[2])
    code = SCRIPT.format(tests=tests, study=str(study.path))
    return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)


def _wait_for_trial(study: Study, number: int, process: subprocess.Popen[bytes]) -> None:
    folder = Unit(study, "toy", "lora").paths.run("phase1", f"trial-{number:03d}")
    deadline = time.monotonic() + 30
    while not (folder / "record.json").exists() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_sigkill_of_a_real_process_again_and_again(
    tmp_path: Path, uninterrupted: list[dict[str, Any]]
) -> None:
    study = _fresh(tmp_path / "killed")
    for number in (0, 3, 4):
        process = _start(study)
        _wait_for_trial(study, number, process)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    _search(study, FakePool())
    _check_complete(study, uninterrupted)


def test_sigterm_ends_with_an_error_and_resumes(
    tmp_path: Path, uninterrupted: list[dict[str, Any]]
) -> None:
    study = _fresh(tmp_path / "stopped")
    process = _start(study)
    _wait_for_trial(study, 1, process)
    process.terminate()
    assert process.wait(10) == 1
    _search(study, FakePool())
    _check_complete(study, uninterrupted)
