"""The steps of a study, one command each, and which of them are out of date.

The hash in a step's own file decides, never a time: a file that was copied, touched or restored
from a backup says the same as before.
"""

import json
import os
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from shlex import quote
from typing import Any, Literal, NamedTuple

import yaml

from phasewise.errors import ConfigError
from phasewise.records import write_json
from phasewise.runs import UnitPaths, hash_content, phase_hash, task_baselines_path, task_hash
from phasewise.settings import Study

StepName = Literal["check", "baselines", "defaults", "search", "validate", "report"]
#: What a step's file says: it was made from these settings, from others, or is not there.
StepState = Literal["current", "outdated", "missing"]

_PHASES: dict[StepName, Literal["phase0", "phase1", "phase2"]] = {
    "defaults": "phase0",
    "search": "phase1",
    "validate": "phase2",
}
_STUDY_FILE = "study.json"
#: Files in the report's folder ``tables``; ``verdicts.tex`` is there too if there are any.
REPORT_TABLES = (
    "verdicts.csv",
    "units.csv",
    "noise.csv",
    "runs.csv",
    "scores.tex",
    "costs.tex",
)
_MARK = re.compile(r"<!-- made from ([0-9a-f]{16}) -->\s*\Z")


class StepKey(NamedTuple):
    """Which step: of a task or of a unit, where it has one."""

    name: StepName
    task: str = ""
    method: str = ""


@dataclass(frozen=True)
class Step:
    """A step as it stands."""

    key: StepKey
    file: Path
    state: StepState
    command: str  # makes the file anew; can be pasted


class Steps:
    """All steps of a shard, and which of them have to run.

    Args:
        study: The study; its data are fingerprinted.
        vm: The shard; ``all`` for every task.

    Raises:
        ConfigError: The shard is unknown, or the folders belong to another study file.
        DataError: A task's local data are missing.
    """

    def __init__(self, study: Study, vm: str | None) -> None:
        self._study = study
        self._vm = vm
        self._tasks = study.tasks_of(vm)
        self._units = study.units_of(vm)
        self.settings_file = study.settings.experiments_path / _STUDY_FILE
        claim_folder(study)

    @cached_property
    def all(self) -> dict[StepKey, Step]:
        """Every step of the shard, in running order."""
        return {step.key: step for step in self._list_steps()}

    @cached_property
    def due(self) -> frozenset[StepKey]:
        """The steps that have to run, because of their own file or of what comes before them.

        A step whose settings changed has a new hash, and so have those that follow it. Beyond
        that, a new optimum is validated and the report shows what was made anew.
        """
        due = {key for key, step in self.all.items() if step.state != "current"}
        due |= {StepKey("validate", *key[1:]) for key in due if key.name == "search"}
        if any(key.name != "check" for key in due):
            due.add(StepKey("report"))
        return frozenset(due)

    def note_settings(self) -> None:
        """Writes the study as it is read now, newer than every file that is out of date.

        Snakemake compares times: a rule whose step is due reads this file, so it runs.
        """
        if not self.due:
            return
        write_json(self.settings_file, describe_study(self._study))
        files = [step.file for step in self.all.values() if step.file.exists()]
        newest = max((file.stat().st_mtime for file in files), default=0.0)
        moment = max(time.time(), newest + 1)
        os.utime(self.settings_file, (moment, moment))

    def _list_steps(self) -> Iterator[Step]:
        tasks = {task: task_hash(self._study, task) for task in self._tasks}
        yield self._step(StepKey("check"), check_file(self._study, self._vm), check_hash(tasks))
        for task, expected in tasks.items():
            yield self._step(
                StepKey("baselines", task), task_baselines_path(self._study, task), expected
            )
        for task, method in self._units:
            paths = UnitPaths(self._study, task, method)
            files = (paths.summary("phase0"), paths.optimum, paths.summary("phase2"))
            for (name, phase), file in zip(_PHASES.items(), files, strict=True):
                expected = phase_hash(self._study, phase, task, method)
                yield self._step(StepKey(name, task, method), file, expected)
        results = self._study.settings.analysis_path / "RESULTS.md"
        yield self._step(StepKey("report"), results, report_hash(self._study, self._units))

    def _step(self, key: StepKey, file: Path, expected: str) -> Step:
        found = read_hash(file)
        state: StepState = "current" if found == expected else "outdated"
        return Step(key, file, "missing" if not file.is_file() else state, self._command(key))

    def _command(self, key: StepKey) -> str:
        if key.task:
            return name_command(self._study, key.name, key.task, key.method)
        return f"phasewise {key.name} --study {quote(str(self._study.path))} --vm {self._vm}"


