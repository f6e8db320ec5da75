"""Lines about jobs of a real SLURM cluster, each try one study through ``--profile slurm``."""

import ctypes
import fcntl
import json
import math
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import psutil
import pytest

from faults.checker import Verdict
from faults.lines import Bench, Row, SkippedError, call_snakemake
from faults.world import METHOD, TASK, HungError, Try
from slurm_cluster import Cluster, run_slurm

#: Two snakemakes start in a job before the study does.
_STARTS_SECONDS = 8.0
#: How long a job may wait: a node is given up, then the old credential has to expire.
_QUEUE_SECONDS = 120.0
#: Changes to the study: runs take seconds and write checkpoints on their way.
_MACHINE = {"device": "cpu", "slots": 1, "kernels": False, "checkpoint_minutes": 0.005}
_LONG: dict[str, Any] = {
    "resources": {"mem_mb": 1000, "runtime": 5},
    "methods": {METHOD: {"defaults": {"epochs": 15}}},
    "machine": _MACHINE,
}
#: A job's limit is a minute, of which the command has the first half; a search of ten trainings of
#: so many seconds takes more.
_SHORT = {"mem_mb": 1000, "runtime": 1}
_TRAINING_SECONDS = 4.0
#: What the profile has for a cluster of thousands: looks at the jobs, waits for network disks.
_HASTE = ("--slurm-init-seconds-before-status-checks", "2", "--latency-wait", "5")
_RESUMED = "goes on from its checkpoint of step"
_GET_DESCRIPTOR = 438  # pidfd_getfd(2), which Python has no function for


class Job(NamedTuple):
    """A job of a study as SLURM has it."""

    number: str
    state: str
    node: str


class Scene(NamedTuple):
    """A study at work on a cluster."""

    bench: Bench
    cluster: Cluster
    study: Try
    process: "subprocess.Popen[bytes]"

    def jobs(self) -> list[Job]:
        """Returns all jobs that the study has ever submitted."""
        text = self.cluster.call("squeue", "-h", "-t", "all", "-o", "%Z|%i|%T|%N")
        rows = [line.split("|") for line in text.splitlines()]
        return [Job(*rest) for folder, *rest in rows if folder == str(self.study.folder)]

    def await_job(self, node: str = "") -> Job | None:
        """Waits for a running job, on any other node; None: the study has ended before.

        Raises:
            HungError: There is none after a while.
        """
        deadline = time.monotonic() + _QUEUE_SECONDS
        while time.monotonic() < deadline:
            for job in self.jobs():
                if job.state == "RUNNING" and job.node != node:
                    return job
            if self.process.poll() is not None:
                return None
            time.sleep(0.2)
        raise HungError(f"no job has begun: {self.jobs()}; see {self.study.output}")

    def pause(self) -> None:
        """Waits for a random part of what a job takes."""
        seconds = _STARTS_SECONDS + self.bench.seconds * 4
        time.sleep(self.bench.random.uniform(0, seconds))

    def hit_job(self) -> Job | None:
        """Waits for a random moment of a job; None: it had ended by then."""
        job = self.await_job()
        if job is None:
            return None
        self.pause()
        return job if job in self.jobs() else None


#: Does something to a study under way; returns what had ended by then, None if it came too late.
Inflict = Callable[[Scene], "dict[str, str] | None"]


def on_cluster(
    bench: Bench, inflict: Inflict, *, codes: tuple[int, ...] = (0,), **changes: Any
) -> Row:
    """Inflicts a fault on jobs of fresh studies until it was tried often enough.

    Args:
        bench: What it is tried with.
        inflict: The fault.
        codes: What the call of snakemake may end with; after another one than 0 it is called again.
        changes: To the study.
    """
    verdict, left, done, starts, resumed, called = Verdict(), 0, 0, 0, 0, 0
    with _cluster() as cluster:
        make = _prepare(bench, **changes)
        while done < bench.tries:
            if (starts := starts + 1) > 10 * (bench.tries + 1):
                raise HungError(f"the fault could be inflicted {done} times in {starts} starts")
            scene = Scene(bench, cluster, study := make(cluster), _start(study))
            ended = inflict(scene)
            done += ended is not None
            broken = _end(scene, (0,) if ended is None else codes)
            called += len(scene.jobs()) > 1
            left += study.count_left(None)
            verdict += study.check_since(ended or {}) + study.check_end() + Verdict(broken=broken)
            resumed += _RESUMED in _read_log(study)
            cluster.await_idle()
    notes = f"resumed from a checkpoint in {resumed}, snakemake called again in {called}"
    return Row(done, verdict, left, notes)


@contextmanager
def _cluster() -> Iterator[Cluster]:
    try:
        with run_slurm() as cluster:
            yield cluster
    except pytest.skip.Exception as error:
        raise SkippedError(str(error)) from None


def _prepare(bench: Bench, **changes: Any) -> Callable[[Cluster], Try]:
    """Does Phase 0 here, once for all; returns what gives fresh studies that have it."""
    changes = {**_LONG, **changes}
    first = bench.world.study(**changes)
    code = first.wait(first.spawn([*call_snakemake(first), "phase0"], alone=True))
    assert code == 0, first.output.read_text()

    def make(cluster: Cluster) -> Try:
        study = bench.world.study(**changes)
        shutil.rmtree(study.folder / "experiments")
        shutil.copytree(first.folder / "experiments", study.folder / "experiments")
        study.environment = cluster.environment
        return study

    return make


