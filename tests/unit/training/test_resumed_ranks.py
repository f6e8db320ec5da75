"""A run of two processes that is cut off and goes on equals one that was not, bit for bit."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from same_run import check_same_run
from saving_rank import DUE_VARIABLE, FAILURES_VARIABLE

from phasewise.checkpoints import list_checkpoints
from phasewise.errors import WorkerError
from phasewise.records import RunRecord
from phasewise.settings import MachineSettings
from phasewise.training import launching
from phasewise.training.interface import Decision, Progress, Resumption, RunJob
from phasewise.training.launching import LaunchingEngine
from phasewise.training.pool import WorkerPool
from pool_waiting import next_that

#: Four an epoch; evaluations after steps 2, 4, 6 and 8.
_STEPS = 8
Jobs = Callable[..., RunJob]
Reports = Callable[[Progress | Resumption], Decision]


class _Tries:
    """Attempts at runs, one after another."""

    def __init__(self, machine: MachineSettings, patch: pytest.MonkeyPatch) -> None:
        self._machine, self._patch = machine, patch
        self.told: list[Any] = []
        self.engine = LaunchingEngine(machine)

    def train(
        self, job: RunJob, due: str = "never", failures: str = "", asks: int = 0
    ) -> RunRecord:
        """Trains a run; ``asks``: the step after which the launcher is asked to end."""
        command = (sys.executable, str(Path(__file__).with_name("saving_rank.py")))
        self._patch.setattr(launching, "RANK_COMMAND", command)
        self._patch.setenv(DUE_VARIABLE, due)
        self._patch.setenv(FAILURES_VARIABLE, failures)
        self.told.clear()
        self.engine = engine = LaunchingEngine(self._machine)

        def report(told: Progress | Resumption) -> Decision:
            self.told.append(told)
            if isinstance(told, Progress) and told.evaluation.step == asks:
                assert engine.end.make()
            return "continue"

        (record,) = engine.train([job], report)
        return record


@pytest.fixture
def tries_of(
    machines: dict[str, MachineSettings], monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], _Tries]:
    return lambda kind: _Tries(machines[kind], monkeypatch)


def _step_of(folder: Path) -> int:
    return int(folder.name.removeprefix("checkpoint-"))


@pytest.mark.parametrize("kind", ["DDP", "FSDP"])
@pytest.mark.parametrize("method", ["full_finetune", "lora"])
def test_a_run_that_was_asked_to_end_and_then_killed_goes_on_bit_for_bit(
    job_of: Jobs, tries_of: Callable[[str], _Tries], kind: str, method: str
) -> None:
    common = {"method": method, "writes": method == "lora", "keeps": True}
    common |= {"lora_dropout": 0.1} if method == "lora" else {}
    tries = tries_of(kind)
    whole_job, job = job_of("whole", **common), job_of("other", **common)
    whole = tries.train(whole_job)
    assert not list_checkpoints(whole_job.folder)

    with pytest.raises(SystemExit) as ended:
        tries.train(job, asks=2)
    assert ended.value.code == 143
    (asked,) = map(_step_of, list_checkpoints(job.folder))  # the only one: none was due
    assert 2 <= asked < 6
    with pytest.raises(WorkerError, match="rank 1 of 2: worker killed by SIGKILL"):
        tries.train(job, "each step", f"{asked + 2} killed")
    assert tries.told[0].step == asked
    found = tries.train(job)
    assert tries.told[0].step == asked + 1
    check_same_run(found, whole, _STEPS)
    for name in ("predictions.jsonl", *_weight_files(whole_job)):
        assert (job.folder / name).read_bytes() == (whole_job.folder / name).read_bytes()


def _weight_files(job: RunJob) -> list[str]:
    files = [str(path.relative_to(job.folder)) for path in job.folder.rglob("*.safetensors")]
    assert files
    return files


@pytest.mark.parametrize(
    ("kind", "damaged"), [("DDP", "rng_state_1.pth"), ("FSDP", "weights_1.pt")]
)
def test_what_befalls_one_rank_befalls_all_and_a_damaged_checkpoint_is_passed_over(
    job_of: Jobs, tries_of: Callable[[str], _Tries], kind: str, damaged: str
) -> None:
    tries = tries_of(kind)
    whole, job = tries.train(job_of("whole")), job_of("other")
    with pytest.raises(WorkerError, match="of 2: worker killed by SIGTERM"):
        tries.train(job, "each step", "2 full disk,4 asked")
    newest, older = list_checkpoints(job.folder)
    assert (newest.name, older.name) == ("checkpoint-5", "checkpoint-4")
    content = bytearray((newest / damaged).read_bytes())
    content[len(content) // 2] ^= 1
    (newest / damaged).write_bytes(content)
    check_same_run(tries.train(job), whole, _STEPS)
    assert tries.told[0].step == 4
    (note,) = tries.told[0].notes
    assert note == f"{newest}: damaged, passed over: {damaged} does not give its digest"


def test_a_run_whose_controller_goes_is_saved_and_reports_again_what_nobody_heard(
    job_of: Jobs, machines: dict[str, MachineSettings], tmp_path: Path
) -> None:
    machine = machines["DDP"].model_copy(update={"checkpoint_minutes": 1e-3})
    whole, _ = _finish(machine.model_copy(update={"checkpoint_minutes": None}), job_of("whole"))
    job = job_of("other")
    with WorkerPool(machine, tmp_path / "log") as pool:
        pool.submit(job)
        next_that(pool, lambda event: event.progress is not None)
    saved = list_checkpoints(job.folder)
    assert saved
    assert _step_of(saved[0]) == 2
    found, resumed = _finish(machine, job)
    assert (resumed.step, resumed.evaluations) == (2, ())
    check_same_run(found, whole, _STEPS)


def _finish(machine: MachineSettings, job: RunJob) -> tuple[RunRecord, Resumption]:
    seen: list[Resumption | None] = []
    with WorkerPool(machine, job.folder.with_suffix(".log")) as pool:
        pool.submit(job)

        def is_last(event: Any) -> bool:
            seen.append(event.resumption)
            return event.record is not None

        record = next_that(pool, is_last).record
    assert record is not None
    return record, next(filter(None, seen), Resumption(job.config.name, 0))