def name_command(study: Study, name: StepName, task: str, method: str = "") -> str:
    """Returns the command that makes a task's or a unit's file anew; can be pasted."""
    of_method = f" --method {method}" if method else ""
    return f"phasewise {name} --study {quote(str(study.path))} --task {task}{of_method}"


def read_hash(file: Path) -> str | None:
    """Returns the hash of what a step's file was made from; None without one."""
    try:
        text = file.read_text(encoding="utf-8")
        if file.suffix == ".md":
            found = _MARK.search(text)
            return found[1] if found else None
        content: Any = json.loads(text) if file.suffix == ".json" else _read_yaml(text)
        return str(content["settings_hash"])
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return None


def _read_yaml(text: str) -> Any:
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def mark_report(text: str, made_from: str) -> str:
    """Returns a report in Markdown with the hash that ``read_hash`` finds."""
    return f"{text.rstrip()}\n\n<!-- made from {made_from} -->\n"


def check_file(study: Study, vm: str | None) -> Path:
    """Returns the file that says that a shard's data have been checked."""
    return study.settings.experiments_path / f"checked_{vm}.json"


def check_hash(tasks: dict[str, str]) -> str:
    """Returns the hash of what the check of a shard depends on, from its tasks' hashes."""
    return hash_content(tasks)


def report_hash(study: Study, units: Sequence[tuple[str, str]]) -> str:
    """Returns the hash of the files that a report is made from, and of the study's settings."""
    files = [task_baselines_path(study, task) for task in dict.fromkeys(t for t, _ in units)]
    for task, method in units:
        paths = UnitPaths(study, task, method)
        files += [paths.summary("phase0"), paths.optimum, paths.summary("phase2")]
    return hash_content({"units": list(units), "files": [_digest(file) for file in files]})


def _digest(file: Path) -> str | None:
    return (
        hash_content(file.read_text(encoding="utf-8", errors="replace")) if file.is_file() else None
    )


def describe_study(study: Study) -> dict[str, Any]:
    """Returns the study's file, relative to the current folder, and its settings as read."""
    return {
        "file": os.path.relpath(study.path),
        "settings": study.settings.model_dump(mode="json"),
        "tasks": {name: task.model_dump(mode="json") for name, task in study.tasks.items()},
        "methods": {name: each.model_dump(mode="json") for name, each in study.methods.items()},
    }


def claim_folder(study: Study) -> None:
    """Notes whose results a study's folder holds, before the first of them is written.

    Raises:
        ConfigError: See ``check_owner``.
    """
    check_owner(study)
    path = study.settings.experiments_path / _STUDY_FILE
    if not path.exists():
        write_json(path, describe_study(study))


def check_owner(study: Study) -> None:
    """Refuses a study whose folder holds the results of another study file of the same name.

    Raises:
        ConfigError: So it is, and the other file is still there.
    """
    path = study.settings.experiments_path / _STUDY_FILE
    try:
        owner = Path(json.loads(path.read_text(encoding="utf-8"))["file"])
    except (OSError, ValueError, KeyError, TypeError):
        return  # nobody's yet, or of another version
    if owner.exists() and not owner.samefile(study.path):
        raise ConfigError(
            f"{study.path}: name: '{study.settings.name}' is the name of {owner} too, whose "
            f"results lie in {path.parent}; give this study another name"
        )
