"""What a merge will do, worked out and checked before anything is written."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from phasewise.errors import RecordError
from phasewise.formatting import join_words
from phasewise.merging.checks import check_task, check_unit
from phasewise.merging.listing import ResultPaths, examine, list_folder
from phasewise.merging.sources import Source
from phasewise.merging.units import UnitCopy, at, collect_units, relate
from phasewise.provenance import RESULT_LIBRARIES
from phasewise.runs import task_baselines_path
from phasewise.settings import Study
from phasewise.summaries import TaskBaselines, read_task_baselines

HERE = "here"

#: new: not here before. updated: goes on where the one here ends. joined: adds what other machines
#: that shared the unit's runs have not. same, older: nothing to do.
Action = Literal["new", "updated", "joined", "same", "older"]


@dataclass(frozen=True)
class UnitStep:
    """What becomes of one unit of a source."""

    copy: UnitCopy
    action: Action


@dataclass(frozen=True)
class MergePlan:
    """What a merge will do."""

    units: tuple[UnitStep, ...]
    tasks: tuple[tuple[Source, str], ...]  # whose baselines and ledger are brought
    warnings: tuple[str, ...]  # what is brought all the same
    problems: tuple[str, ...]  # each speaks against the whole merge
    missing: tuple[str, ...]  # units of the study that will have no run
    unfinished: tuple[str, ...]  # units that will not be through Phase 2


def plan_merge(study: Study, sources: Sequence[Source]) -> MergePlan:
    """Returns what bringing the sources' results into this clone means.

    Raises:
        ConfigError: The study's folders are not below the clone.
    """
    here = _list_here(study)
    problems: list[str] = []
    found: list[UnitCopy] = []
    for source in sources:
        copies = collect_units(source.name, source.root, source.files, study)
        wrong = [text for copy in copies for text in check_unit(study, copy)]
        for task in () if wrong else study.tasks:
            wrong += check_task(study, at(study, source.root), task, copies)
        problems += [text.replace(f"{source.root}", source.name) for text in wrong]
        found += copies
    if problems:
        return MergePlan((), (), (), tuple(problems), (), ())
    steps, kept = _choose(here, found, problems)
    tasks = [(source, task) for source in sources for task in study.tasks]
    problems += _compare_data(kept)
    problems += _compare_baselines(study, tasks)
    run = {copy.label for copy in kept}
    through = {copy.label for copy in kept if copy.paths.summary("phase2").is_file()}
    units = [f"{task}/{method}" for task in study.tasks for method in study.methods]
    return MergePlan(
        units=tuple(steps),
        tasks=tuple(tasks),
        warnings=tuple(_describe_mixture(kept)),
        problems=tuple(problems),
        missing=tuple(unit for unit in units if unit not in run),
        unfinished=tuple(dict.fromkeys(c.label for c in kept if c.label not in through)),
    )


def _list_here(study: Study) -> list[UnitCopy]:
    places = ResultPaths(study)
    listing = examine(list_folder(Path(), places), places)
    if listing.problems:
        raise RecordError("\n".join(f"{HERE}: {problem}" for problem in listing.problems))
    return collect_units(HERE, Path(), listing.files, study)


def _choose(
    here: Sequence[UnitCopy], found: Sequence[UnitCopy], problems: list[str]
) -> tuple[list[UnitStep], list[UnitCopy]]:
    """Returns what becomes of each copy, and those of each unit that will be here together."""
    chosen: dict[str, list[UnitCopy]] = {copy.label: [copy] for copy in here}
    for copy in found:
        rivals = chosen.setdefault(copy.label, [])
        relations = [relate(rival, copy) for rival in rivals]
        for rival, (relation, file) in zip(rivals, relations, strict=True):
            if relation == "conflict":
                problems.append(_describe_conflict(rival, copy, file))
        if all(relation in ("newer", "joined") for relation, _ in relations):
            pairs = zip(rivals, relations, strict=True)
            kept = [rival for rival, (relation, _) in pairs if relation == "joined"]
            chosen[copy.label] = [*kept, copy]
    own = {copy.label: copy for copy in here}
    steps = [
        UnitStep(copy, _name_action(copy, own.get(copy.label), chosen[copy.label]))
        for copy in found
    ]
    return steps, [copy for copies in chosen.values() for copy in copies]


def _name_action(copy: UnitCopy, own: UnitCopy | None, chosen: Sequence[UnitCopy]) -> Action:
    if any(each is copy for each in chosen):
        if chosen[0] is not copy:
            return "joined"
        return "new" if own is None else "updated"
    return "same" if any(relate(copy, each)[0] == "same" for each in chosen) else "older"


def _describe_conflict(rival: UnitCopy, copy: UnitCopy, file: str) -> str:
    names = [f"{each.source} ({_name_hosts(each)})" for each in (rival, copy)]
    return (
        f"{copy.label}: {join_words(names)} have each run it, and {file} differs: each unit is one "
        "machine's; move away the one that shall not count"
    )


def _name_hosts(copy: UnitCopy) -> str:
    hosts = dict.fromkeys(record.environment.get("host", "?") for record in copy.records)
    return join_words(list(hosts)) or "no run"


def _compare_data(copies: Sequence[UnitCopy]) -> Iterator[str]:
    """Yields the tasks whose units read other rows, and what was trained on other weights.

    On a machine that has the data and the model, each unit was compared with those before.
    """
    for task in dict.fromkeys(copy.task for copy in copies):
        values = _group(
            (record.config.unit_config.data.data_fingerprint, copy)
            for copy in copies
            if copy.task == task
            for record in copy.records
        )
        if len(values) > 1:
            yield f"{task}: the data differ: {_show_groups(values)}"
    models = _group((r.config.unit_config.model_fingerprint, c) for c in copies for r in c.records)
    if len(models) > 1:
        yield f"the base models differ: {_show_groups(models)}"


def _compare_baselines(study: Study, tasks: Iterable[tuple[Source, str]]) -> Iterator[str]:
    known = {task: (HERE, _read_baselines(study, Path(), task)) for task in study.tasks}
    for source, task in tasks:
        (name, ours), theirs = known[task], _read_baselines(study, source.root, task)
        if ours is None:
            known[task] = source.name, theirs
        elif theirs not in (None, ours):
            yield (
                f"{task}: the baselines of {source.name} and {name} differ: each task is one "
                "machine's; move away the file that shall not count"
            )


def _read_baselines(study: Study, root: Path, task: str) -> TaskBaselines | None:
    return read_task_baselines(task_baselines_path(at(study, root), task))


def _describe_mixture(copies: Sequence[UnitCopy]) -> Iterator[str]:
    """Yields what the units do not have in common; the report's verdicts say so too."""
    for name in (*RESULT_LIBRARIES, "device", "commit"):
        values = _group(
            (record.environment[name], copy)
            for copy in copies
            for record in copy.records
            if name in record.environment
        )
        if len(values) > 1:
            yield f"{name} differs: {_show_groups(values)}"


def _group(pairs: Iterable[tuple[str, UnitCopy]]) -> dict[str, dict[str, None]]:
    """Returns each value with the units and hosts that have it."""
    groups: dict[str, dict[str, None]] = {}
    for value, copy in pairs:
        groups.setdefault(value, {})[f"{copy.label} ({_name_hosts(copy)})"] = None
    return groups


def _show_groups(groups: dict[str, dict[str, None]]) -> str:
    return "; ".join(f"{value} for {join_words(list(units))}" for value, units in groups.items())
