"""A tiny real study through Snakemake to its end, killed on the way: MiniLM on real reviews."""

import json
import os
import shutil
import signal
import subprocess
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from optuna import load_study as load_optuna_study
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from conftest import ROOT, Snakemake, snakemake_command
from phasewise.records import iterate_records
from phasewise.summaries import read_optimum, read_phase_summary

TEST = ROOT / "shared" / "studies" / "test.yaml"
METHODS = ("full_finetune", "lora")
TASK = "rotten_tomatoes"
TRIALS, CONFIRMATIONS, DEFAULTS, SEEDS = 3, 2, 2, 2
#: Long enough for a loaded machine; the wait ends as soon as there is something to kill.
PATIENCE_SECONDS = 240


def _wait_for(find: Callable[[], list[int]], process: subprocess.Popen[bytes]) -> list[int]:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if found := find():
            return found
        assert process.poll() is None, "snakemake ended before there was anything to kill"
        time.sleep(0.1)
    raise AssertionError("nothing to kill appeared")


def _processes(folder: Path, part: str) -> list[int]:
    """Returns the processes in ``folder`` whose command line, words ended by NUL, has a part."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes().decode()
            inside = Path(os.readlink(entry / "cwd")) == folder
        except OSError:
            continue
        if inside and part in command:
            found.append(int(entry.name))
    return found


def _workers(folder: Path) -> list[int]:
    """Returns the workers that a server has forked, and the server, which has the same command."""
    found = _processes(folder, "training.worker_server")
    return found if len(found) > 1 else []


def _controllers(folder: Path) -> list[int]:
    """Returns those that search; the mirrors' plans have the word, too, but within a JSON text."""
    return _processes(folder, "\0search\0")


