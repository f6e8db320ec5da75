"""``phasewise sync``: completes the mirror of a study from its records, and verifies it."""

import fcntl
import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

from phasewise.errors import RecordError
from phasewise.live import read_live
from phasewise.records import RECORD_FILE, RunRecord, read_record
from phasewise.runs import RunConfig, UnitPaths
from phasewise.settings import Study
from phasewise.tracking.contents import (
    ObjectiveView,
    describe_summary,
    list_steps,
    list_tags,
    spread_times,
)
from phasewise.tracking.marker import (
    MARKER_FILE,
    MirrorMarker,
    MirrorPlan,
    read_marker,
    run_id,
    write_marker,
)
from phasewise.tracking.process import build_plan
from phasewise.tracking.wandb_run import (
    SUPERSEDED,
    WandbRun,
    close_attempt,
    describe_error,
    find_local,
    restart_service,
)
from phasewise.unit_runs import PresentUnit

#: For one run's local copy to be sent, and for one answer of the server.
_SEND_SECONDS, _ANSWER_SECONDS = 120.0, 20
#: A server shows what it was sent a moment later.
_ASKED_AFTER = (0.0, 1.0, 4.0)


class SyncResult(NamedTuple):
    """What came of a study's runs."""

    verified: int
    """Runs of which the server has all, as it says."""
    running: int
    """Runs under way, which are left alone."""
    problems: tuple[str, ...]
    """Runs that are not complete, each with the reason."""


@dataclass(frozen=True)
class _Run:
    """A run that has a record."""

    folder: Path
    record: RunRecord
    marker: MirrorMarker
    objective: ObjectiveView
    is_superseded: bool

    @property
    def more_tags(self) -> list[str]:
        """Beside those of every run."""
        return [SUPERSEDED] if self.is_superseded else []


def sync_study(study: Study, *, again: bool, say: Callable[[str], None]) -> SyncResult:
    """Brings every run of a study to the server and asks it whether it has them.

    May be repeated at any time: a run that is complete is left alone.

    Args:
        study: The study.
        again: Whether runs that were verified before are asked for once more.
        say: Gets a line per run that is sent.
    """
    sync = _Sync(build_plan(study), again, say)
    for task in study.tasks:
        for method in study.methods:
            sync.sync_unit(study, task, method)
    return SyncResult(sync.verified, sync.running, tuple(sync.problems))


