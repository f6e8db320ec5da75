"""Looks at what a study has left behind, by the formats of its files alone.

Nothing of the package is imported: what reads here shares no mistake with what wrote.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import yaml

#: Statuses that end a trial for good; a failed one is tried again.
FINAL = {"finished", "pruned", "diverged", "infeasible"}
#: Optuna's journal: operations and states (optuna/storages/journal/_storage.py, trial/_state.py).
_CREATE_TRIAL, _SET_STATE = 4, 6
_COMPLETE, _PRUNED, _FAIL, _WAITING = 1, 2, 3, 4


class Ends(NamedTuple):
    """How the storage says that trials have ended, by number: state and values."""

    created: int
    ended: dict[int, tuple[int, tuple[float, ...]]]
    twice: int


class Verdict(NamedTuple):
    """What is wrong; all zero and empty if nothing is."""

    lost: int = 0
    doubled: int = 0
    off_budget: int = 0
    broken: tuple[str, ...] = ()

    def __add__(self, other: Any) -> "Verdict":
        return Verdict(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))


def read_finished(unit: Path) -> dict[str, str]:
    """Returns the runs that have ended for good: phase/name to the digest of the record's file."""
    found = {}
    for path in sorted(unit.glob("phase*/*/record.json")):
        try:
            content = json.loads(path.read_bytes())
            if content["status"] in FINAL and content["digest"] == _digest(content):
                found[f"{path.parent.parent.name}/{path.parent.name}"] = _hash_file(path)
        except (ValueError, KeyError, TypeError):
            continue
    return found


def compare(before: dict[str, str], unit: Path) -> Verdict:
    """Finished runs that are gone, or say something else, are lost."""
    now = read_finished(unit)
    return Verdict(lost=sum(now.get(name) != digest for name, digest in before.items()))


def check_ended(unit: Path, optimum: Path, ends: Ends, trials: int) -> Verdict:
    """Checks a search that has come to its end.

    Args:
        unit: Its folder.
        optimum: Its file.
        ends: What the storage says.
        trials: The budget.
    """
    broken = [*_find_broken(unit), *_check_optimum(optimum, unit, trials)]
    records = [json.loads(path.read_bytes()) for path in unit.glob("phase1/trial-*/record.json")]
    numbers = Counter(record["config"]["index"] for record in records)
    draws = Counter(json.dumps(r["config"]["hyperparameters"], sort_keys=True) for r in records)
    doubled = ends.twice + sum(count - 1 for count in (*numbers.values(), *draws.values()))
    lost = sum(number not in numbers for number in range(trials))
    for record in records:
        state, values = ends.ended.get(record["config"]["index"], (0, ()))
        if not _says_the_same(record, state, values):
            broken.append(f"trial {record['config']['index']}: record and storage differ")
    off = abs(len(ends.ended) - trials) + abs(len(records) - trials)
    return Verdict(lost, doubled, off, tuple(broken))


def read_journal(path: Path) -> Ends:
    """Returns what a journal says; every line must be an object."""
    created, twice = 0, 0
    ended: dict[int, tuple[int, tuple[float, ...]]] = {}
    for line in path.read_bytes().splitlines():
        entry = json.loads(line)
        if entry["op_code"] == _CREATE_TRIAL:
            created += 1
        elif entry["op_code"] == _SET_STATE and entry["state"] in (_COMPLETE, _PRUNED, _FAIL):
            twice += entry["trial_id"] in ended
            ended[entry["trial_id"]] = entry["state"], tuple(entry["values"] or ())
    return Ends(created, ended, twice)


def read_database(sql: Callable[[str], list[list[str]]], trials: int) -> Ends:
    """Returns what the tables of a database with one study say."""
    states = {"COMPLETE": _COMPLETE, "PRUNED": _PRUNED, "FAIL": _FAIL}
    rows = sql(
        "SELECT number, state, value FROM trials LEFT JOIN trial_values USING (trial_id) "
        "ORDER BY number"
    )
    ended = {
        int(number): (states[state], (float(value),) if value else ())
        for number, state, value in rows
        if state in states
    }
    twice = len(rows) - len({number for number, _, _ in rows})
    beyond = [number for number, state, _ in rows if int(number) >= trials and state != "WAITING"]
    return Ends(len(rows), ended, twice + len(beyond))


def _find_broken(unit: Path) -> Iterable[str]:
    for path in sorted(unit.rglob("*.json")):
        if ".old-" in str(path) or path.name.startswith("."):
            continue
        try:
            content = json.loads(path.read_bytes())
        except ValueError as error:
            yield f"{path}: {error}"
            continue
        if path.name == "record.json" and content["digest"] != _digest(content):
            yield f"{path}: its content does not give its digest"


def _check_optimum(optimum: Path, unit: Path, trials: int) -> Iterable[str]:
    for path in (optimum, unit / "phase1" / "optimal.yaml"):
        try:
            content = yaml.safe_load(path.read_text())
            if content["n_trials"] != trials or not content["final"]:
                yield f"{path}: {content['n_trials']} trials, final {content['final']}"
        except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError) as error:
            yield f"{path}: {error!r}"


def _says_the_same(record: dict[str, Any], state: int, values: tuple[float, ...]) -> bool:
    if record["status"] == "finished":
        metric = record["config"]["unit_config"]["data"]["task"]["metric"]
        return state == _COMPLETE and values == (record["search_metrics"][metric],)
    return state == _PRUNED


def _digest(content: dict[str, Any]) -> str:
    """Of all but itself: canonical JSON, SHA-256, 16 hex digits."""
    rest = {key: value for key, value in content.items() if key != "digest"}
    text = json.dumps(rest, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _hash_file(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
