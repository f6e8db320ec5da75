"""The suites that one output folder holds: each has a study of its own, none replaces another.

``suites/{suite}/`` holds the study, the suite as it was run, and the reasons of what was not run. A
suite that is asked for again with another model, task, data or other values gets ``{suite}-2``.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from phasewise.errors import ConfigError, PhasewiseError
from phasewise.recipes.study_writer import STUDY_FILE, write_study
from phasewise.recipes.suites.settings import Suite
from phasewise.records import write_atomically, write_json
from phasewise.settings import Study, load_study, read_yaml

SUITES_FOLDER = "suites"
_SUITE_FILE = "suite.yaml"
_TROUBLES_FILE = "not_run.json"
_HEAD = "# The suite as it was run; written by phasewise ablate.\n"


class StoredSuite(NamedTuple):
    """A suite in an output folder, with its study."""

    label: str  # its folder's name: the suite's, with a number from the second of that name on
    suite: Suite
    study: Study
    troubles: dict[str, str]  # task/method to why it could not be run

    @property
    def suffix(self) -> str:
        """What sets it apart from another of its name; empty for the first."""
        return self.label.removeprefix(self.suite.suite_name)


def store_suite(
    output_dir: Path, suite: Suite, content: Mapping[str, Any], space: Mapping[str, Any]
) -> Path:
    """Writes a suite and its study into the output folder; returns the study's file.

    Args:
        output_dir: Earlier suites in it stay.
        suite: The suite.
        content: The study's sections.
        space: Its search space.
    """
    asked = _identify(suite, content)
    folder, number = output_dir / SUITES_FOLDER / suite.suite_name, 1
    while _read_identity(folder) not in (None, asked):
        number += 1
        folder = folder.with_name(f"{suite.suite_name}-{number}")
    text = yaml.safe_dump(suite.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    write_atomically(folder / _SUITE_FILE, _HEAD + text)
    return write_study(folder, content, space=space)


def note_troubles(study: Study, troubles: Mapping[str, str]) -> None:
    """Writes why units of a suite's study could not be run, beside it; none: they all could."""
    write_json(study.path.with_name(_TROUBLES_FILE), dict(troubles))


def read_suite(study: Path) -> StoredSuite:
    """Returns the suite that a study file was written for.

    Raises:
        PhasewiseError: A file of it is missing or not what was written.
    """
    suite = _read_stored(study.parent)
    path = study.with_name(_TROUBLES_FILE)
    troubles = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return StoredSuite(study.parent.name, suite, load_study(study), troubles)


def read_suites(output_dir: Path) -> tuple[list[StoredSuite], list[str]]:
    """Returns the suites of an output folder, by name, and what is wrong with unreadable ones.

    Those that were only previewed are left out.
    """
    found, unreadable = [], []
    for study in sorted((output_dir / SUITES_FOLDER).glob(f"*/{STUDY_FILE}")):
        begun = (study.with_name("experiments"), study.with_name(_TROUBLES_FILE))
        if not any(path.exists() for path in begun):
            continue
        try:
            found.append(read_suite(study))
        except PhasewiseError as error:
            unreadable.append(str(error))
    return found, unreadable


def _read_stored(folder: Path) -> Suite:
    try:
        return Suite.model_validate(read_yaml(folder / _SUITE_FILE))
    except ValueError as error:
        raise ConfigError(f"{folder / _SUITE_FILE}: {' '.join(str(error).split())}") from error


def _read_identity(folder: Path) -> object:
    """Returns what a stored suite is told apart by; None where there is none."""
    if not (folder / STUDY_FILE).is_file():
        return None
    try:
        return _identify(_read_stored(folder), read_yaml(folder / STUDY_FILE))
    except ConfigError:
        return "unreadable"


def _identify(suite: Suite, content: Mapping[str, Any]) -> object:
    """Returns what makes two suites of one name different: all but words and numbers of seeds."""
    keys = ("extends", "model", "tasks", "methods", "machine", "seed")
    parts = {key: content.get(key) for key in keys}
    experiments = [each.model_dump(mode="json") for each in suite.experiments]
    return json.loads(json.dumps([parts, experiments], default=str))
