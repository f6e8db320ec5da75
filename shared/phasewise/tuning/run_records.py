"""The record in a run's folder: found, or made way for another. None is overwritten."""

import shutil
from pathlib import Path

from phasewise.checkpoints import free_checkpoints
from phasewise.records import (
    RECORD_FILE,
    RunRecord,
    read_matching_record,
    read_record,
    write_record,
)
from phasewise.training.interface import RunJob
from phasewise.tuning.locking import Say
from phasewise.tuning.progress import describe_outcome
from phasewise.tuning.storage import free_name


def find_record(job: RunJob, say: Say) -> RunRecord | None:
    """Returns the run's record; None if it must be trained, its folder then free of others.

    A run that failed is tried again: its worker was killed or its disk full, which says nothing of
    its settings. One that diverged or does not fit would do so again. Records are never
    overwritten: one of other settings is moved to ``<phase>.old-<hash>/`` with its folder, one of a
    failed attempt is renamed.

    Args:
        job: The run.
        say: Gets a line for a run that is tried again, with how often it has been.
    """
    record = read_matching_record(job.folder, job.config)
    if record is not None and record.status != "failed":
        free_checkpoints(job.folder)  # its controller died before it could
        return record
    if record is not None:
        times = 1 + len(list(job.folder.glob("record.failed-*.json")))
        (job.folder / RECORD_FILE).rename(job.folder / f"record.failed-{times}.json")
        say(f"{job.config.name}: tried again, retry {times}; before: {describe_outcome(record)}")
    elif (other := read_record(job.folder)) is not None:
        old = job.folder.parent
        target = old.with_name(f"{old.name}.old-{other.hash}") / job.folder.name
        target.parent.mkdir(exist_ok=True)
        job.folder.rename(free_name(target))
    return None


def adopt_record(folder: Path, record: RunRecord, say: Say) -> None:
    """Puts a record that another controller has made where it belongs.

    Args:
        folder: Of the run.
        record: The one that counts.
        say: Gets a line if one was made here as well, which stays beside it.
    """
    own = read_record(folder)
    if own is None or own.model_dump_json() != record.model_dump_json():
        set_late_record_aside(folder, say)
        write_record(folder, record)


def set_late_record_aside(folder: Path, say: Say) -> None:
    """Renames the record of a run that another controller had taken over meanwhile, if any."""
    if (folder / RECORD_FILE).exists():
        late = free_name(folder / "record.late.json")
        (folder / RECORD_FILE).rename(late)
        for each in folder.iterdir():  # predictions and weights: the other machine has those
            if each.is_dir():
                shutil.rmtree(each)
            elif not each.name.startswith("record."):
                each.unlink()
        say(f"{folder.name}: another controller's record counts; the one from here is {late.name}")
