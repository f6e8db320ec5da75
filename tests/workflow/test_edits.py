"""One call brings an edited study up to date: what is planned is what changed its meaning."""

import json
import os
import random
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from conftest import ROOT, snakemake_command
from tiny_models import write_tiny_bert

TASK, METHODS = "own", ("full_finetune", "lora")
STUDY = {
    "name": "edits",
    "model": {"source": "model", "dtype": "float32"},
    "tasks": {
        TASK: {
            "kind": "classification",
            "source": {
                "type": "files",
                "files": {"train": "train.jsonl", "validation": "dev.jsonl"},
            },
            "text": ["text"],
            "labels": ["bad", "good"],
            "metric": "accuracy",
            "train_rows": 16,
            "search_rows": 40,
            "max_length": 16,
        }
    },
    "methods": {name: {} for name in METHODS},
    "baselines": {"seeds": 2},
    "search": {"trials": 2, "space": "space.yaml", "confirm_top": 1},
    "validation": {"seeds": 2},
    "machine": {"device": "cpu"},
    "tracking": {"wandb": False},
}
Jobs = frozenset[tuple[str, str]]  # (rule, method); no method where the rule has none
ONCE = frozenset({("check_data", ""), ("compute_baselines", ""), ("write_report", "")})
REPORT = frozenset({("write_report", "")})


def _units(*rules: str, methods: tuple[str, ...] = METHODS) -> Jobs:
    return frozenset((rule, method) for rule in rules for method in methods)


SEARCHED = ("search", "validate")
PHASES = ("run_defaults", *SEARCHED)
ALL = ONCE | _units(*PHASES)