class _Sync:
    """One call's work and what came of it."""

    def __init__(self, plan: MirrorPlan, again: bool, say: Callable[[str], None]) -> None:
        self._plan, self._again, self._say = plan, again, say
        self.verified = self.running = 0
        self.problems: list[str] = []

    def sync_unit(self, study: Study, task: str, method: str) -> None:
        """Brings the runs of a unit."""
        paths = UnitPaths(study, task, method)
        objective = ObjectiveView(self._plan.search, paths.root, study.tasks[task].metric)
        now: PresentUnit | None = None
        for folder in _find_runs(paths.root):
            try:
                record = read_record(folder)
            except RecordError as error:
                self.problems.append(str(error))
                continue
            if record is None:
                self._close_cut_off(folder, objective, is_held=_is_held(paths.lock))
                continue
            now = now or PresentUnit(study, task, method)
            is_superseded = ".old-" in folder.parent.name or not now.made(record)
            marker = self._find_marker(folder, record)
            run = _Run(folder, record, marker, objective, is_superseded)
            if not self._is_settled(run):
                self._try(record.config.label, partial(self._bring, run))
            else:
                self.verified += 1

    def _is_settled(self, run: _Run) -> bool:
        marker = run.marker
        known = marker.verified and marker.superseded == run.is_superseded
        return known and not self._again

    def _find_marker(self, folder: Path, record: RunRecord) -> MirrorMarker:
        marker = read_marker(folder)
        if marker is not None and marker.hash == record.hash:
            return marker
        return MirrorMarker(
            id=run_id(record.config, record.hash),
            hash=record.hash,
            project=self._plan.projects[record.config.phase],
            mode="online",
        )

    def _try(self, label: str, action: Callable[[], str]) -> None:
        """Counts a run as verified unless something is lacking, or sending fails."""
        try:
            lack = action()
        except Exception as error:  # wandb raises all sorts; the other runs are still to come
            lack = describe_error(error)
            restart_service()
        if lack:
            self.problems.append(f"{label}: {lack}")
        else:
            self.verified += 1

    def _bring(self, run: _Run) -> str:
        """Sends what is missing of a run; returns what the server lacks after that."""
        for attempt in run.marker.earlier:
            close_attempt(self._resume(run.record.config, attempt, run.objective), attempt)
        lack = self._ask(run)
        copies = find_local(self._plan.folder, run.marker.id)
        if lack and copies and not run.marker.verified:
            self._say(f"{run.record.config.label}: sending ({lack})")
            _send_copy(copies[-1])
            lack = self._ask_patiently(run)
        if lack:
            self._say(f"{run.record.config.label}: sending the record ({lack})")
            sent = self._resume(run.record.config, run.marker, run.objective)
            sent.end(run.record, *run.more_tags, time_of=spread_times(run.record))
            lack = self._ask_patiently(run)
        if not lack:
            settled = {"mode": "online", "state": "ended", "verified": True, "earlier": ()}
            settled["superseded"] = run.is_superseded
            write_marker(run.folder, run.marker.model_copy(update=settled))
        return lack

    def _close_cut_off(self, folder: Path, objective: ObjectiveView, *, is_held: bool) -> None:
        """Closes the W&B run of a run that was cut off and not trained again."""
        marker, live = read_marker(folder), read_live(folder)
        if is_held:
            self.running += 1
        elif marker is not None and marker.mode == "online" and live and not marker.verified:
            closed = marker.model_copy(update={"state": "killed", "verified": True})

            def close() -> str:
                self._resume(live.config, closed, objective).kill()
                write_marker(folder, closed)
                return ""

            self._try(live.config.label, close)

    def _resume(
        self, config: RunConfig, marker: MirrorMarker, objective: ObjectiveView
    ) -> WandbRun:
        online = marker.model_copy(update={"mode": "online"})
        return WandbRun(config, online, self._plan, objective, resume=True)

    @cached_property
    def _api(self) -> Any:
        import wandb

        return wandb.Api(timeout=_ANSWER_SECONDS)

    def _ask_patiently(self, run: _Run) -> str:
        lack = ""
        for seconds in _ASKED_AFTER:
            time.sleep(seconds)
            if not (lack := self._ask(run)):
                return ""
        return lack

    def _ask(self, run: _Run) -> str:
        """Returns what the server lacks of a run; empty if nothing."""
        import wandb

        entity = self._plan.entity or self._api.default_entity
        self._api.flush()  # its cache
        try:
            found = self._api.run(f"{entity}/{run.marker.project}/{run.marker.id}")
        except (ValueError, wandb.errors.CommError) as error:
            if "could not find" in str(error).lower() or "not found" in str(error).lower():
                return "not on the server"
            raise
        return _compare(run, found)


def _compare(run: _Run, found: Any) -> str:
    """Returns in what a run on the server differs from the record; empty if in nothing."""
    record, summary = run.record, dict(found.summary)
    steps = list_steps(record.train_points, record.evaluations, run.objective)
    if found.state == "running":
        return "still open on the server"
    if steps and found.lastHistoryStep < steps[-1][0]:
        return f"rows end at step {found.lastHistoryStep} of {steps[-1][0]}"
    for name, value in describe_summary(record, run.objective).items():
        if not _is_same(value, summary.get(name)):
            return f"its {name} is {summary.get(name)}, not {value}"
    lacking = set(list_tags(record.config, record.status, *run.more_tags)) - set(found.tags)
    return f"lacks the tag {sorted(lacking)[0]}" if lacking else ""


def _is_same(ours: object, theirs: object) -> bool:
    if isinstance(ours, float):
        if not math.isfinite(ours):
            return theirs is not None  # JSON has no such number
        return isinstance(theirs, (int, float)) and math.isclose(ours, theirs, rel_tol=1e-6)
    return ours == theirs


def _send_copy(folder: Path) -> None:
    """Sends what wandb has on disk of a run, with the times at which it was logged.

    Its exit code says nothing: the server is asked afterwards.
    """
    command = [sys.executable, "-m", "wandb", "sync", "--no-skip-synced", str(folder)]
    subprocess.run(command, capture_output=True, timeout=_SEND_SECONDS, check=False)


def _find_runs(root: Path) -> Iterator[Path]:
    """Yields the folders of a unit's runs, of the present settings and set aside."""
    files = [*root.glob(f"phase*/*/{RECORD_FILE}"), *root.glob(f"phase*/*/{MARKER_FILE}")]
    yield from sorted({file.parent for file in files})


def _is_held(lock: Path) -> bool:
    """Whether a controller works on the unit."""
    try:
        with open(lock, "rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False
