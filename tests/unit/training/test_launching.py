"""Two processes that train one run together, over gloo on a CPU, against one that trains alone."""

import signal
import subprocess
import sys
from collections.abc import Callable
from multiprocessing import Pipe
from pathlib import Path
from time import monotonic, sleep

import psutil
import pytest
import torch
from safetensors.torch import load_file, save_file

from phasewise.errors import WorkerError
from phasewise.records import RunRecord
from phasewise.settings import MachineSettings
from phasewise.tasks.ledger import read_ledger
from phasewise.tasks.predictions import read_predictions
from phasewise.training import launching
from phasewise.training.interface import ControllerGoneError, Decision, Progress, RunJob
from phasewise.training.launching import LaunchingEngine
from phasewise.training.pool import WorkerPool
from phasewise.training.trainer_engine import TrainerEngine
from pool_waiting import next_that

#: Two sums of the same float32 numbers in another order; one process rounds as far from the truth.
_ROUNDING = 1e-4
#: "film" in MiniLM's vocabulary.
_FILM = 2143
_ALONE = MachineSettings(device="cpu")
Jobs = Callable[..., RunJob]


def _train(
    engine: LaunchingEngine | TrainerEngine, job: RunJob, decision: Decision = "continue"
) -> tuple[RunRecord, list[Progress]]:
    seen: list[Progress] = []

    def report(progress: Progress) -> Decision:
        seen.append(progress)
        return decision

    (record,) = engine.train([job], report)
    return record, seen


def _check_same(together: RunRecord, alone: RunRecord, rounding: float = _ROUNDING) -> None:
    assert together.status == "finished", together.message
    for one, other in zip(together.train_points, alone.train_points, strict=True):
        assert (one.step, one.learning_rate) == (other.step, other.learning_rate)
        assert one.loss == pytest.approx(other.loss, rel=rounding)
    assert together.cost is not None
    assert alone.cost is not None
    assert together.cost.train_tokens == alone.cost.train_tokens
    assert together.cost.trainable_parameters == alone.cost.trainable_parameters
    for mine, theirs in zip(together.evaluations, alone.evaluations, strict=True):
        assert (mine.step, mine.epoch) == (theirs.step, theirs.epoch)
        assert mine.train_loss == pytest.approx(theirs.train_loss, rel=rounding)


@pytest.mark.parametrize("kind", ["DDP", "FSDP"])
@pytest.mark.parametrize(("method", "writes"), [("full_finetune", False), ("dora", True)])
def test_two_devices_have_the_losses_of_one(
    job_of: Jobs, machines: dict[str, MachineSettings], kind: str, method: str, writes: bool
) -> None:
    common = {"method": method, "writes": writes, "keeps": True}
    job = job_of("two", **common)
    together, seen = _train(LaunchingEngine(machines[kind]), job)
    one_of_four = {"micro_batch_size": 4}  # rows of a pass, as many as two devices have
    other = job_of("one", training=one_of_four, **common)
    alone, _ = _train(TrainerEngine(_ALONE), other)
    _check_same(together, alone)
    assert together.environment["divided"] == f"2 devices ({kind})"
    assert together.cost is not None
    assert together.cost.micro_batch_size == 2
    assert [progress.evaluation for progress in seen] == list(together.evaluations)
    assert together.report_metrics == pytest.approx(alone.report_metrics, rel=1e-3)
    _check_files(job, writes=writes)
    expected = _read_weights(other)
    for name, weight in _read_weights(job).items():
        torch.testing.assert_close(weight, expected.pop(name), rtol=1e-3, atol=1e-3)
    assert not expected


def _check_files(job: RunJob, *, writes: bool) -> None:
    """One process wrote each file, the model among them, which is whole."""
    assert len(read_ledger(job.ledger)) == 1
    assert {file.name for file in job.folder.iterdir()} == {
        "live.jsonl",
        "model",
        "predictions.jsonl",
    }
    assert len(read_predictions(job.folder / "predictions.jsonl")) == (8 if writes else 20)


def _read_weights(job: RunJob) -> dict[str, torch.Tensor]:
    (file,) = (job.folder / "model").glob("*.safetensors")
    return load_file(file)


def test_a_pruned_run_ends_on_all_devices(
    job_of: Jobs, machines: dict[str, MachineSettings]
) -> None:
    """Activations recomputed in half precision, of divided weights of two precisions."""
    job = job_of(dtype="bfloat16", writes=True, training={"gradient_checkpointing": True})
    record, seen = _train(LaunchingEngine(machines["FSDP"]), job, "prune")
    assert record.status == "pruned", record.message
    assert len(seen) == len(record.evaluations) == 1
    assert record.evaluations[0].train_loss is not None


