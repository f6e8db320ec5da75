"""A listener of runs can neither delay nor fail anybody."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

from fake_pool import build_record
from phasewise.records import RunRecord
from phasewise.runs import build_seeds
from phasewise.settings import Study
from phasewise.tuning.hooks import RunHook
from phasewise.tuning.units import Unit


def test_hanging_listener_is_left_behind(tuning_study: Callable[..., Study]) -> None:
    unit = Unit(tuning_study(), "toy", "lora")
    job = unit.job("trial", 0, unit.default, build_seeds(0, "phase1", "toy", 0))
    release = threading.Event()
    lines: list[str] = []

    class Hanging:
        def begin(self, folder: Path) -> None:
            release.wait(10)

        def end(self, record: RunRecord, folder: Path) -> None:
            release.wait(10)

    started = time.monotonic()
    with RunHook(Hanging(), lines.append, patience=0.05) as hook:
        hook.begin(job.folder)
        hook.end(build_record(job.config, "finished"), job.folder)
    release.set()
    assert time.monotonic() - started < 2
    assert lines == ["tracking is slow; going on without it, the records are complete"]
