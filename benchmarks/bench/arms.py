"""The arms of a comparison: one tool, run one way; each is a command and how to read its result."""

import shutil
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple

from benchmarks.bench.processes import Measured, run_measured, search_path
from benchmarks.bench.trials import TrialList, read_scores
from benchmarks.bench.workloads import (
    STUDY_NAME,
    Sizes,
    Workload,
    count_evaluations,
    describe_study,
    export_trials,
    write_study,
)

from phasewise.records import RECORD_FILE, iterate_records
from phasewise.settings import Study

#: Seconds after which a process is taken for hung.
LIMIT = 3600.0
_PEERS = "benchmarks.bench.peers"
_OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "HF_EVALUATE_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONWARNINGS": "ignore",
}
_NO_GPU = {"CUDA_VISIBLE_DEVICES": ""}


class Arm(NamedTuple):
    """One tool, run one way."""

    name: str
    threads: str
    """How it uses the cores, in words."""
    study: Mapping[str, Mapping[str, Any]] | None = None
    """Phasewise: what the study sets. None: a peer."""
    peer: tuple[str, ...] = ()
    """A peer's module and its arguments."""
    prunes: bool = False
    """Whether ASHA stops trials early; compared with other arms that do."""
    needs: str = ""
    """Package without which the arm is left out."""


class ArmResult(NamedTuple):
    """One repetition of an arm."""

    seconds: float
    """Wall clock of the process; Phasewise: without the confirmation of the optimum."""
    process_seconds: float
    """Wall clock of the whole process."""
    cpu_seconds: float
    peak_memory_mb: float
    scores: tuple[float | None, ...]
    """Metric of each trial on the search rows; None: stopped early."""
    step_seconds: float | None = None
    """Phasewise: spent in training and evaluation steps, by the records, over all workers."""


def _phasewise(
    name: str, engine: str, dtype: str = "float32", *, prunes: bool = False, kernels: bool = True
) -> Arm:
    machine: dict[str, Any] = {"workers": 2, "threads": 1, "kernels": kernels}
    study: dict[str, dict[str, Any]] = {
        "training": {"engine": engine},
        "model": {"dtype": dtype},
        "machine": machine,
        "search": {"pruner": "asha" if prunes else "none"},
    }
    return Arm(name, "2 workers x 1 thread", study=study, prunes=prunes)


#: The arm that ratios are taken to.
REFERENCE = "hyperparameter_search"
ARMS = {
    arm.name: arm
    for arm in (
        _phasewise("phasewise-trainer", "trainer"),
        _phasewise("phasewise-packed", "packed"),
        _phasewise("phasewise-packed-pytorch", "packed", kernels=False),
        _phasewise("phasewise-packed-bf16", "packed", "bfloat16"),
        _phasewise("phasewise-packed-asha", "packed", prunes=True),
        Arm(REFERENCE, "1 process, all cores", peer=("hyperparameter_search",)),
        Arm(
            "hyperparameter_search-bf16",
            "1 process, all cores",
            peer=("hyperparameter_search", "--bf16"),
        ),
        Arm("ray-tune", "one process per trial, 1 CPU each", peer=("ray_tune",), needs="ray"),
        Arm(
            "ray-tune-asha",
            "one process per trial, 1 CPU each",
            peer=("ray_tune", "--asha"),
            prunes=True,
            needs="ray",
        ),
        Arm("plain-loop", "1 process, all cores", peer=("plain_loop",)),
    )
}


def is_missing(arm: Arm) -> bool:
    """Whether the package that an arm needs is not installed."""
    return bool(arm.needs) and find_spec(arm.needs) is None


