"""The lines of the table: each tries one fault many times, at random moments."""

import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import psutil

from faults.checker import Verdict
from faults.world import HungError, Try, World

ROOT = Path(__file__).parents[2]
#: A stop that was asked for takes no longer: a spot machine has half a minute left.
STOP_SECONDS = 15.0
_WORKER_SERVER = "phasewise.training.worker_server"


class SkippedError(Exception):
    """This machine lacks what a line needs."""


class Bench(NamedTuple):
    """What a line is tried with."""

    world: World
    server: psutil.Process | None
    random: random.Random
    tries: int
    seconds: float
    """What an undisturbed search takes."""


class Row(NamedTuple):
    """What a line has shown."""

    tries: int
    verdict: Verdict
    left: int
    note: str = ""


#: Does something to a study under way; returns whether it could.
Inflict = Callable[[Bench, Try, "subprocess.Popen[bytes]"], bool]
Start = Callable[[Try], "subprocess.Popen[bytes]"]


def through_many(
    bench: Bench,
    inflict: Inflict,
    *,
    start: Start = lambda study: study.start(),
    make: Callable[[], Try] | None = None,
    between: Callable[[Try], None] = lambda _: None,
    seconds: float | None = None,
) -> Row:
    """Inflicts a fault on studies until it was tried often enough; each goes on to its end.

    Args:
        bench: What it is tried with.
        inflict: The fault, at a random moment.
        start: Starts the study, or goes on with it.
        make: A fresh study.
        between: Done before it goes on.
        seconds: What a study takes undisturbed.
    """
    verdict, left, done, starts = Verdict(), 0, 0, 0
    study: Try | None = None
    while done < bench.tries or study is not None:
        if (starts := starts + 1) > 10 * (bench.tries + 1):
            raise HungError(f"the fault could be inflicted {done} times in {starts} starts")
        if study is None:
            study = make() if make else bench.world.study()
        before = study.finished()
        process = start(study)
        if done < bench.tries:
            time.sleep(bench.random.uniform(0, seconds or bench.seconds))
            done += inflict(bench, study, process)
        study.wait(process)
        left += study.count_left(bench.server)
        verdict += study.check_since(before)
        if study.optimum.exists():
            study.retry_failed()
            verdict += study.check_end()
            study = None
        else:
            between(study)
    return Row(done, verdict, left)


def send(number: signal.Signals) -> Inflict:
    """Sends the command's own process a signal."""

    def inflict(_: Bench, study: Try, process: "subprocess.Popen[bytes]") -> bool:
        if process.poll() is not None:
            return False
        process.send_signal(number)
        if number == signal.SIGTERM:
            study.wait(process, STOP_SECONDS)
        return True

    return inflict


def send_worker(number: signal.Signals) -> Inflict:
    """Sends a worker a signal; its controller goes on."""

    def inflict(bench: Bench, _: Try, process: "subprocess.Popen[bytes]") -> bool:
        worker = _await_worker(bench, process)
        if worker is None:
            return False
        worker.send_signal(number)
        return True

    return inflict


def _await_worker(
    bench: Bench, process: "subprocess.Popen[bytes]", seconds: float = 20.0
) -> psutil.Process | None:
    deadline = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline:
        if bench.server is not None and (workers := bench.server.children()):
            return bench.random.choice(workers)
        time.sleep(0.02)
    return None


def send_server(number: signal.Signals) -> Inflict:
    """Sends the worker server a signal."""

    def inflict(_: Bench, study: Try, process: "subprocess.Popen[bytes]") -> bool:
        for each in study.processes():
            if _WORKER_SERVER in " ".join(each.cmdline()):
                each.send_signal(number)
                return True
        return False

    return inflict


def send_all(number: signal.Signals) -> Inflict:
    """Sends every process of the study a signal, in any order."""

    def inflict(bench: Bench, study: Try, process: "subprocess.Popen[bytes]") -> bool:
        found = study.processes()
        bench.random.shuffle(found)
        for each in found:
            try:
                each.send_signal(number)
            except psutil.Error:
                continue
        return bool(found)

    return inflict


def limit_memory(bench: Bench, _: Try, process: "subprocess.Popen[bytes]") -> bool:
    """Takes a worker's memory away for a moment: allocations fail."""
    worker = _await_worker(bench, process)
    if worker is None:
        return False
    try:
        _, hard = resource.prlimit(worker.pid, resource.RLIMIT_AS)
        size = worker.memory_info().vms
        resource.prlimit(worker.pid, resource.RLIMIT_AS, (size, hard))
        time.sleep(bench.random.uniform(0.1, 1.0))
        resource.prlimit(worker.pid, resource.RLIMIT_AS, (hard, hard))
    except (ProcessLookupError, psutil.Error):
        pass  # it died of it
    return True


