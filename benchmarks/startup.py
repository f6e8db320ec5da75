"""Seconds that commands take which do not train: python benchmarks/startup.py [--repetitions 5].

The best of some repetitions, beside the processor's seconds, which other programs do not change.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

#: The goal for each of them.
WANTED_SECONDS = 0.7
#: Commands that look, and those that train where their input is wrong.
COMMANDS = (
    *("--help", "--version", "list", "list tasks", "list tasks --json", "search --help"),
    *("plan --study test", "status --study test", "status --study test --json"),
    *("check --study none.yaml", "plan --study none.yaml", "run none.yaml", "report --study test"),
    *("baselines --study test --task none", "defaults --study test --task none --method lora"),
    *("search --study test --task none --method lora", "init --csv none.csv --label target"),
    *("validate --study test --task none --method lora", "prepare-data --dataset none"),
    *("train --study test --optimal none.yaml --output out",),
    *("merge-adapter --adapter none --output out", "evaluate --model none --input none.csv"),
    *("predict --model none --input none.csv --output out.csv", "merge none"),
    *("preset none --base-model none --task imdb -o out",),
    *("ablate none --base-model none --task imdb -o out",),
)


def measure(command: str, folder: Path, repetitions: int) -> tuple[float, float]:
    """Returns the seconds of a command's quickest call, by the clock and of the processor."""
    found = []
    for _ in range(repetitions):
        before, start = os.times(), time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "phasewise", *command.split()],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wall, after = time.perf_counter() - start, os.times()
        used = after.children_user + after.children_system
        found.append((wall, used - before.children_user - before.children_system))
    return min(wall for wall, _ in found), min(used for _, used in found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=5)
    repetitions = parser.parse_args().repetitions
    slow = 0
    with tempfile.TemporaryDirectory() as folder:
        for command in COMMANDS:
            wall, used = measure(command, Path(folder), repetitions)
            slow += wall > WANTED_SECONDS
            print(f"{wall:6.2f} s {used:6.2f} s of processor  phasewise {command}", flush=True)
    print(f"{slow} of {len(COMMANDS)} commands take longer than {WANTED_SECONDS} s")


if __name__ == "__main__":
    main()