def _write_rows(path: Path, count: int, seed: int) -> None:
    draw = random.Random(seed)
    words = (["bad", "poor", "dull", "weak"], ["good", "fine", "lovely", "fun"])
    rows = [
        {"text": " ".join([*draw.choices(words[i % 2], k=4), f"{seed}{i}"]), "label": i % 2}
        for i in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _edit_study(folder: Path, section: str, key: str, value: object) -> None:
    path = folder / "study.yaml"
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    content[section][key] = value
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def _edit_data(folder: Path) -> None:
    _write_rows(folder / "train.jsonl", 130, 1)


def _edit_model(folder: Path) -> None:
    path = folder / "model" / "config.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**content, "layer_norm_eps": 1e-5}), encoding="utf-8")


def _edit_space(folder: Path) -> None:
    path = folder / "space.yaml"
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    content["spaces"]["lora"] = {
        **content["spaces"]["lora"],
        "epochs": {"type": "fixed", "value": 2},
    }
    path.write_text(yaml.safe_dump(content), encoding="utf-8")


def _edit_library(folder: Path) -> None:
    """Another version of a library that results depend on, found first."""
    metadata = folder / "library" / "peft-99.0.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text("Metadata-Version: 2.1\nName: peft\nVersion: 99.0\n", encoding="utf-8")


def _comment(folder: Path) -> None:
    path = folder / "study.yaml"
    path.write_text("# a comment\n" + path.read_text(encoding="utf-8"), encoding="utf-8")


#: An edit, and the jobs whose meaning it changes.
EDITS: dict[str, tuple[Callable[[Path], None], Jobs]] = {
    "nothing": (lambda folder: None, frozenset()),
    "comment": (_comment, frozenset()),
    "study: trials": (
        lambda folder: _edit_study(folder, "search", "trials", 3),
        REPORT | _units(*SEARCHED),
    ),
    "study: seeds": (
        lambda folder: _edit_study(folder, "validation", "seeds", 3),
        REPORT | _units("validate"),
    ),
    "task": (
        lambda folder: _edit_study(
            folder, "tasks", TASK, {**STUDY["tasks"][TASK], "train_rows": 18}
        ),
        ALL,
    ),
    "method": (
        lambda folder: _edit_study(folder, "methods", "lora", {"use_rslora": True}),
        REPORT | _units(*PHASES, methods=("lora",)),
    ),
    "space": (_edit_space, REPORT | _units(*SEARCHED, methods=("lora",))),
    "data": (_edit_data, ALL),
    "model": (_edit_model, ALL),
    "library": (_edit_library, ALL),
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that has gone through all phases."""
    folder = tmp_path_factory.mktemp("edits").resolve()
    write_tiny_bert(folder / "model")
    _write_rows(folder / "train.jsonl", 120, 1)
    _write_rows(folder / "dev.jsonl", 40, 2)
    space = yaml.safe_load((ROOT / "shared" / "spaces" / "demo.yaml").read_text(encoding="utf-8"))
    (folder / "space.yaml").write_text(yaml.safe_dump(space), encoding="utf-8")
    (folder / "study.yaml").write_text(yaml.safe_dump(STUDY, sort_keys=False), encoding="utf-8")
    done = _call(folder)
    assert done.returncode == 0, done.stdout
    return folder


def _call(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = snakemake_command(folder, "test", Path("study.yaml"), "all", *more)
    paths = [str(folder / "library"), os.environ.get("PYTHONPATH", "")]
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )


def _plan(folder: Path, target: str = "all") -> Jobs:
    done = _call(folder, "--dry-run", target)
    assert done.returncode == 0, done.stdout
    found = set()
    for block in re.findall(r"rule \w+:\n(?: .*\n)+", done.stdout):
        method = re.search(r"method=(\w+)", block)
        found.add((block.split()[1].rstrip(":"), method[1] if method else ""))
    return frozenset(found - {("all", ""), ("phase2", "")})


def _interrupt(folder: Path) -> Jobs:
    """LoRA's Phase 2 never ended, and so there is no report; returns what that leaves to do."""
    unit = folder / "experiments" / "edits" / TASK / "lora"
    (unit / "phase2.json").unlink()
    shutil.rmtree(unit / "phase2")
    for name in ("report.html", "RESULTS.md"):
        (folder / "analysis" / "edits" / name).unlink()
    return REPORT | _units("validate", methods=("lora",))


def _forget(folder: Path) -> Jobs:
    """Without Snakemake's own notes, and with times that say nothing, as after ``cp -r``."""
    shutil.rmtree(folder / ".snakemake")
    files = [path for path in folder.rglob("*") if path.is_file()]
    random.Random(0).shuffle(files)
    for moment, path in enumerate(files, start=1_700_000_000):
        os.utime(path, (moment, moment))
    return frozenset()


STATES: dict[str, Callable[[Path], Jobs]] = {
    "finished": lambda folder: frozenset(),
    "interrupted": _interrupt,
    "copied": _forget,
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("edit", EDITS)
def test_exactly_what_changed_is_planned(
    finished: Path, tmp_path: Path, edit: str, state: str
) -> None:
    folder = tmp_path / "study"
    shutil.copytree(finished, folder, symlinks=True)
    unfinished = STATES[state](folder)
    change, expected = EDITS[edit]
    change(folder)
    assert _plan(folder) == expected | unfinished


@pytest.mark.parametrize(
    ("outdated", "rule"),
    [
        ("checked_all.json", "check_data"),
        (f"{TASK}/baselines.json", "compute_baselines"),
        (f"{TASK}/lora/phase0.json", "run_defaults"),
    ],
)
def test_what_is_missing_is_planned_beside_an_earlier_step(
    finished: Path, tmp_path: Path, outdated: str, rule: str
) -> None:
    """What stands between the two is up to date and must not cut the plan short."""
    folder = tmp_path / "study"
    shutil.copytree(finished, folder, symlinks=True)
    _interrupt(folder)
    path = folder / "experiments" / "edits" / outdated
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**content, "settings_hash": "0" * 16}), encoding="utf-8")
    earlier = (rule, "lora" if rule == "run_defaults" else "")
    for target, after in (("all", REPORT), ("phase2", frozenset())):
        validation = _units("validate", methods=("lora",))
        assert _plan(folder, target) == {earlier} | validation | after


def test_one_call_after_a_check_brings_everything_up_to_date(
    finished: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "study"
    shutil.copytree(finished, folder, symlinks=True)
    _edit_study(folder, "tasks", TASK, {**STUDY["tasks"][TASK], "train_rows": 18})
    checked = _call(folder, "--until", "check_data")
    assert checked.returncode == 0, checked.stdout
    assert _plan(folder) == ALL - {("check_data", "")}
    done = _call(folder)
    assert done.returncode == 0, done.stdout
    assert _plan(folder) == frozenset()
    results = (folder / "analysis" / "edits" / "RESULTS.md").read_text(encoding="utf-8")
    assert "other settings" not in results
    log = folder / "logs" / "phase1_optuna" / "all" / f"{TASK}_lora.log"
    assert log.read_text(encoding="utf-8").count("searching:") == 2  # appended, never lost