def _kill(processes: list[int]) -> None:
    for process in processes:
        try:
            os.kill(process, signal.SIGKILL)
        except ProcessLookupError:
            continue


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study that was killed three times and finished nevertheless."""
    folder = tmp_path_factory.mktemp("study").resolve()
    study = folder / "study.yaml"
    shutil.copy(TEST, study)
    content = study.read_text(encoding="utf-8").replace("demo.yaml", str(TEST.parent / "demo.yaml"))
    study.write_text(content, encoding="utf-8")
    command = snakemake_command(folder, "test", study, "all")
    with (folder / "killed.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        searching = lambda: _workers(folder) if _trial_records(folder) else []  # noqa: E731
        _kill(_wait_for(searching, process))  # costs a retry
        time.sleep(1)
        _kill(_controllers(folder))  # and then snakemake
        _kill([process.pid])
        process.wait()
    unlock = subprocess.run([*command, "--unlock"], cwd=folder, capture_output=True, check=False)
    assert unlock.returncode == 0, unlock.stderr.decode()
    done = subprocess.run(command, cwd=folder, capture_output=True, timeout=600, check=False)
    (folder / "finished.log").write_bytes(done.stdout + done.stderr)
    assert done.returncode == 0, (done.stdout + done.stderr).decode()
    return folder


def _unit(folder: Path, method: str) -> Path:
    return folder / "experiments" / "test" / TASK / method


def _trial_records(folder: Path) -> list[Path]:
    return sorted((folder / "experiments").rglob("trial-*/record.json"))


@pytest.mark.parametrize("method", METHODS)
def test_exactly_n_trials_with_a_record_each_and_no_draw_repeated(
    finished: Path, method: str
) -> None:
    unit = _unit(finished, method)
    storage = JournalStorage(JournalFileBackend(str(unit / "phase1" / "journal.log")))
    (name,) = (summary.study_name for summary in storage.get_all_studies())
    trials = load_optuna_study(study_name=name, storage=storage).trials
    ended = [trial for trial in trials if trial.state.name in ("COMPLETE", "PRUNED")]
    assert len(ended) == TRIALS
    assert len({json.dumps(trial.params, sort_keys=True) for trial in ended}) == TRIALS
    records = [record for _, record in iterate_records(unit)]
    counts = Counter(record.config.name.split("-")[0] for record in records)
    assert counts == {
        "default": DEFAULTS,
        "trial": TRIALS,
        "confirm": CONFIRMATIONS,
        "seed": SEEDS,
    }
    assert len({record.hash for record in records}) == len(records)


@pytest.mark.parametrize("method", METHODS)
def test_optimum_and_summaries_are_final(finished: Path, method: str) -> None:
    optimum = read_optimum(finished / "analysis" / "test" / f"{TASK}_{method}_optimal.yaml")
    assert optimum is not None
    assert optimum.final
    assert optimum.n_trials == TRIALS
    assert optimum.study_name == f"test_{TASK}_{method}"
    assert optimum.confirmed_value is not None
    assert optimum.baseline_value is not None
    summary = read_phase_summary(_unit(finished, method) / "phase2.json")
    assert summary is not None
    assert len(summary.report.scores) == SEEDS
    chosen = summary.hyperparameters
    assert {key: chosen[key] for key in optimum.best_hyperparameters} == (
        optimum.best_hyperparameters
    )


def test_only_final_scores_opened_the_report_set(finished: Path) -> None:
    ledger = finished / "experiments" / "test" / TASK / "report_set_ledger.jsonl"
    lines = [json.loads(line) for line in ledger.read_text(encoding="utf-8").splitlines()]
    assert not [line for line in lines if "trial-" in line["run"] or "confirm-" in line["run"]]
    runs = {line["run"] for line in lines}
    assert len([run for run in runs if "seed-" in run]) == SEEDS * len(METHODS)


def test_report_names_every_unit_and_loads_nothing(finished: Path) -> None:
    folder = finished / "analysis" / "test"
    page = (folder / "report.html").read_text(encoding="utf-8")
    results = (folder / "RESULTS.md").read_text(encoding="utf-8")
    for text in (page, results):
        assert all(word in text for word in (TASK, *METHODS))
    assert 'src="http' not in page


def test_snakemakes_own_report_holds_the_verdict_with_captions(finished: Path) -> None:
    command = snakemake_command(
        finished, "test", finished / "study.yaml", "all", "--report", "bundle.zip"
    )
    done = subprocess.run(command, cwd=finished, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(finished / "bundle.zip") as bundle:
        names = {name.split("/")[-1] for name in bundle.namelist()}
        (main,) = (name for name in bundle.namelist() if name.count("/") == 1)
        page = bundle.read(main).decode()
    optima = {f"{TASK}_{method}_optimal.yaml" for method in METHODS}
    assert {"report.html", "RESULTS.md", "runs.csv", "scores.tex", *optima} <= names
    for words in ("The verdict on every pair of methods", "Begin with the category", "Optima"):
        assert words in page


def test_every_run_is_mirrored_to_one_offline_wandb_run(finished: Path) -> None:
    records = list(iterate_records(finished / "experiments"))
    deadline = time.monotonic() + 60  # nobody waits for the last ones
    while len(folders := set((finished / "experiments").rglob("offline-run-*"))) < len(records):
        assert time.monotonic() < deadline, sorted(folders)
        time.sleep(0.5)
    assert len(folders) == len(records)


def test_log_of_each_search_tells_its_trials(finished: Path) -> None:
    for method in METHODS:
        log = finished / "logs" / "phase1_optuna" / "all" / f"{TASK}_{method}.log"
        text = log.read_text(encoding="utf-8")
        assert f"({TRIALS}/{TRIALS})" in text
        assert "\x1b" not in text


@pytest.mark.parametrize(
    ("old", "new", "rules"),
    [
        ("description: MiniLM-L6", "# a comment\ndescription: the", set()),
        ("trials: 3", "trials: 4", {"search", "validate", "write_report"}),
        ("  lora: {}", "  lora: {use_rslora: true}", None),
    ],
)
def test_meaning_decides_what_runs_again(
    finished: Path, tmp_path: Path, old: str, new: str, rules: set[str] | None
) -> None:
    """``rules`` None: the jobs of the one method that changed."""
    study = finished / "study.yaml"
    before = study.read_text(encoding="utf-8")
    assert old in before
    study.write_text(before.replace(old, new), encoding="utf-8")
    try:
        command = snakemake_command(finished, "test", study, "all", "--dry-run")
        done = subprocess.run(command, cwd=finished, capture_output=True, text=True, check=False)
    finally:
        study.write_text(before, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    planned = [line.split() for line in done.stdout.splitlines() if line.startswith("rule ")]
    found = {words[1].rstrip(":") for words in planned}
    if rules is None:
        assert "method=lora" in done.stdout
        assert "method=full_finetune" not in done.stdout
    else:
        assert found - {"all"} == rules or (not rules and "Nothing to be done" in done.stdout)


def test_bad_data_stop_the_study_before_it_trains(snakemake: Snakemake, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("text,label\ngood,1\nodd,7\n", encoding="utf-8")
    study = tmp_path / "bad.yaml"
    study.write_text(
        f"""extends: {TEST}
tasks:
  own:
    kind: classification
    source: {{type: files, files: {{train: rows.csv, validation: rows.csv}}}}
    text: [text]
    labels: [bad, good]
    metric: accuracy
""",
        encoding="utf-8",
    )
    done = snakemake("test", study, "all")
    assert done.returncode != 0
    assert "rows.csv" in done.stdout
    assert "7" in done.stdout
    assert not list(tmp_path.rglob("record.json"))