def _start(study: Try) -> "subprocess.Popen[bytes]":
    return study.spawn([*call_snakemake(study, *_HASTE, profile="slurm"), "phase1"], alone=True)


def _end(scene: Scene, codes: tuple[int, ...]) -> tuple[str, ...]:
    """Lets snakemake end, and calls it again if it failed; returns what is wrong."""
    code = scene.study.wait(scene.process)
    told, wanted = [(code, len(scene.jobs()))], [(code, 1)]
    if code:
        again = scene.study.wait(_start(scene.study))
        told.append((again, len(scene.jobs())))
        wanted.append((0, 2))
    if code in codes and told == wanted:
        return ()
    return (f"exit codes {codes} wanted, and jobs {told}, not {wanted}; see {scene.study.output}",)


def _read_log(study: Try) -> str:
    return (study.folder / f"logs/phase1_optuna/all/{TASK}_{METHOD}.log").read_text()


def tell(*words: str) -> Inflict:
    """Returns what gives a command of SLURM the number of the job under way."""

    def inflict(scene: Scene) -> "dict[str, str] | None":
        if (job := scene.hit_job()) is None:
            return None
        ended = scene.study.finished()
        scene.cluster.call(*words, job.number)
        return ended

    return inflict


#: The job must not be submitted again.
_CANCEL = tell("scancel")
#: As preemption does.
_REQUEUE = tell("scontrol", "requeue")


def _time_out_often(bench: Bench) -> Row:
    """Trains for as many epochs as outlast a job's limit on this machine, fast or slow."""
    few = _LONG["methods"][METHOD]["defaults"]["epochs"]
    study = bench.world.study(**_LONG)
    assert study.call("defaults") == 0, study.output.read_text()
    record = json.loads((study.unit / "phase0" / "default-0" / "record.json").read_bytes())
    epochs = math.ceil(few * _TRAINING_SECONDS / record["cost"]["total_seconds"])
    methods = {METHOD: {"defaults": {"epochs": epochs}}}
    return on_cluster(bench, time_out, resources=_SHORT, methods=methods)


def time_out(scene: Scene) -> "dict[str, str] | None":
    """Lets the job run into its limit."""
    job = scene.await_job()
    scene.study.wait(scene.process)
    if job is None or "Restarts=0" in scene.cluster.call("scontrol", "show", "job", job.number):
        return None
    return {}


def kill_node(scene: Scene) -> "dict[str, str] | None":
    """Cuts the power of the job's node, which comes back once the job runs elsewhere."""
    if (job := scene.hit_job()) is None:
        return None
    ended = scene.study.finished()
    scene.cluster.kill_node(job.node)
    scene.await_job(node=job.node)
    scene.cluster.start_node(job.node)
    return ended


def hang_node(scene: Scene) -> "dict[str, str] | None":
    """Stops all processes of the job's node, which go on at some moment of the next owner's work.

    The node's srun then ends the step of its number, which is the next owner's by now, and SLURM
    takes the job for failed: snakemake has to be called again.

    In half of the tries the node loses its locks meanwhile, as a client of a network file system
    does that is not heard of: then the next owner does not wait for it.
    """
    if (job := scene.hit_job()) is None:
        return None
    stopped = _stop(scene.cluster.processes(job.node))
    if scene.bench.random.random() < 0.5:
        for process in stopped:
            _take_locks(process)
    if scene.await_job(node=job.node) is not None:
        scene.pause()
    ended = scene.study.finished()
    slurm = [process for process in stopped if process.name().startswith("slurm")]
    for process in stopped:
        if process not in slurm:
            process.resume()
    time.sleep(scene.bench.random.uniform(0, 5))  # SLURM does not know yet that it is back
    for process in slurm:
        process.resume()
    return ended


def _stop(processes: list[psutil.Process]) -> list[psutil.Process]:
    stopped = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGSTOP)
            stopped.append(process)
    return stopped


def _take_locks(process: psutil.Process) -> None:
    """Gives a process's locks back through a second hand on its open files."""
    held = os.pidfd_open(process.pid)
    for opened in process.open_files():
        if not opened.path.endswith(".lock"):
            continue
        descriptor = ctypes.CDLL(None).syscall(_GET_DESCRIPTOR, held, opened.fd, 0)
        if descriptor < 0:
            raise SkippedError("this kernel does not let one take another process's locks")
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)
    os.close(held)


def lines() -> dict[str, Callable[[Bench], Row]]:
    """Returns the lines by their names."""
    return {
        "SLURM: job canceled": lambda bench: on_cluster(bench, _CANCEL, codes=(1,)),
        "SLURM: job requeued": lambda bench: on_cluster(bench, _REQUEUE),
        "SLURM: job timed out": _time_out_often,
        "SLURM: node killed": lambda bench: on_cluster(bench, kill_node),
        "SLURM: node hung and returned": lambda bench: on_cluster(bench, hang_node, codes=(0, 1)),
    }
