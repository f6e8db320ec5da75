"""Jobs handed out: longest first, as many as there are slots, each fallback explained once."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from fake_pool import FakePool, build_record, write_tuning_study
from phasewise.checkpoints import list_checkpoints, write_checkpoint
from phasewise.records import RunRecord, write_record
from phasewise.runs import build_seeds
from phasewise.training.interface import UNPACKED_KEY, Resumption, RunJob
from phasewise.training.pool import PoolEvent
from phasewise.tuning.dispatch import Dispatcher
from phasewise.tuning.run_records import find_record
from phasewise.tuning.stopping import StopFlag
from phasewise.tuning.units import Unit


@pytest.fixture
def jobs(tmp_path: Path) -> list[RunJob]:
    unit = Unit(write_tuning_study(tmp_path), "toy", "lora")
    sizes = {"short": (1, 16), "long": (4, 4), "middle": (4, 16), "same": (1, 16)}
    return [
        unit.job(
            "pilot",
            index,
            unit.default.model_copy(update={"epochs": epochs, "batch_size": batch_size}),
            build_seeds(0, "phase1", "toy", index),
            variant=name,
        )
        for index, (name, (epochs, batch_size)) in enumerate(sizes.items())
    ]


def _run(pool: FakePool, jobs: list[RunJob]) -> tuple[list[str], list[str]]:
    """Returns what was said and which runs ended, in order."""
    said: list[str] = []
    ended: list[str] = []
    with Dispatcher(lambda: pool, retries=1, stop=StopFlag(), say=said.append) as dispatcher:
        dispatcher.run_all(
            jobs,
            ended=lambda job, record: ended.append(record.config.name),
            evaluated=lambda job, evaluation: "continue",
        )
    return said, ended


def test_the_longest_of_a_known_list_start_first(jobs: list[RunJob]) -> None:
    pool = FakePool()
    said, ended = _run(pool, jobs)
    assert pool.started == ended == ["long", "middle", "short", "same"]
    assert said == [f"{name} starts" for name in pool.started]


def test_room_that_a_worker_tells_of_is_filled_at_once(jobs: list[RunJob]) -> None:
    class GrowingPool(FakePool):
        def wait(self, timeout: float | None = None) -> list[PoolEvent]:
            if self.size == 1:
                self.size = 3  # only more slots
                return []
            counts.append(len(self._running))
            return super().wait(timeout)

    counts: list[int] = []
    _run(GrowingPool(), jobs)
    assert counts[0] == 3


@pytest.mark.parametrize("is_known", [True, False])
def test_known_jobs_are_asked_for_before_there_is_room(jobs: list[RunJob], is_known: bool) -> None:
    """Those that follow from results only once there is."""
    offered: list[int] = []

    class ChoosingPool(FakePool):
        def offer(self, jobs: Sequence[RunJob]) -> RunJob | None:
            offered.append(len(jobs))
            return super().offer(jobs[::-1])

    pool, waiting = ChoosingPool(), iter(jobs)
    with Dispatcher(lambda: pool, retries=1, stop=StopFlag(), say=lambda _: None) as dispatcher:
        dispatcher.run(
            lambda: next(waiting, None),
            ended=lambda job, record: None,
            evaluated=lambda job, evaluation: "continue",
            is_known=lambda: is_known,
        )
    assert offered[0] == (4 if is_known else 1)
    names = [job.config.name for job in jobs]
    assert pool.started == (names[::-1] if is_known else names)


def test_why_runs_trained_alone_is_said_once(jobs: list[RunJob]) -> None:
    class TrainerPool(FakePool):
        def wait(self, timeout: float | None = None) -> list[PoolEvent]:
            return [self._mark(event) for event in super().wait(timeout)]

        def _mark(self, event: PoolEvent) -> PoolEvent:
            record: RunRecord | None = event.record
            if record is None:
                return event
            environment = {UNPACKED_KEY: "its attention is its own"}
            return event._replace(record=record.model_copy(update={"environment": environment}))

    said, _ = _run(TrainerPool(), jobs)
    (line,) = [line for line in said if "starts" not in line]
    expected = "long trained alone, through the trainer engine: its attention is its own"
    assert line == expected


def test_checkpoints_are_freed_once_the_run_has_been_told_unless_it_failed(
    jobs: list[RunJob],
) -> None:
    names = ["long", "same"]
    chosen = [job for job in jobs if job.config.name in names]
    for job in chosen:
        write_checkpoint(job.folder, 4, "owner", {}, lambda folder: None)
    seen: dict[str, int] = {}

    def end(job: RunJob, record: RunRecord) -> None:
        seen[job.config.name] = len(list_checkpoints(job.folder))

    class ResumingPool(FakePool):
        def wait(self, timeout: float | None = None) -> list[PoolEvent]:
            events = super().wait(timeout)
            if not resumed and events[0].progress is not None:
                told = Resumption("long", 4, (events[0].progress.evaluation,), ("a note",))
                return [PoolEvent(events[0].job, resumption=told), *events]
            return events

    said: list[str] = []
    resumed: list[tuple[str, int]] = []
    pool = ResumingPool(fate=lambda config: "failed" if config.name == "same" else "finished")
    waiting = iter(chosen)
    with Dispatcher(lambda: pool, retries=1, stop=StopFlag(), say=said.append) as dispatcher:
        dispatcher.run(
            lambda: next(waiting, None),
            ended=end,
            evaluated=lambda job, evaluation: "continue",
            resumed=lambda job, known: resumed.append((job.config.name, len(known))),
        )
    assert said == ["long: a note", "long goes on from its checkpoint of step 4"]
    assert resumed == [("long", 1)]
    assert seen == {"long": 1, "same": 1}  # still there while the record is told
    left = {job.config.name: len(list_checkpoints(job.folder)) for job in chosen}
    assert left == {"long": 0, "same": 1}


def test_a_run_found_on_record_keeps_no_checkpoint(jobs: list[RunJob]) -> None:
    """Its controller died between the record and the telling."""
    job = jobs[0]
    write_checkpoint(job.folder, 4, "owner", {}, lambda folder: None)
    write_record(job.folder, build_record(job.config, "finished"))
    assert find_record(job, print) is not None
    assert not list_checkpoints(job.folder)
