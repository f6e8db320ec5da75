"""Lines about disks that are full, each a small file system of its own."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from faults.checker import Verdict
from faults.lines import Bench, Row, SkippedError
from faults.world import METHOD, TRIALS, Try

#: Changes to the study: runs take seconds and write a checkpoint several times a second.
SAVING: dict[str, Any] = {
    "methods": {METHOD: {"defaults": {"epochs": 60}}},
    "machine": {"device": "cpu", "slots": 1, "kernels": False, "checkpoint_minutes": 0.005},
}
_PAGE = 4096


def fill_all(bench: Bench, **changes: Any) -> Row:
    """Fills the disk that records, journal and optimum lie on at a random moment, and frees it."""

    def under_way(place: Path, study: Try) -> "subprocess.Popen[bytes]":
        process = study.start()
        time.sleep(bench.random.uniform(0, bench.seconds))
        _fill(place, kept=bench.random.choice([0, 0, 1, 2, 4]))
        return process

    return _on_disks(bench, 1024, _whole_study(bench, changes), under_way)


def fill_record(bench: Bench, **changes: Any) -> Row:
    """The folder of a trial, any one, is on a full disk."""

    def make(place: Path) -> Try:
        study = bench.world.study(**changes)
        _mount_again(place, study.unit / f"phase1/trial-{bench.random.randrange(TRIALS):03d}")
        _fill(place)
        return study

    return _on_disks(bench, 2048, make, lambda _, study: study.start())


def fill_optimum(bench: Bench) -> Row:
    """The folder of the optimum is on a full disk."""

    def make(place: Path) -> Try:
        study = bench.world.study()
        _mount_again(place, study.optimum.parent)
        _fill(place)
        return study

    return _on_disks(bench, 64, make, lambda _, study: study.start())


def fill_journal(bench: Bench) -> Row:
    """The journal alone is on a disk that fills as it grows, any page of it the last."""

    def make(place: Path) -> Try:
        study = bench.world.study()
        (place / "journal.log").touch()
        study.journal.parent.mkdir(exist_ok=True)
        study.journal.touch()
        _mount_again(place / "journal.log", study.journal)
        _fill(place, kept=bench.random.randrange(3))
        return study

    return _on_disks(bench, 64, make, lambda _, study: study.start())


def _whole_study(bench: Bench, changes: dict[str, Any]) -> Callable[[Path], Try]:
    def make(place: Path) -> Try:
        analysis = place / "analysis"
        study = bench.world.study(where=place, analysis_dir=str(analysis), **changes)
        study.optimum = analysis / study.optimum.name
        return study

    return make


def _on_disks(
    bench: Bench,
    pages: int,
    make: Callable[[Path], Try],
    start: Callable[[Path, Try], "subprocess.Popen[bytes]"],
) -> Row:
    """Tries a fresh study on a fresh disk each time; freed, the same command ends it."""
    verdict, left, hit = Verdict(), 0, 0
    for _ in range(bench.tries):
        with _mount(bench.world.base / f"disk-{bench.world.count}", pages) as place:
            study = make(place)
            process = start(place, study)
            study.wait(process)
            told = study.output.read_text()
            hit += "No space left" in told
            traced = ["a traceback"] if "Traceback" in told else []
            before = study.finished()
            (place / "filler").unlink()
            if not study.optimum.exists() or not study.journal.stat().st_size:
                study.call()
            study.retry_failed()
            verdict += study.check_since(before) + study.check_end() + Verdict(broken=(*traced,))
            left += study.count_left(bench.server)
            _free(study)
    return Row(bench.tries, verdict, left, f"writes failed in {hit}")


@contextmanager
def _mount(place: Path, pages: int) -> Iterator[Path]:
    if os.geteuid() != 0:
        raise SkippedError("mounting a small disk needs root")
    place.mkdir()
    size = f"size={pages * _PAGE}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "none", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def _mount_again(source: Path, target: Path) -> None:
    if source.is_dir():
        target.mkdir(parents=True)
    subprocess.run(["mount", "--bind", source, target], check=True)


def _free(study: Try) -> None:
    """Takes off what was mounted inside the study."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        if (target := line.split()[1]).startswith(f"{study.folder}/"):
            subprocess.run(["umount", "-l", target], check=True)


def _fill(place: Path, kept: int = 0) -> None:
    """Leaves some pages."""
    space = os.statvfs(place)
    # The study may take some of it meanwhile: then less fits.
    with suppress(OSError), (place / "filler").open("wb", buffering=0) as stream:
        stream.write(bytes(max(0, space.f_bavail - kept) * space.f_frsize))
