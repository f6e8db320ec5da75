"""How to get the report's numbers again: settings, code, versions, commands."""

import os
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from phasewise.report.evidence import PHASES, TaskEvidence
from phasewise.runs import hash_content
from phasewise.settings import Study

#: Entries of a record's environment that are shown; the host's name is nobody's business.
_SHOWN = ("commit", "python", "platform", "cpu_count")
#: Settings that change where and how fast a study runs, not what comes out.
_NO_EFFECT = {
    "description",
    "machine",
    "shards",
    "tracking",
    "resources",
    "resources_by",
    "experiments_dir",
    "analysis_dir",
    "data_dir",
    "tasks",
    "methods",
}


@dataclass(frozen=True)
class Reproduction:
    """What the last section of the report says."""

    study_hash: str
    model: str
    environment: tuple[tuple[str, str], ...]  # name to the values met, with counts if several
    data: tuple[tuple[str, str], ...]  # task to the fingerprint of its data
    settings_hashes: tuple[tuple[str, str, str], ...]  # unit, phase, hash
    commands: tuple[str, ...]


def describe_reproduction(study: Study, tasks: Sequence[TaskEvidence]) -> Reproduction:
    """Collects what the records say about how they were made."""
    records = [r for task in tasks for unit in task.units for p in PHASES for r in unit.records[p]]
    names = dict.fromkeys(_SHOWN)
    names |= dict.fromkeys(name for record in records for name in record.environment)
    names.pop("host", None)
    environment = [
        (name, _count_values([r.environment[name] for r in records if name in r.environment]))
        for name in names
    ]
    configs = [record.config.unit_config.data for record in records]
    data = {config.task.name: config.data_fingerprint for config in configs}
    model = study.settings.model
    revision = f" at {model.revision}" if model.revision else ""
    return Reproduction(
        study_hash=hash_study(study),
        model=f"{model.source}{revision}, dtype {model.dtype}",
        environment=tuple((name, value) for name, value in environment if value),
        data=tuple(data.items()),
        settings_hashes=tuple(_list_hashes(tasks)),
        commands=tuple(_list_commands(study, tasks)),
    )


def hash_study(study: Study) -> str:
    """Returns the hash of all settings that can change a result, of all tasks and methods."""
    tasks = {name: task.model_dump(mode="json") for name, task in study.tasks.items()}
    methods = {name: method.model_dump(mode="json") for name, method in study.methods.items()}
    for content in (*tasks.values(), *methods.values()):
        content.pop("description", None)
    settings = study.settings.model_dump(mode="json", exclude=_NO_EFFECT)
    space = {
        name: {
            key: value.model_dump(mode="json") for key, value in study.parameters_of(name).items()
        }
        for name in study.methods
    }
    return hash_content({"settings": settings, "tasks": tasks, "methods": methods, "space": space})


def _count_values(values: Sequence[str]) -> str:
    counts = Counter(values)
    if len(counts) == 1:
        return next(iter(counts))
    return ", ".join(f"{value} ({count} runs)" for value, count in counts.most_common())


def _list_hashes(tasks: Sequence[TaskEvidence]) -> list[tuple[str, str, str]]:
    found = []
    for task in tasks:
        for unit in task.units:
            name = f"{unit.task}/{unit.method}"
            for phase, summary in (
                ("phase0", unit.phase0),
                ("phase1", unit.optimum),
                ("phase2", unit.phase2),
            ):
                if summary is not None:
                    found.append((name, phase, summary.settings_hash))
    return found


def _list_commands(study: Study, tasks: Sequence[TaskEvidence]) -> list[str]:
    path = shlex.quote(os.path.relpath(study.path))
    if not tasks or not tasks[0].units:
        return []
    unit = tasks[0].units[0]
    where = f"--study {path} --task {unit.task}"
    return [
        "make setup  # in a clone at the commit above; it installs requirements.lock",
        f"phasewise baselines {where}",
        f"phasewise defaults {where} --method {unit.method}",
        f"phasewise search {where} --method {unit.method}",
        f"phasewise validate {where} --method {unit.method}",
        f"phasewise report --study {path}",
    ]