def second_controller(bench: Bench, study: Try, process: "subprocess.Popen[bytes]") -> bool:
    """Starts another on the same folder, and kills the first, or lets it end."""
    if process.poll() is not None:
        return False
    second = study.start()
    time.sleep(bench.random.uniform(0, bench.seconds))
    if bench.random.random() < 0.5:
        process.kill()
    study.wait(process)
    study.wait(second)
    return True


def damage(kind: str) -> Callable[[Bench], Row]:
    """Kills a controller and damages a finished trial's record; the one line's remedy is taken."""

    def run(bench: Bench) -> Row:
        silent: list[str] = []

        def between(study: Try) -> None:
            finished = [name for name in study.finished() if name.startswith("phase1/trial")]
            if not finished:
                return
            path = study.unit / bench.random.choice(finished) / "record.json"
            content = path.read_bytes()
            path.write_bytes(_damage(kind, content, bench.random))
            size = study.output.stat().st_size
            code = study.call()
            told = study.output.read_bytes()[size:].decode(errors="replace").strip().splitlines()
            if code == 0 or not any(str(path) in line for line in told) or "Traceback" in told:
                silent.append(f"exit code {code} after a {kind} record")
            path.rename(path.with_name("moved-away"))
            path.with_name("moved-away").unlink()

        row = through_many(bench, send(signal.SIGKILL), between=between)
        return row._replace(verdict=row.verdict + Verdict(broken=tuple(silent)))

    return run


def _damage(kind: str, content: bytes, randomly: random.Random) -> bytes:
    if kind == "empty":
        return b""
    if kind == "truncated":
        return content[: randomly.randrange(1, len(content) - 1)]
    place = randomly.randrange(len(content) - 8)
    return content[:place] + randomly.randbytes(8) + content[place + 8 :]


def damage_journal(kind: str) -> Callable[[Bench], Row]:
    """Kills a controller and damages the end of the journal."""

    def run(bench: Bench) -> Row:
        def between(study: Try) -> None:
            if not study.journal.exists():
                return
            content = study.journal.read_bytes()
            last = content.rfind(b"\n", 0, len(content) - 1) + 1
            if kind == "torn" and content:
                study.journal.write_bytes(content[: bench.random.randrange(last, len(content))])
            elif kind == "garbage":
                junk = bench.random.randbytes(bench.random.randrange(1, 200)).replace(b"\n", b"")
                study.journal.write_bytes(content + junk + b"\n")

        return through_many(bench, send(signal.SIGKILL), between=between)

    return run


def clock_back(bench: Bench) -> Row:
    """Sets the controller's clock back a day while it runs, kills it, and again."""
    library = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))), None)
    if library is None:
        raise SkippedError("no faketime; Debian: apt-get install faketime")

    def make() -> Try:
        study = bench.world.study()
        clock = study.folder / "clock"
        clock.write_text("+0d")
        study.environment = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(clock),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        return study

    def inflict(bench: Bench, study: Try, process: "subprocess.Popen[bytes]") -> bool:
        if process.poll() is not None:
            return False
        clock = study.folder / "clock"
        clock.write_text(f"{int(clock.read_text()[:-1]) - 1:+d}d")
        if bench.random.random() < 0.5:
            time.sleep(bench.random.uniform(0, 1))
            process.kill()
        return True

    return through_many(bench, inflict, make=make)


def start_snakemake(study: Try) -> "subprocess.Popen[bytes]":
    """Runs the study to the end of Phase 1 through Snakemake."""
    return study.spawn([*call_snakemake(study), "phase1"], alone=True)


def call_snakemake(study: Try, *more: str, profile: str = "test") -> list[str]:
    """Returns the words of a call; targets may follow."""
    return [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")),
        *("--directory", str(study.folder), "--profile", str(ROOT / "profiles" / profile)),
        *more,
        *("--config", f"study={study.folder / 'study.yaml'}", "vm=all", "--"),
    ]


def unlock_while_jobs_live(bench: Bench, study: Try, process: "subprocess.Popen[bytes]") -> bool:
    """Kills snakemake alone, unlocks at once, and starts it again beside its living jobs."""
    if process.poll() is not None:
        return False
    process.kill()
    process.wait()
    unlock(study)
    study.wait(start_snakemake(study))
    return True


def stop_snakemake(bench: Bench, study: Try, process: "subprocess.Popen[bytes]") -> bool:
    """Sends snakemake alone SIGTERM: its unit must stop in seconds."""
    if process.poll() is not None:
        return False
    process.terminate()
    study.wait(process, STOP_SECONDS)
    return True


def unlock(study: Try) -> None:
    """What a user does after a kill."""
    words = [word for word in call_snakemake(study, "--unlock") if word != "--"]
    study.wait(study.spawn(words, alone=True))
