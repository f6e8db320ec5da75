"""One Weights & Biases run: begun, fed row by row, closed."""

import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from phasewise.errors import hide_secrets
from phasewise.records import RunRecord
from phasewise.runs import RunConfig
from phasewise.tracking.contents import (
    ObjectiveView,
    describe_config,
    describe_end,
    describe_summary,
    job_type,
    list_steps,
    list_tags,
)
from phasewise.tracking.marker import MirrorMarker, MirrorPlan

#: wandb retries for minutes by itself; a server that cannot be reached is given up in seconds.
NETWORK_LIMITS = {
    "WANDB_INIT_TIMEOUT": "15",
    "WANDB_X_GRAPHQL_RETRY_MAX": "1",
    "WANDB_X_GRAPHQL_RETRY_WAIT_MAX_SECONDS": "1",
    "WANDB_FINISH_TIMEOUT": "20",  # of a run's end for its upload; `phasewise sync` brings the rest
}
#: As a shell tells a SIGTERM; W&B shows the run as failed.
_CUT_OFF = 143
_LONGEST_REASON = 200
SUPERSEDED, KILLED = "superseded", "killed"


class WandbRun:
    """A run of W&B under way.

    Args:
        config: Of the run.
        marker: Its id, project and mode.
        plan: Where it goes.
        objective: What the search optimizes.
        resume: Whether the server may have a part of it already, which is then kept.

    Raises:
        wandb.Error: The server cannot be reached, or refuses the key.
    """

    def __init__(
        self,
        config: RunConfig,
        marker: MirrorMarker,
        plan: MirrorPlan,
        objective: ObjectiveView,
        *,
        resume: bool = False,
    ) -> None:
        import wandb

        if not resume:
            remove_leftovers(plan.folder, marker.id)
        self._config, self._objective = config, objective
        self._run = wandb.init(
            entity=plan.entity,
            project=marker.project,
            dir=plan.folder,
            id=marker.id,
            name=f"{config.unit_config.unit} {config.name}",
            group=config.unit_config.unit,
            job_type=job_type(config),
            tags=list_tags(config),
            config=describe_config(config, marker.hash, objective),
            mode=marker.mode,
            resume="allow" if resume else None,
            reinit="create_new",
            settings=_fresh_settings(),
        )
        self._next = self._run.starting_step  # rows before it are there already

    def log(
        self,
        steps: Iterable[tuple[int, Mapping[str, float]]],
        time_of: Callable[[int], float] | None = None,
    ) -> None:
        """Logs the rows from the last one logged on; that one may have gained something.

        Args:
            steps: As ``contents.list_steps`` gives them.
            time_of: Step to seconds since 1970; None: now.
        """
        for step, row in steps:
            if step >= self._next:
                time = {} if time_of is None else {"_timestamp": time_of(step)}
                self._run.log({**row, **time}, step=step)
                self._next = step

    def end(
        self,
        record: RunRecord,
        *more_tags: str,
        time_of: Callable[[int], float] | None = None,
    ) -> None:
        """Logs what is missing of a record, and closes the run.

        Raises:
            TimeoutError: The upload takes more than ``WANDB_FINISH_TIMEOUT``; a copy lies on disk.
        """
        self.log(list_steps(record.train_points, record.evaluations, self._objective), time_of)
        self._run.config.update(describe_end(record), allow_val_change=True)
        self._run.summary.update(describe_summary(record, self._objective))
        code = 0 if record.status in {"finished", "pruned"} else 1
        self.close(record.status, *more_tags, code=code)

    def kill(self) -> None:
        """Closes the run as cut off.

        Raises:
            TimeoutError: See ``end``.
        """
        self._run.summary.update({"status": KILLED, "message": "cut off, without a record"})
        self.close(KILLED, code=_CUT_OFF)

    def close(self, *more_tags: str, code: int) -> None:
        """Closes the run with tags and an exit code.

        Raises:
            TimeoutError: See ``end``.
        """
        self._run.tags = list_tags(self._config, *more_tags)
        self._run.finish(exit_code=code)


def close_attempt(run: WandbRun, marker: MirrorMarker) -> None:
    """Closes the W&B run of an attempt that was cut off, or tags one that failed.

    Raises:
        TimeoutError: See ``WandbRun.end``.
    """
    if marker.state == "ended":
        run.close("failed", SUPERSEDED, code=1)
    else:
        run.kill()


def restart_service() -> None:
    """Ends wandb's background service with all its runs; it keeps ids that it failed to start."""
    import wandb

    wandb.teardown(exit_code=0)


def describe_error(error: Exception) -> str:
    """Returns what wandb raised as one short line."""
    text = " ".join(str(error).split())
    return hide_secrets(text)[:_LONGEST_REASON] or type(error).__name__


def limit_waiting() -> None:
    """Bounds wandb's patience with a server, unless the user's environment does."""
    for name, value in NETWORK_LIMITS.items():
        os.environ.setdefault(name, value)


def find_local(folder: Path, identity: str) -> list[Path]:
    """Returns what wandb has written of a run below ``folder``, the newest last."""
    found = (folder / "wandb").glob(f"*run-*-{identity}")
    return sorted(found, key=lambda path: path.stat().st_mtime)


def remove_leftovers(folder: Path, identity: str) -> None:
    """Removes what an earlier start of the same run has written."""
    for leftover in find_local(folder, identity):
        shutil.rmtree(leftover, ignore_errors=True)


def _fresh_settings() -> Any:
    """Never shared: wandb writes a run's name, tags and group into its Settings."""
    import wandb

    return wandb.Settings(
        silent=True,
        console="off",
        disable_git=True,
        disable_code=True,
        finish_timeout_raises=True,
        program="phasewise",
        x_disable_meta=True,  # paths, the command line and the account of this machine
        x_disable_machine_info=True,
        x_save_requirements=False,
        x_disable_stats=True,  # the side process's load says nothing about the trial's
    )
