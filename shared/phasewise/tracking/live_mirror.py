"""Follows the runs under way and keeps a Weights & Biases run for each, from start to end."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from phasewise.errors import RecordError
from phasewise.live import LiveRun, read_live
from phasewise.records import RECORD_FILE, RunRecord, read_record
from phasewise.runs import RunConfig
from phasewise.tracking.contents import ObjectiveView, list_steps, spread_times
from phasewise.tracking.marker import (
    MARKER_FILE,
    MirrorMarker,
    MirrorPlan,
    Mode,
    is_mirrored,
    read_marker,
    run_id,
    write_marker,
)
from phasewise.tracking.wandb_run import (
    SUPERSEDED,
    WandbRun,
    close_attempt,
    describe_error,
    remove_leftovers,
    restart_service,
)

#: A run's file is older than the word that it begins by no more than this: it is of this attempt.
_SLACK_SECONDS = 5.0


@dataclass
class _Followed:
    """A run under way; its W&B run is opened as soon as the run has told its settings."""

    since: float  # seconds since 1970
    run: WandbRun | None = None
    marker: MirrorMarker | None = None
    seen: float = 0.0  # when its file was last written


class LiveMirror:
    """Mirrors runs while they train. A failure online sends all runs to disk from then on.

    Args:
        plan: Where runs go.
        mode: online or offline.
        warn: Gets a line about each failure.

    Attributes:
        complete: Whether all runs that have ended were mirrored, on a server or on disk.
    """

    def __init__(self, plan: MirrorPlan, mode: Mode, warn: Callable[[str], None]) -> None:
        self._plan, self._mode, self._warn = plan, mode, warn
        self._followed: dict[Path, _Followed] = {}
        self._roots: dict[Path, ObjectiveView] = {}  # by the folder of their unit
        self.complete = True

    def begin(self, folder: Path, since: float) -> None:
        """Follows a run from now on.

        Args:
            folder: Of the run.
            since: When it was given to a worker, seconds since 1970.
        """
        self._followed[folder] = _Followed(since)

    def poll(self) -> None:
        """Passes on what the runs under way have told since the last call."""
        for folder, followed in self._followed.items():
            live = read_live(folder)
            if live is None or live.started < followed.since - _SLACK_SECONDS:
                continue
            if live.updated > followed.seen or followed.run is None:
                followed.seen = live.updated
                self._try(live.config.label, partial(self._pass_on, folder, live))

    def end(self, folder: Path) -> None:
        """Mirrors the record of a run that has ended; does nothing if that has been done."""
        followed = self._followed.setdefault(folder, _Followed(0.0))
        try:
            record = read_record(folder)
        except RecordError as error:
            self._warn(str(error))
            self.complete = False
            record = None
        if record is not None and (followed.since or not is_mirrored(folder, record.hash)):
            self.complete &= self._try(record.config.label, partial(self._end, folder, record))
        del self._followed[folder]

    def close(self) -> None:
        """Ends all that is followed, runs without a record as cut off; tags superseded runs."""
        for folder in list(self._followed):
            if (folder / RECORD_FILE).is_file():
                self.end(folder)
            else:
                self._try(folder.name, partial(self._kill, folder))
                del self._followed[folder]
        for root in self._roots:
            for path in sorted(root.glob(f"*.old-*/*/{MARKER_FILE}")):
                self._try(path.parent.name, partial(self._supersede, path.parent))

    def _try(self, label: str, action: Callable[[], None]) -> bool:
        """Returns whether it could be done; a failure online is tried again on disk."""
        try:
            action()
        except Exception as error:  # wandb raises all sorts; none may end the mirror of later runs
            reason = describe_error(error)
            if self._mode == "online":
                self._warn(f"{reason}; logging offline, `phasewise sync` brings it later")
                self._go_offline()
                return self._try(label, action)
            self._warn(f"{label}: not mirrored: {reason}")
            return False
        return True

    def _go_offline(self) -> None:
        """Lets all runs under way begin anew on disk: their rows are read once more."""
        self._mode = "offline"
        restart_service()
        for followed in self._followed.values():
            followed.run = None
            if followed.marker is not None:
                followed.marker = followed.marker.model_copy(update={"mode": "offline"})

    def _pass_on(self, folder: Path, live: LiveRun) -> None:
        run = self._open(folder, live.config)
        objective = self._objective(folder, live.config)
        run.log(list_steps(live.train_points, live.evaluations, objective))

    def _open(self, folder: Path, config: RunConfig) -> WandbRun:
        """Returns the W&B run of a run that is followed."""
        followed = self._followed[folder]
        if followed.run is None:
            followed.marker = followed.marker or self._claim(folder, config)
            write_marker(folder, followed.marker)
            objective = self._objective(folder, config)
            followed.run = WandbRun(config, followed.marker, self._plan, objective)
        return followed.run

    def _claim(self, folder: Path, config: RunConfig) -> MirrorMarker:
        """Returns the marker of a new attempt; closes the W&B run of the one before it, if any."""
        old, run_hash = read_marker(folder), config.hash
        earlier: tuple[MirrorMarker, ...] = ()
        if old is not None:
            self._leave(folder, config, old)
            seen = [old.model_copy(update={"earlier": ()})] if old.mode == "online" else []
            earlier = (*old.earlier, *seen)
        attempt = 1 if old is None else old.attempt + 1
        return MirrorMarker(
            id=run_id(config, run_hash, attempt),
            hash=run_hash,
            project=self._plan.projects[config.phase],
            mode=self._mode,
            attempt=attempt,
            state="running",
            earlier=earlier,
        )

    def _leave(self, folder: Path, config: RunConfig, old: MirrorMarker) -> None:
        """Closes the W&B run of an attempt that another follows; nobody has seen one on disk."""
        if old.mode == "offline":
            remove_leftovers(self._plan.folder, old.id)
        elif self._mode == "online":
            objective = self._objective(folder, config)
            close_attempt(WandbRun(config, old, self._plan, objective, resume=True), old)

    def _end(self, folder: Path, record: RunRecord) -> None:
        was_open = self._followed[folder].run is not None
        run = self._open(folder, record.config)
        try:
            run.end(record, time_of=None if was_open else spread_times(record))
        except TimeoutError:
            self._warn("the upload takes too long; `phasewise sync` completes it")
            self._note(folder, "ended")
            self._go_offline()
            return
        self._note(folder, "ended")

    def _kill(self, folder: Path) -> None:
        followed = self._followed[folder]
        if followed.run is None or followed.marker is None:
            return
        followed.run.kill()
        if followed.marker.mode == "offline":
            remove_leftovers(self._plan.folder, followed.marker.id)
        self._note(folder, "killed")

    def _note(self, folder: Path, state: Literal["ended", "killed"]) -> None:
        marker = self._followed[folder].marker
        assert marker is not None
        write_marker(folder, marker.model_copy(update={"state": state}))

    def _supersede(self, folder: Path) -> None:
        """Tags the W&B run of a run whose settings the study has no more."""
        marker, record = read_marker(folder), read_record(folder)
        if self._mode == "offline" or marker is None or record is None:
            return
        if marker.mode == "online" and not marker.superseded:
            objective = self._objective(folder, record.config)
            run = WandbRun(record.config, marker, self._plan, objective, resume=True)
            run.end(record, SUPERSEDED)
            write_marker(folder, marker.model_copy(update={"superseded": True}))

    def _objective(self, folder: Path, config: RunConfig) -> ObjectiveView:
        root, metric = folder.parent.parent, config.unit_config.task.metric
        return self._roots.setdefault(root, ObjectiveView(self._plan.search, root, metric))