def test_a_loss_that_is_not_finite_ends_the_run_on_all_devices(
    job_of: Jobs, machines: dict[str, MachineSettings]
) -> None:
    """One word makes it so, in the rows of one rank."""
    job = job_of(method="full_finetune")
    file = job.folder.with_name("model") / "model.safetensors"
    weights = load_file(file)
    weights["embeddings.word_embeddings.weight"][_FILM] = torch.nan
    save_file(weights, file, {"format": "pt"})
    record, _ = _train(LaunchingEngine(machines["DDP"]), job)
    assert record.status == "diverged", record.message
    assert record.message.startswith("the training loss became nan at step")


def test_a_killed_rank_ends_the_worker_with_its_message_and_leaves_none(
    job_of: Jobs, machines: dict[str, MachineSettings], tmp_path: Path
) -> None:
    with WorkerPool(machines["DDP"], tmp_path / "log") as pool:
        pool.submit(job_of())
        scored = next_that(pool, lambda event: event.progress is not None)
        children = psutil.Process().children(recursive=True)
        rank = next(p for p in children if p.environ().get("RANK") == "1")
        rank.kill()
        pool.answer(scored.job, "continue")
        event = next_that(pool, lambda event: event.death is not None)
    assert "rank 1 of 2: worker killed by SIGKILL" in (event.death or "")
    _, left = psutil.wait_procs(children, timeout=10)
    assert not left


@pytest.fixture
def echo(monkeypatch: pytest.MonkeyPatch) -> LaunchingEngine:
    command = (sys.executable, str(Path(__file__).with_name("echo_rank.py")))
    monkeypatch.setattr(launching, "RANK_COMMAND", command)
    monkeypatch.setattr(launching, "_GRACE_SECONDS", 3.0)
    return LaunchingEngine(MachineSettings(device="cpu", gpus_per_run=2))


def test_the_first_rank_is_asked_and_its_record_counts(echo: LaunchingEngine, job_of: Jobs) -> None:
    job = job_of("well")
    record, seen = _train(echo, job, "prune")
    assert record.environment["rank"] == "0"
    assert [progress.evaluation.step for progress in seen] == [3]
    assert (job.folder / "decision").read_text() == "prune"


def test_memory_that_one_rank_lacks_halves_the_rows_of_all(
    echo: LaunchingEngine, job_of: Jobs
) -> None:
    """8, 4, 2; what has been reported is known to the next attempt."""
    record, _ = _train(echo, job_of("large"))
    assert record.status == "finished"
    assert record.cost is not None
    assert record.cost.micro_batch_size == 2
    assert record.environment["reported"] == "3"


def test_an_error_of_one_rank_is_the_run_s_and_the_others_end(
    echo: LaunchingEngine, job_of: Jobs
) -> None:
    job = job_of("broken")
    record, _ = _train(echo, job)
    assert (record.status, record.message) == ("failed", "ValueError: mine alone")
    assert not _living(job)


def test_the_rank_that_was_killed_is_told_not_the_one_that_lost_it(
    echo: LaunchingEngine, job_of: Jobs
) -> None:
    with pytest.raises(WorkerError, match="rank 1 of 2: worker killed by SIGKILL"):
        _train(echo, job_of("killed"))


def test_ranks_whose_files_are_another_controller_s_are_told(
    echo: LaunchingEngine, job_of: Jobs
) -> None:
    with pytest.raises(ControllerGoneError):
        _train(echo, job_of("gone"))


def test_ranks_are_told_that_nobody_listens_and_none_is_left(
    echo: LaunchingEngine, job_of: Jobs
) -> None:
    job = job_of("well")

    def report(_: object) -> Decision:
        raise ControllerGoneError

    with pytest.raises(ControllerGoneError):
        list(echo.train([job], report))
    assert not _living(job)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_launcher_that_ends_takes_its_ranks_along(
    echo: LaunchingEngine, job_of: Jobs, number: signal.Signals
) -> None:
    job = job_of("hangs")
    mine, theirs = Pipe()
    machine = MachineSettings(device="cpu", gpus_per_run=2)
    code = (
        "from phasewise.training import launching, worker\n"
        f"launching.RANK_COMMAND = {launching.RANK_COMMAND!r}\n"
        "worker.main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(theirs.fileno()), machine.model_dump_json()],
        pass_fds=[theirs.fileno()],
    )
    theirs.close()
    mine.send(job)
    deadline = monotonic() + 60
    while len(list(job.folder.glob("*.pid"))) < 2:
        assert monotonic() < deadline
        sleep(0.05)
    process.send_signal(number)
    process.wait()
    deadline = monotonic() + 10
    while _living(job):
        assert monotonic() < deadline
        sleep(0.05)


def _living(job: RunJob) -> list[int]:
    pids = [int(file.read_text() or 0) for file in job.folder.glob("*.pid")]
    return [pid for pid in pids if psutil.pid_exists(pid)]
