"""What is wrong with a unit that another machine has run, before any of it is taken over."""

import json
from collections.abc import Iterator
from pathlib import Path

import yaml

from phasewise.errors import ConfigError, DataError, RecordError
from phasewise.merging.differences import describe_differences, describe_study_differences
from phasewise.merging.units import PHASES, UnitCopy
from phasewise.records import RECORD_FILE, RunRecord
from phasewise.runs import Phase, phase_hash, task_baselines_path, task_hash
from phasewise.settings import Study
from phasewise.summaries import (
    Optimum,
    PhaseSummary,
    read_optimum,
    read_phase_summary,
    read_task_baselines,
)
from phasewise.tasks.ledger import read_ledger
from phasewise.unit_runs import PresentUnit, present_unit


def check_unit(study: Study, copy: UnitCopy) -> list[str]:
    """Returns what speaks against taking over a unit, a line each.

    Args:
        study: The study as this clone has it.
        copy: The other machine's unit.
    """
    if broken := [*_check_files(copy)]:
        return broken
    problems = [text for runs in copy.runs.values() for text in runs.unreadable]
    for phase, runs in copy.runs.items():
        for record in (*runs.records, *runs.others):
            problems += _check_record(copy, phase, record)
    for record in _first_of_each([r for runs in copy.runs.values() for r in runs.others]):
        problems.append(_describe_other(study, copy, record))
    return problems or [*_check_summaries(study, copy)]


def check_task(study: Study, moved: Study, task: str, copies: list[UnitCopy]) -> list[str]:
    """Returns what speaks against a task's baselines and its ledger.

    Args:
        study: The study as this clone has it.
        moved: The same as the source has it.
        task: Its task.
        copies: The source's units.
    """
    file = task_baselines_path(moved, task)
    try:
        read_ledger(file.with_name("report_set_ledger.jsonl"))
        found = read_task_baselines(file)
    except (RecordError, OSError, ValueError, RecursionError) as error:
        return [_one_line(error, file)]
    records = [record for copy in copies if copy.task == task for record in copy.records]
    if found is None or not records:
        return []
    unit = present_unit(study, task, records[0].config.unit_config.method.name, records)
    if found.settings_hash == task_hash(study, task, unit):
        return []
    return [f"{file}: {_name_study_differences(study, moved, 'of other settings')}"]


def _check_files(copy: UnitCopy) -> Iterator[str]:
    """Yields what makes files unfit to be read any further."""
    for file in copy.files:
        path = copy.root / file
        try:
            _ = copy.digests[file]
            if path.suffix == ".yaml" and has_aliases(path):
                yield f"{path}: expected an optimum, got YAML with aliases"
            elif path == copy.paths.storage:
                _check_journal(path)
        except (OSError, RecordError, ValueError, RecursionError, yaml.YAMLError) as error:
            yield _one_line(error, path)
            return


def has_aliases(file: Path) -> bool:
    """Whether a YAML file repeats a node by name: a few lines of that can stand for gigabytes."""
    text = file.read_text(encoding="utf-8")
    return any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader))


def _check_journal(path: Path) -> None:
    """Raises unless every whole line is a JSON object; the last one may be torn."""
    for line in path.read_bytes().split(b"\n")[:-1]:
        if not isinstance(json.loads(line), dict):
            raise ValueError("expected one JSON object a line")


def _one_line(error: Exception, path: Path) -> str:
    if isinstance(error, OSError):
        return f"{error.filename or path}: cannot be read: {error.strerror}"
    text = " ".join(str(error).split())
    return text if str(path.parent) in text else f"{path}: cannot be read: {text}"


def _check_record(copy: UnitCopy, phase: Phase, record: RunRecord) -> Iterator[str]:
    config = record.config
    path = copy.paths.run(phase, config.name) / RECORD_FILE
    if record.hash != config.hash:
        yield f"{path}: its settings do not give its hash: edited by hand, or damaged"
    names = (config.unit_config.task.name, config.unit_config.method.name, config.phase)
    if names != (copy.task, copy.method, phase) or not path.is_file():
        found = "/".join((*names, config.name))
        yield f"{copy.paths.root / phase}: holds the record of another run, {found}"


def _first_of_each(records: list[RunRecord]) -> list[RunRecord]:
    """Returns one record for each kind of settings."""
    kinds = {(r.config.unit_config.model_dump_json(), r.config.role): r for r in reversed(records)}
    return list(reversed(kinds.values()))


def _describe_other(study: Study, copy: UnitCopy, record: RunRecord) -> str:
    """Names the settings in which a record differs from the study here."""
    found = describe_differences(PresentUnit(study, copy.task, copy.method), record)
    host = record.environment.get("host", "another machine")
    start = f"{copy.source}: {copy.label} {record.config.name} ({host}) is of other settings"
    if found:
        return f"{start}: {'; '.join(found)}"
    return _name_study_differences(study, copy.study, start)


def _name_study_differences(study: Study, moved: Study, start: str) -> str:
    found = describe_study_differences(study, moved)
    return f"{start}: {'; '.join(found) if found else 'its search space, default or optimum'}"


def _check_summaries(study: Study, copy: UnitCopy) -> Iterator[str]:
    """Yields which files of phases are not of these records and settings."""
    unit = present_unit(study, copy.task, copy.method, copy.records)
    for phase in PHASES:
        file = copy.paths.optimum if phase == "phase1" else copy.paths.summary(phase)
        try:
            found = read_optimum(file) if phase == "phase1" else read_phase_summary(file)
        except (RecordError, ConfigError, DataError, OSError, ValueError) as error:
            yield _one_line(error, file)
            continue
        if found is None:
            continue
        if unit is None or not copy.records:
            yield f"{file}: none of the runs is there that it was made from"
        elif found.settings_hash != phase_hash(study, phase, copy.task, copy.method, unit):
            yield _name_study_differences(study, copy.study, f"{file}: of other settings")
        elif not _agrees(found, copy):
            yield f"{file}: its scores are not those of its records"


def _agrees(found: PhaseSummary | Optimum, copy: UnitCopy) -> bool:
    """Whether a phase's file says what its runs do."""
    by_name = {f"{r.config.phase}/{r.config.name}": r for r in copy.records}
    if isinstance(found, Optimum):
        trial = by_name.get(f"phase1/trial-{found.best_trial:03d}")
        return trial is not None
    if not set(found.runs) <= set(by_name):
        return False
    records = [by_name[name] for name in found.runs]
    report = tuple(r.report_score for r in records if r.report_score is not None)
    return found.search.scores == tuple(r.search_score for r in records) and (
        found.report.scores == report
    )
