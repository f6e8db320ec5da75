"""What an ended run held is free at once: workers seldom look for garbage."""

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from phasewise.settings import MachineSettings
from phasewise.training.auto_engine import AutoEngine
from phasewise.training.interface import RunJob
from phasewise.training.packed.engine import PackedEngine
from phasewise.training.packed.run import PackedRun

_MACHINE = MachineSettings(device="cpu", slots=2)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> list["weakref.ref[Any]"]:
    """References to the models and weights of runs that have ended."""
    noted: list[weakref.ref[Any]] = []
    drop = PackedEngine._drop

    def note_and_drop(engine: PackedEngine, run: PackedRun) -> None:
        noted.extend(map(weakref.ref, (run, run.training.model, *run.parameters)))
        drop(engine, run)

    monkeypatch.setattr(PackedEngine, "_drop", note_and_drop)
    return noted


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("family", ["bert", "llama"])
def test_an_ended_run_is_freed_without_a_collection(
    job_of: Callable[..., RunJob],
    build_family: Callable[[str], str],
    held: list["weakref.ref[Any]"],
    family: str,
) -> None:
    source = build_family(family)
    jobs = [job_of(name, source=source, target_modules="all", epochs=1) for name in ("a", "b")]
    engine = AutoEngine(_MACHINE)
    gc.disable()
    try:
        records = list(engine.train(jobs, lambda _: "continue"))
        left = [type(found()).__name__ for found in held if found() is not None]
    finally:
        gc.enable()
    assert [record.status for record in records] == ["finished", "finished"]
    assert all(record.environment["engine"] == "packed" for record in records)
    assert len(held) > 2 * len(jobs)
    assert left == []
