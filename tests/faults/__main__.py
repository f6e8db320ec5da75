"""Prints the fault table: ``make faults``, or ``make faults FAULTS="--tries 3 'worker'"``.

A line is tried on studies of eight trials, at moments drawn at random; after each fault the same
command goes on to the end. Lost: finished trials whose records are gone or changed. Doubled: those
told or recorded twice, or two of the same settings. Budget: ended trials too many or too few.
Files: those that are not whole. Left: processes that are there 30 s later.
"""

import argparse
import random
import subprocess
import sys
import time

import psutil

from faults.lines import Bench, Row, SkippedError
from faults.table import LINES
from faults.world import HungError, World
from phasewise.training.server_process import share_server


def main() -> int:
    """Tries the lines that are asked for; returns 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("lines", nargs="*", help="Parts of lines' names; none: all.")
    parser.add_argument("--tries", type=int, default=20, help="Faults a line.")
    parser.add_argument("--seed", type=int, default=0, help="Of the moments.")
    options = parser.parse_args()
    wanted = [name for name in LINES if _is_asked_for(name, options.lines)]
    print(f"{'line':52} tries  lost doubled budget files left  seconds", flush=True)
    world = World()
    try:
        server = share_server()
        bench = Bench(
            world,
            None if server is None else psutil.Process(server.pid),
            random.Random(options.seed),
            options.tries,
            _measure(world),
        )
        return int(any([_try(name, bench) for name in wanted]))
    finally:
        world.close()


def _is_asked_for(name: str, parts: list[str]) -> bool:
    return not parts or any(part in name for part in parts)


def _measure(world: World) -> float:
    """Seconds of an undisturbed search; the second, since the first waits for imports."""
    for _ in range(2):
        study = world.study()
        began = time.monotonic()
        assert study.call() == 0, study.output.read_text()
        assert not any(study.check_end())
    return time.monotonic() - began


def _try(name: str, bench: Bench) -> bool:
    """Prints a line; returns whether anything was wrong."""
    began = time.monotonic()
    try:
        row = LINES[name](bench)
    except SkippedError as error:
        print(f"{name:52} NOT TRIED: {error}", flush=True)
        return False
    except HungError as error:
        print(f"{name:52} HANGS: {error}", flush=True)
        return True
    except (AssertionError, OSError, subprocess.SubprocessError) as error:
        print(f"{name:52} ERROR: {error!r}", flush=True)
        return True
    print(_format(name, row, time.monotonic() - began), flush=True)
    for text in row.verdict.broken:
        print(f"    {text}", file=sys.stderr, flush=True)
    return bool(any(row.verdict) or row.left)


def _format(name: str, row: Row, seconds: float) -> str:
    lost, doubled, budget, broken = row.verdict
    counts = f"{row.tries:5} {lost:5} {doubled:7} {budget:6} {len(broken):5} {row.left:4}"
    return f"{name:52} {counts} {seconds:8.0f}  {row.note}".rstrip()


if __name__ == "__main__":
    sys.exit(main())
