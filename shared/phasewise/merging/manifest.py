"""``sources.json``: which machine ran each unit that was brought here, with what, and when."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field, ValidationError

from phasewise.errors import RecordError
from phasewise.provenance import RESULT_LIBRARIES
from phasewise.records import RunRecord, write_atomically
from phasewise.runs import hash_content
from phasewise.settings import Section, Study


class UnitSource(Section):
    """Where a unit's runs come from; all but the first three and ``merged`` is of its records."""

    task: str
    method: str
    source: str = Field(description="Folder, archive or user@host:path, as it was given.")
    hosts: tuple[str, ...]
    commits: tuple[str, ...]
    versions: dict[str, tuple[str, ...]] = Field(description="Library to the versions it had.")
    devices: tuple[str, ...]
    runs: int
    first: str = Field(description="When the first run started; UTC, ISO 8601.")
    last: str = Field(description="When the last one ended; UTC, ISO 8601.")
    records: str = Field(description="Digest of all records.")
    merged: str = Field(description="When they were brought here last; UTC, ISO 8601.")

    @property
    def unit(self) -> str:
        """``task/method``."""
        return f"{self.task}/{self.method}"


class Manifest(Section):
    """The units that were brought from other machines."""

    units: tuple[UnitSource, ...] = ()


def manifest_path(study: Study) -> Path:
    """Returns the file beside the study's optima."""
    return study.settings.analysis_path / "sources.json"


def read_manifest(study: Study) -> Manifest:
    """Returns what was brought from other machines; nothing if there is no such file.

    Raises:
        RecordError: The file is not a manifest.
    """
    path = manifest_path(study)
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return Manifest()
    except ValidationError as error:
        message = error.errors()[0]["msg"]
        raise RecordError(f"{path}: not a list of sources: {message}; delete it") from error


def describe_source(
    task: str, method: str, source: str, records: Sequence[RunRecord]
) -> UnitSource:
    """Returns a unit's entry.

    Args:
        task: The unit's task.
        method: Its method.
        source: Where its files come from.
        records: At least one.
    """
    return UnitSource(
        task=task,
        method=method,
        source=source,
        hosts=_list_values(records, "host"),
        commits=_list_values(records, "commit"),
        versions={n: found for n in RESULT_LIBRARIES if (found := _list_values(records, n))},
        devices=_list_values(records, "device"),
        runs=len(records),
        first=min(record.started for record in records),
        last=max(record.ended for record in records),
        records=hash_content(sorted(record.model_dump_json() for record in records)),
        merged=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _list_values(records: Iterable[RunRecord], name: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(r.environment[name] for r in records if name in r.environment))


def note_source(study: Study, entry: UnitSource) -> None:
    """Writes a unit's entry, in the study's order; one that says the same stays as it is."""
    known = {(each.task, each.method): each for each in read_manifest(study).units}
    before = known.get((entry.task, entry.method))
    if before is not None and before.model_copy(update={"merged": entry.merged}) == entry:
        return
    known[entry.task, entry.method] = entry
    order = [(task, method) for task in study.tasks for method in study.methods]
    units = tuple(known[key] for key in dict.fromkeys((*order, *known)) if key in known)
    write_atomically(manifest_path(study), Manifest(units=units).model_dump_json(indent=2) + "\n")