class Bench:
    """A workload made ready: Phase 0 done, the trials drawn and exported.

    Args:
        workload: What to train.
        sizes: How much of it.
        folder: Where everything is written.
        device: For all arms.
    """

    def __init__(
        self, workload: Workload, sizes: Sizes, folder: Path, device: Literal["cpu", "cuda"]
    ) -> None:
        self._workload, self._sizes, self._folder = workload, sizes, folder
        self._device = device
        folder.mkdir(parents=True)
        self.trials = self._export(prunes=False)
        self._baseline = self._make_baseline()

    def run(self, arm: Arm, repetition: int) -> ArmResult:
        """Runs one arm once, in a folder of its own.

        Raises:
            ProcessError: It failed.
        """
        folder = self._folder / f"{arm.name}-{repetition}"
        folder.mkdir()
        if arm.study is not None:
            return self._run_phasewise(arm, folder)
        shutil.copy(self._exported(prunes=arm.prunes) / "trials.json", folder)
        module, *arguments = arm.peer
        measured = run_measured(
            (sys.executable, "-m", f"{_PEERS}.{module}", str(folder), *arguments),
            folder,
            self._environment(),
            LIMIT,
        )
        return _as_result(measured, measured.seconds, read_scores(folder), None)

    def _exported(self, *, prunes: bool) -> Path:
        return self._folder / ("trials-asha" if prunes else "trials")

    def _export(self, *, prunes: bool) -> TrialList:
        if not prunes:
            self._export(prunes=True)
        folder = self._exported(prunes=prunes)
        folder.mkdir()
        return export_trials(write_study(folder, self._describe({}, prunes=prunes)), folder)

    def _describe(
        self, changes: Mapping[str, Mapping[str, Any]], *, prunes: bool
    ) -> dict[str, Any]:
        count = count_evaluations(self._workload, prunes=prunes)
        training = {**changes.get("training", {}), "evaluations_per_epoch": count}
        machine = {**changes.get("machine", {}), "device": self._device}
        changes = {**changes, "training": training, "machine": machine}
        return describe_study(self._workload, self._sizes, changes)

    def _make_baseline(self) -> Path:
        """Runs Phase 0 once on a few rows: a search needs its file, no trial depends on it."""
        folder = self._folder / "baseline"
        folder.mkdir()
        content = self._describe({}, prunes=False)
        (task,) = content["tasks"]
        content["tasks"][task] |= {"train_rows": 16, "search_rows": 16}
        self._call_phasewise("defaults", write_study(folder, content), folder)
        return folder / "experiments"

    def _call_phasewise(self, command: str, study: Study, folder: Path) -> Measured:
        (task,), (method,) = study.tasks, study.methods
        program = (sys.executable, "-m", "phasewise")
        return run_measured(
            (*program, command, "--study", "study.yaml", "--task", task, "--method", method),
            folder,
            # A cache of its own: rows are tokenized anew, as the peers do.
            {**self._environment(), "PHASEWISE_CACHE": str(folder / "cache")},
            LIMIT,
        )

    def _environment(self) -> dict[str, str | None]:
        """Threads are as users have them: torch's own choice, where the program makes none."""
        environment = {**_OFFLINE, "OMP_NUM_THREADS": None, "PYTHONPATH": search_path()}
        return environment if self._device == "cuda" else {**environment, **_NO_GPU}

    def _run_phasewise(self, arm: Arm, folder: Path) -> ArmResult:
        assert arm.study is not None
        study = write_study(folder, self._describe(arm.study, prunes=arm.prunes))
        (task,), (method,) = study.tasks, study.methods
        kept = Path(STUDY_NAME) / task / method / "phase0.json"
        (folder / "experiments" / kept).parent.mkdir(parents=True)
        shutil.copy(self._baseline / kept, folder / "experiments" / kept)
        measured = self._call_phasewise("search", study, folder)
        runs = folder / "experiments" / STUDY_NAME / task / method / "phase1"
        return _read_records(runs, measured, self.trials)


def _read_records(runs: Path, measured: Measured, trials: TrialList) -> ArmResult:
    """Returns what the records of a search say.

    Raises:
        ValueError: The trials are not those that the peers had.
    """
    scores: list[float | None] = []
    ends, steps = {}, 0.0
    for folder, record in iterate_records(runs):
        ends[folder.name] = (folder / RECORD_FILE).stat().st_mtime
        if not folder.name.startswith("trial-"):
            continue
        given = trials.trials[len(scores)]._asdict()
        trained = record.config.hyperparameters.model_dump()
        differing = [name for name, value in given.items() if trained[name] != value]
        if differing:
            raise ValueError(f"{folder.name}: {differing[0]} differs from the exported list")
        scores.append(record.search_score if record.status == "finished" else None)
        if record.cost is not None:
            steps += record.cost.train_seconds
    if len(scores) != len(trials.trials):
        raise ValueError(f"{runs}: expected {len(trials.trials)} trials, found {len(scores)}")
    trained_until = max(end for name, end in ends.items() if name.startswith("trial-"))
    exit_seconds = measured.started + measured.seconds - max(ends.values())
    seconds = trained_until - measured.started + exit_seconds
    return _as_result(measured, seconds, scores, steps)


def _as_result(
    measured: Measured, seconds: float, scores: list[float | None], steps: float | None
) -> ArmResult:
    return ArmResult(
        seconds=seconds,
        process_seconds=measured.seconds,
        cpu_seconds=measured.cpu_seconds,
        peak_memory_mb=measured.peak_memory_mb,
        scores=tuple(scores),
        step_seconds=steps,
    )
