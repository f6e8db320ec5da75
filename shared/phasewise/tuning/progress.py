"""What a person sees: one line per event, colored on a terminal, plain and dated in the log."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.text import Text

from phasewise.records import RunRecord, open_unlinked

#: Failed runs beyond these are counted, not named.
_NAMED_RUNS = 5


def format_duration(seconds: float) -> str:
    """Returns ``45s``, ``1m50s``, ``2h05m`` or ``3d04h``; negative counts as zero."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


class ProgressLog:
    """Writes lines to the terminal and, with the time in UTC, to a log file.

    Args:
        label: What the lines are about, such as ``rte/lora``.
        log: File that lines are appended to; None: the terminal only.
        console: None: standard error.
    """

    def __init__(
        self,
        label: str,
        log: Path | None = None,
        *,
        console: Console | None = None,
    ) -> None:
        self._label = label
        self._log = log
        self._console = console or Console(stderr=True)
        if log is not None:
            log.parent.mkdir(parents=True, exist_ok=True)

    def write(self, text: str, *, style: str = "") -> None:
        """Writes one line, opened by the label.

        Args:
            text: Without a line end.
            style: Of rich, such as ``bold green``; no effect where output is no terminal.
        """
        line = Text.assemble((f"[{self._label}]", "cyan"), " ", (text, style))
        self._console.print(line, soft_wrap=True)
        if self._log is not None:
            now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            with open(self._log, "a", encoding="utf-8", opener=open_unlinked) as stream:
                stream.write(f"{now} [{self._label}] {text}\n")


class Clock:
    """Time spent on runs, and the time that the rest will take.

    Args:
        spent: Seconds of earlier sessions.
    """

    def __init__(self, spent: float = 0.0) -> None:
        self._started = time.monotonic()
        self._spent = spent

    @property
    def seconds(self) -> float:
        """Seconds in all sessions."""
        return self._spent + time.monotonic() - self._started

    def describe(self, ended: int, total: int, limit: float | None = None) -> str:
        """Returns ``1m50s, ~3m00s left``; without an estimate before the first run has ended.

        Args:
            ended: Runs that have ended, in all sessions.
            total: Runs that there will be.
            limit: Seconds that are left at most; None: no limit.
        """
        elapsed = format_duration(self.seconds)
        left = total - ended
        if ended == 0 or left <= 0:
            return elapsed
        seconds = self.seconds / ended * left
        seconds = seconds if limit is None else min(seconds, limit)
        return f"{elapsed}, ~{format_duration(seconds)} left"


def describe_retries(names: Sequence[str]) -> str:
    """Returns what to do about runs that failed, by their names; empty without any."""
    if not names:
        return ""
    shown = ", ".join(names[:_NAMED_RUNS]) + (", ..." if len(names) > _NAMED_RUNS else "")
    return f"{len(names)} failed ({shown}); the same command tries them again"


def describe_outcome(record: RunRecord) -> str:
    """Returns ``accuracy 0.701``, or the status with its reason for a run that has no score."""
    metric = record.config.unit_config.task.metric
    reason = record.message.splitlines()[0] if record.message else ""
    if record.status == "finished" and record.search_score is not None:
        return f"{metric} {record.search_score:.3f}"
    return f"{record.status}: {reason}" if reason else record.status
