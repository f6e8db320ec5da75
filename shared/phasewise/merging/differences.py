"""Which settings differ between this clone's study and what another machine ran."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from phasewise.records import RunRecord
from phasewise.settings import MethodSettings, Section, Study, TaskSettings, describe_meaning
from phasewise.unit_runs import PresentUnit

_ABSENT = object()
#: More keys than this are counted.
_NAMED_KEYS = 6


def describe_differences(now: PresentUnit, record: RunRecord) -> list[str]:
    """Returns ``key: value here, value there`` of each setting of a run that the study has not."""
    then = record.config.unit_config
    return _name_keys(describe_meaning(now.like(then)), describe_meaning(then))


def describe_study_differences(study: Study, moved: Study) -> list[str]:
    """Returns the same of two machines' whole studies, by what each has noted of its own.

    Args:
        study: As this clone has it.
        moved: As the other clone has it.
    """
    file = moved.settings.experiments_path / "study.json"
    try:
        noted = json.loads(file.read_text(encoding="utf-8"))
        settings = type(study.settings).model_validate(noted["settings"])
        there: dict[str, Section] = {"": settings}
        for key, model in (("tasks", TaskSettings), ("methods", MethodSettings)):
            there |= {f"{key}.{k}": model.model_validate(v) for k, v in noted[key].items()}
    except (OSError, ValueError, RecursionError, AttributeError, KeyError, TypeError):
        return []
    here = {"": study.settings, **_name_parts(study)}
    pairs = [(name, here[name], there[name]) for name in here if name in there]
    return [text for name, ours, theirs in pairs for text in _compare_sections(name, ours, theirs)]


def _name_parts(study: Study) -> dict[str, Section]:
    tasks = {f"tasks.{name}": task for name, task in study.tasks.items()}
    return tasks | {f"methods.{name}": method for name, method in study.methods.items()}


def _compare_sections(name: str, here: Section, there: Section) -> list[str]:
    return _name_keys(describe_meaning(here), describe_meaning(there), name)


def _name_keys(here: Any, there: Any, start: str = "") -> list[str]:
    found = [
        f"{key} {_show(ours)} here, {_show(theirs)} there"
        for key, ours, theirs in _compare(here, there, start)
    ]
    rest = len(found) - _NAMED_KEYS
    return [*found[:_NAMED_KEYS], f"{rest} more keys"] if rest > 0 else found


def _compare(here: Any, there: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yields each key whose values differ."""
    if isinstance(here, Mapping) and isinstance(there, Mapping):
        for name in dict.fromkeys((*here, *there)):
            dotted = f"{key}.{name}" if key else str(name)
            yield from _compare(here.get(name, _ABSENT), there.get(name, _ABSENT), dotted)
    elif json.dumps(here, default=str) != json.dumps(there, default=str):
        yield key, here, there


def _show(value: Any) -> str:
    if value is _ABSENT:
        return "absent"
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:57]}…"
