"""A study that takes seconds, its processes, and whatever may be done to them."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil
import yaml

from faults.checker import Ends, Verdict, check_ended, compare, read_finished, read_journal
from tiny_models import write_tiny_bert

TRIALS = 8
TASK, METHOD = "toy", "lora"
#: After a fault nothing may be left for longer.
LEFT_SECONDS = 30.0
#: A command that takes longer hangs.
MOST_SECONDS = 300.0
_MARK = "PHASEWISE_FAULT_TRY"
_SPACE = {
    "learning_rate": {"type": "log_uniform", "min": 1e-4, "max": 1e-2},
    "lora_dropout": {"type": "uniform", "min": 0.0, "max": 0.3},
    "batch_size": {"type": "categorical", "values": [4, 8]},
    "lora_rank": {"type": "categorical", "values": [2, 4]},
    "target_modules": {"type": "fixed", "value": "all"},
}


class HungError(Exception):
    """A command has not ended in time."""


class World:
    """Where all tries happen: one working folder, so that one worker server serves them all."""

    def __init__(self) -> None:
        self.base = Path(tempfile.mkdtemp(prefix="phasewise-faults-"))
        os.chdir(self.base)
        write_tiny_bert(self.base / "model")
        rows = [{"text": f"word {i * 7 % 23} and {i % 5}", "label": i % 2} for i in range(96)]
        (self.base / "toy.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        space = {"source": "test", "spaces": {METHOD: _SPACE}}
        (self.base / "space.yaml").write_text(yaml.safe_dump(space))
        wild = {**_SPACE, "lora_alpha": {"type": "log_uniform", "min": 1.0, "max": 1e38}}
        space["spaces"] = {METHOD: wild}  # type: ignore[dict-item]
        (self.base / "wild.yaml").write_text(yaml.safe_dump(space))
        self.count = 0
        self._phase0: dict[str, Path] = {}

    def close(self) -> None:
        """Removes everything."""
        os.chdir("/")
        shutil.rmtree(self.base, ignore_errors=True)

    def study(self, *, space: str = "space.yaml", where: Path | None = None, **more: Any) -> "Try":
        """Gives a fresh study, Phase 0 done."""
        if more.get("storage") and space not in self._phase0:
            self.study(space=space)  # where the database cannot be reached from here
        self.count += 1
        folder = self.base / f"try-{self.count:04d}"
        folder.mkdir()
        content = {
            "name": "faults",
            "model": {"source": str(self.base / "model"), "dtype": "float32"},
            "tasks": {
                "toy": {
                    "kind": "classification",
                    "source": {"type": "files", "files": {"train": str(self.base / "toy.jsonl")}},
                    "splits": {"report": None, "report_rows": 16},
                    "text": ["text"],
                    "labels": ["bad", "good"],
                    "metric": "accuracy",
                    "train_rows": 32,
                    "search_rows": 32,
                    "max_length": 12,
                }
            },
            "methods": {METHOD: {"defaults": {"epochs": 2}}},
            "baselines": {"seeds": 2},
            "search": {"space": str(self.base / space), "trials": TRIALS, "pruner": "none",
                       "confirm_top": 1},
            "validation": {"seeds": 2},
            "machine": {"device": "cpu", "slots": 1, "kernels": False},
            "tracking": {"wandb": False},
            "experiments_dir": str((where or folder) / "experiments"),
            "analysis_dir": str(folder / "analysis"),
            **more,
        }  # fmt: skip
        (folder / "study.yaml").write_text(yaml.safe_dump(content))
        made = Try(folder, where or folder, f"{os.getpid()}-{self.count}")
        if space not in self._phase0:
            assert made.call("defaults") == 0, made.output.read_text()
            self._phase0[space] = folder / "kept"
            shutil.copytree(made.unit, self._phase0[space])
        else:
            shutil.copytree(self._phase0[space], made.unit, dirs_exist_ok=True)
        return made


class Try:
    """One study of a line, through as many faults as it lives."""

    def __init__(self, folder: Path, where: Path, mark: str) -> None:
        self.folder, self.mark = folder, mark
        self.unit = where / "experiments" / "faults" / TASK / METHOD
        self.optimum = folder / "analysis" / f"{TASK}_{METHOD}_optimal.yaml"
        self.output = folder / "output.log"
        self.environment: dict[str, str] = {}
        self.prefix: tuple[str, ...] = ()

    @property
    def journal(self) -> Path:
        """Of the search."""
        return self.unit / "phase1" / "journal.log"

    def start(self, command: str = "search", *, alone: bool = False) -> subprocess.Popen[bytes]:
        """Starts a command of the unit in a session of its own.

        Args:
            command: search, defaults or validate.
            alone: With a worker server of its own.
        """
        study = str(self.folder / "study.yaml")
        words = [sys.executable, "-m", "phasewise", command, "--study", study]
        words += ["--task", TASK, "--method", METHOD, "--log", str(self.folder / "run.log")]
        return self.spawn([*self.prefix, *words], alone=alone)

    def spawn(self, words: list[str], *, alone: bool = False) -> subprocess.Popen[bytes]:
        """Starts a program; see ``start``."""
        environment = {**os.environ, **self.environment}
        environment.pop("PYTEST_CURRENT_TEST", None)  # another in each test: refused, see below
        if alone:  # the shared server refuses another environment
            environment[_MARK] = self.mark
            environment.pop("PHASEWISE_WORKER_SERVER", None)
        with self.output.open("ab") as log:
            return subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )

    def call(self, command: str = "search") -> int:
        """Runs a command to its end; returns its exit code."""
        return self.wait(self.start(command))

    def wait(self, process: subprocess.Popen[bytes], seconds: float = MOST_SECONDS) -> int:
        """Returns the exit code."""
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise HungError(f"no end within {seconds:.0f} s; see {self.output}") from None

    def retry_failed(self) -> None:
        """Calls the search again while it has runs that failed, as its last line says to do."""
        for _ in range(3):
            records = [json.loads(p.read_bytes()) for p in self.unit.glob("phase1/*/record.json")]
            if all(record["status"] != "failed" for record in records):
                return
            self.call()

    def finished(self) -> dict[str, str]:
        """Returns the runs that have ended for good."""
        return read_finished(self.unit)

    def check_since(self, before: dict[str, str]) -> Verdict:
        """Whether what had ended is still there."""
        return compare(before, self.unit)

    def check_end(self, ends: Ends | None = None) -> Verdict:
        """Whether a search that ended has all, once."""
        found = read_journal(self.journal) if ends is None else ends
        return check_ended(self.unit, self.optimum, found, TRIALS)

    def processes(self) -> list[psutil.Process]:
        """Returns the try's processes, but for workers of the shared server."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.status() == "zombie" or process.pid == os.getpid():
                    continue
                words = process.cmdline()
                if any(f"{self.folder}/" in word for word in words) or (
                    process.environ().get(_MARK) == self.mark
                ):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def count_left(self, server: psutil.Process | None) -> int:
        """Returns how many processes are still there after a while; they are ended."""
        deadline = time.monotonic() + LEFT_SECONDS
        while (left := [*self.processes(), *_children(server)]) and time.monotonic() < deadline:
            time.sleep(0.1)
        for process in left:
            process.kill()
        return len(left)


def _children(server: psutil.Process | None) -> Iterable[psutil.Process]:
    return server.children() if server is not None and server.is_running() else []


def pause(randomly: random.Random, seconds: float) -> None:
    """Waits for a random part of some seconds."""
    time.sleep(randomly.uniform(0, seconds))
