"""Records: what a run leaves behind; written once, atomically, and never edited."""

import errno
import json
import os
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError

from phasewise.errors import RecordError
from phasewise.runs import RunConfig, hash_content
from phasewise.settings import Section

#: finished: trained to its end. pruned: stopped by the pruner. diverged: loss or score not finite.
#: infeasible: does not fit in memory. failed: anything else, after all retries.
RunStatus = Literal["finished", "pruned", "diverged", "infeasible", "failed"]

RECORD_FILE = "record.json"
#: What a run tells while it trains (see `live`); its record takes its place.
LIVE_FILE = "live.jsonl"
#: Key of the file beside the record's own: the hash of all of them.
_DIGEST = "digest"


class Evaluation(Section):
    """One scoring of the search set during training."""

    step: int = Field(ge=0, description="Optimizer steps done.")
    epoch: float = Field(ge=0, description="Passes over the train sample done.")
    train_loss: float | None = Field(description="Mean loss since the last evaluation.")
    metrics: dict[str, float] = Field(description="Metric name to value on the search set.")
    train_metrics: dict[str, float] = Field(
        default_factory=dict, description="The same on the train sample, at the last evaluation."
    )


class TrainPoint(Section):
    """Training loss at one optimizer step."""

    step: int
    loss: float
    learning_rate: float


class RunCost(Section):
    """Measured, never estimated; None where the device cannot tell.

    Of runs that trained together, each has its share of the seconds, by tokens, and the memory of
    all.
    """

    train_seconds: float = Field(description="Training and its evaluations, wall clock.")
    total_seconds: float = Field(description="With model set-up and final scores.")
    peak_memory_mb: float | None = Field(description="GPU: allocator peak. CPU: peak RSS.")
    train_tokens: int = Field(description="Tokens in training batches, padding not counted.")
    trainable_parameters: int
    total_parameters: int
    adapter_bytes: int | None = Field(description="Size on disk of what training changed.")
    micro_batch_size: int = Field(description="Rows per forward pass that fitted.")


def _check_time(text: str) -> str:
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("expected a time with its zone")
    return text


Time = Annotated[str, AfterValidator(_check_time)]


class RunRecord(Section):
    """The complete account of one run."""

    config: RunConfig
    hash: str
    status: RunStatus
    message: str = Field("", description="Why it did not finish, for statuses but finished.")
    evaluations: tuple[Evaluation, ...] = ()
    train_points: tuple[TrainPoint, ...] = ()
    search_metrics: dict[str, float] = Field(
        default_factory=dict, description="Search set, at the end."
    )
    report_metrics: dict[str, float] = Field(
        default_factory=dict, description="Report set, at the end; only if the run may open it."
    )
    threshold: float | None = Field(
        None, description="extractive_qa: no-answer threshold fitted on the search set."
    )
    report_rows: int = Field(0, description="Examples behind report_metrics.")
    search_rows: int = Field(0, description="Examples behind search_metrics.")
    cost: RunCost | None = None
    environment: dict[str, str] = Field(default_factory=dict)
    started: Time = Field(description="UTC, ISO 8601.")
    ended: Time = Field(description="UTC, ISO 8601.")

    @property
    def search_score(self) -> float | None:
        """The task's metric on the search set; None if the run has none."""
        return self.search_metrics.get(self.config.unit_config.task.metric)

    @property
    def report_score(self) -> float | None:
        """The task's metric on the report set; None if the run has none."""
        return self.report_metrics.get(self.config.unit_config.task.metric)


def refuse_links(*paths: Path) -> None:
    """Refuses results that lie elsewhere: what is written there would alter a stranger's files.

    Raises:
        RecordError: One of the paths is a symbolic link.
    """
    for path in paths:
        if path.is_symlink():
            raise RecordError(
                f"{path}: expected a file or folder of its own, got a link to {os.readlink(path)}; "
                "results are never written through links: remove it"
            )


def open_unlinked(path: str, flags: int) -> int:
    """Opens a file that is no link; for ``open(..., opener=open_unlinked)``.

    Raises:
        RecordError: See ``refuse_links``.
    """
    refuse_links(Path(path))
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)  # it may have become one just now


def is_there(path: Path) -> bool:
    """Whether a file is there, by opening it: NFS answers ``stat`` from memory."""
    try:
        os.close(os.open(path, os.O_RDONLY))
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ESTALE):
            return False
        raise
    return True


def write_atomically(path: Path, text: str) -> None:
    """Writes a text file so that a reader, or a crash, sees the old content or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes a small JSON file atomically."""
    write_atomically(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def write_record(folder: Path, record: RunRecord) -> None:
    """Writes ``record.json`` into a run's folder, atomically, with the digest of its content."""
    content = record.model_dump(mode="json")
    write_json(folder / RECORD_FILE, {**content, _DIGEST: hash_content(content)})
    (folder / LIVE_FILE).unlink(missing_ok=True)


def read_record(folder: Path) -> RunRecord | None:
    """Returns the record in a run's folder; None if there is none.

    Raises:
        RecordError: The file is not a record of this version, or was edited: its content does not
            give its digest.
    """
    path = folder / RECORD_FILE
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        content = json.loads(raw.decode("utf-8"))
        if not isinstance(content, dict):
            raise ValueError(f"expected a JSON object, got a {type(content).__name__}")
        digest = content.pop(_DIGEST, None)
        record = RunRecord.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise _refuse(
            path, f"not a record this version can read ({where}: {first['msg']})"
        ) from error
    except (ValueError, RecursionError) as error:
        raise _refuse(path, f"not a record this version can read ({error})") from error
    if digest != hash_content(content):
        raise _refuse(path, "its content does not give its digest: edited by hand, or damaged")
    return record


def _refuse(path: Path, why: str) -> RecordError:
    return RecordError(f"{path}: {why}; move it away and run again")


def read_matching_record(folder: Path, config: RunConfig) -> RunRecord | None:
    """Returns a run's record if it is of these very settings; None if the run must be trained."""
    record = read_record(folder)
    return record if record is not None and record.hash == config.hash else None


def iterate_records(root: Path) -> Iterator[tuple[Path, RunRecord]]:
    """Yields (folder, record) of every record below ``root``, in path order."""
    for path in sorted(root.rglob(RECORD_FILE)):
        record = read_record(path.parent)
        if record is not None:
            yield path.parent, record
