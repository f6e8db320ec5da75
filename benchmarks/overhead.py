"""What a study costs beside its steps: ``python benchmarks/overhead.py [--method M] [--rows N]``.

Searches one unit of the demo, whose trials are tiny unless ``--rows`` makes them longer (10 trials
and their confirmation), and prints where the seconds of the search command went: until the first
step (interpreter, imports, model and data: the price of a cold start), training steps, evaluations,
and all the rest, which is the study's own overhead. Only forward and backward passes and optimizer
steps count as steps, and only forward passes as evaluations; collation, metrics, pipes, records and
draws are overhead.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

_BEGAN = time.monotonic()
DEMO = Path(__file__).parents[1] / "shared" / "studies" / "demo.yaml"
TASK = "rotten_tomatoes"
#: What computes in a worker; a call within another counts once, as the outer one.
STEPS = (
    "phasewise.training.packed.lockstep.compute_pass",
    "phasewise.training.packed.run.PackedRun.take",
    "phasewise.training.run_trainer.RunTrainer.training_step",
)
EVALUATIONS = (
    "phasewise.training.packed.engine.PackedEngine._predict_ahead",
    "phasewise.training.warm.WarmParts.predict",
)


class Split(NamedTuple):
    """Seconds of one search command, by what they went to."""

    start: float
    steps: float
    evaluations: float
    rest: float

    @property
    def overhead(self) -> float:
        """Share of the seconds after the start that is neither step nor evaluation."""
        return self.rest / (self.steps + self.evaluations + self.rest)


class Meter:
    """Adds up the seconds of some functions and notes when the first of them was called."""

    def __init__(self) -> None:
        self.first: float | None = None
        self.seconds = {"steps": 0.0, "evaluations": 0.0}
        self._depth = 0

    def wrap(self, kind: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Returns a function that does the same and is timed as ``kind``."""

        def timed(*arguments: Any, **keywords: Any) -> Any:
            clock = time.monotonic()
            self.first = self.first or clock
            self._depth += 1
            try:
                return function(*arguments, **keywords)
            finally:
                self._depth -= 1
                if not self._depth:
                    self.seconds[kind] += time.monotonic() - clock

        return timed

    def wrap_named(self, kind: str, name: str) -> None:
        """Replaces a method, named in full, by its timed self."""
        path, _, method = name.rpartition(".")
        owner = resolve_name(path)
        setattr(owner, method, self.wrap(kind, getattr(owner, method)))


def work(notes: Path) -> None:
    """Is a worker, whose steps and evaluations are timed; writes what it noted when it ends."""
    from phasewise.training import worker

    meter, serve = Meter(), worker.serve

    def timed_serve(connection: Any, engine: Any, jobs: Any = ()) -> None:
        import torch

        for kind, names in (("steps", STEPS), ("evaluations", EVALUATIONS)):
            for name in names:
                meter.wrap_named(kind, name)
        # The Trainer calls its optimizer between two training steps.
        step = torch.optim.AdamW.step
        torch.optim.AdamW.step = meter.wrap("steps", step)  # type: ignore[method-assign]
        serve(connection, engine, jobs)
        ready = notes.with_suffix(".new")
        ready.write_text(json.dumps([meter.first, meter.seconds]))
        ready.rename(notes)

    worker.serve = timed_serve
    worker.main()


def measure(method: str, trials: int, rows: int | None, folder: Path) -> Split:
    """Returns where the seconds of a search went; Phase 0, which it needs, is not among them."""
    from phasewise.training.pool import WorkerPool
    from phasewise.tuning.phases import run_defaults
    from phasewise.tuning.search import search_unit

    imported = time.monotonic() - _BEGAN
    study, notes = _load(trials, rows, folder), folder / "notes.json"
    machine = study.settings.machine
    run_defaults(study, TASK, method)
    command = (sys.executable, __file__, "--worker", str(notes))
    began = time.monotonic() - imported  # as if this command had just been started
    search_unit(study, TASK, method, pool_factory=lambda: WorkerPool(machine, None, command))
    wall = time.monotonic() - began
    while not notes.exists():  # nobody waited for the worker's end
        time.sleep(0.01)
    first, seconds = json.loads(notes.read_text())
    start = first - began
    return Split(start, rest=wall - start - sum(seconds.values()), **seconds)


def _load(trials: int, rows: int | None, folder: Path) -> Any:
    import yaml

    from phasewise.settings import load_study

    study = yaml.safe_load(DEMO.read_text(encoding="utf-8"))
    study["search"]["trials"] = trials
    if rows is not None:
        study["tasks"][TASK]["train_rows"] = rows
    study["experiments_dir"] = str(folder / "experiments")
    study["analysis_dir"] = str(folder / "analysis")
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(study), encoding="utf-8")
    return load_study(path)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--method", default="lora", help="full_finetune or lora")
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--rows", type=int, help="train rows of a trial; the demo has 80")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        split = measure(chosen.method, chosen.trials, chosen.rows, Path(name))
    print(f"{chosen.method}: {chosen.trials} trials and their confirmation, seconds")
    print(f"{'until the first step':24}{split.start:8.1f}")
    print(f"{'training steps':24}{split.steps:8.1f}")
    print(f"{'evaluations':24}{split.evaluations:8.1f}")
    print(f"{'rest':24}{split.rest:8.1f}  {split.overhead:.1%} of all after the start")


if __name__ == "__main__":
    if "--worker" in sys.argv:
        place = sys.argv.index("--worker")
        notes_file = Path(sys.argv[place + 1])
        del sys.argv[place : place + 2]
        work(notes_file)
    else:
        main()
