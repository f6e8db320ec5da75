"""Seconds per trial and memory per trial against the number of slots of the packed engine.

Each number of slots is measured in a process of its own: ``… -m benchmarks.bench.slots K …``.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, Literal, NamedTuple

from benchmarks.bench.processes import run_measured, search_path

#: One configuration of the documented space, so that every trial is the same work.
HYPERPARAMETERS = {
    "learning_rate": 1e-4,
    "batch_size": 4,
    "epochs": 1,
    "lora_rank": 16,
    "target_modules": "query_value",
}
_POINT_FILE = "point.json"
_LIMIT = 1800.0


class SlotsPoint(NamedTuple):
    """One point of the curve."""

    slots: int
    seconds_per_trial: float
    peak_memory_mb: float
    """Resident memory of the process, or the GPU allocator's peak."""
    adapter_mb: float
    """What trains in a trial, float32."""
    activations_mb: float
    """What PEFT alone saves for the backward pass of a mean batch of a trial."""

    @property
    def own_mb(self) -> float:
        """Adapter, AdamW's two moments and activations: what a trial cannot do without."""
        return 3 * self.adapter_mb + self.activations_mb


def measure_slots(
    counts: Sequence[int], rows: int, device: Literal["cpu", "cuda"]
) -> list[SlotsPoint]:
    """Returns the curve, one process per point.

    Args:
        counts: Numbers of slots; as many trials are trained.
        rows: Train rows of a trial.
        device: Where.
    """
    points = []
    for count in counts:
        with tempfile.TemporaryDirectory() as name:
            command = (sys.executable, "-m", "benchmarks.bench.slots", str(count), str(rows))
            run_measured(
                (*command, device),
                Path(name),
                {"PYTHONPATH": search_path(), "OMP_NUM_THREADS": "1"},
                _LIMIT,
            )
            text = (Path(name) / _POINT_FILE).read_text(encoding="utf-8")
        points.append(SlotsPoint(**json.loads(text)))
        print(f"  slots {count}: {points[-1].seconds_per_trial:.2f} s per trial", file=sys.stderr)
    return points


def format_slots(points: Sequence[SlotsPoint]) -> str:
    """Returns the curve as a table; memory of a further trial is that over the first point."""
    first = points[0]
    lines = [
        "slots: one LoRA configuration (batch 4, rank 16, q and v), as many trials as slots, one "
        "thread, float32",
        f"{'slots':>6}{'s per trial':>13}{'against 1':>11}{'peak MB':>9}"
        f"{'MB per further trial':>22}{'its adapter + optimizer + activations':>40}",
    ]
    for point in points:
        further = "" if point.slots == first.slots else f"{_further_mb(first, point):22.1f}"
        lines.append(
            f"{point.slots:6}{point.seconds_per_trial:13.2f}"
            f"{first.seconds_per_trial / point.seconds_per_trial:11.2f}"
            f"{point.peak_memory_mb:9.0f}{further:>22}"
            f"{f'{3 * point.adapter_mb:.1f} + {point.activations_mb:.1f}':>31}"
            f"{f'= {point.own_mb:.1f}':>9}"
        )
    return "\n".join(lines)


def _further_mb(first: SlotsPoint, point: SlotsPoint) -> float:
    return (point.peak_memory_mb - first.peak_memory_mb) / (point.slots - first.slots)


def _measure_point(count: int, rows: int, device: Literal["cpu", "cuda"]) -> SlotsPoint:
    from benchmarks.bench.packing import build_jobs, build_packed_engine, write_unit

    from phasewise.training.device import choose_device, peak_memory_mb, reset_peak_memory

    folder = Path.cwd()
    study, unit = write_unit(folder, rows, HYPERPARAMETERS, device=device)
    engine = build_packed_engine(device, count)
    for _ in engine.train(build_jobs(unit, 1, HYPERPARAMETERS, folder / "warm"), _go_on):
        pass
    where = choose_device(study.settings.machine)
    reset_peak_memory(where)
    clock = perf_counter()
    jobs = build_jobs(unit, count, HYPERPARAMETERS, folder / "measured")
    records = list(engine.train(jobs, _go_on))
    seconds = perf_counter() - clock
    peak = peak_memory_mb(where)
    assert records[0].cost is not None
    assert records[0].cost.adapter_bytes is not None
    adapter, activations = records[0].cost.adapter_bytes / 1e6, _measure_activations(study, folder)
    return SlotsPoint(count, seconds / count, peak, adapter, activations)


def _go_on(_: object) -> Literal["continue"]:
    return "continue"


def _measure_activations(study: Any, folder: Path) -> float:
    """Returns the MB that autograd saves in a forward pass of PEFT's model, mean over batches."""
    import torch
    from benchmarks.bench.peers.plain_loop import Rows
    from benchmarks.bench.peers.recipe import build_model
    from benchmarks.bench.workloads import export_trials

    spec = export_trials(study, folder)
    trial, rows = spec.trials[0], Rows(spec)
    model = build_model(spec, trial).train()
    weights = {tensor.untyped_storage().data_ptr() for tensor in model.state_dict().values()}
    saved: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    total, starts = 0, range(0, len(rows.train), trial.batch_size)
    for start in starts:
        saved.clear()
        batch = rows.collate(rows.train[start : start + trial.batch_size])
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            loss = model(**batch).loss
        total += sum(saved.values())
        del loss
    return total / len(starts) / 1e6


def main() -> None:
    """Measures one point and leaves it in the working folder."""
    parser = argparse.ArgumentParser()
    parser.add_argument("slots", type=int)
    parser.add_argument("rows", type=int)
    parser.add_argument("device", choices=["cpu", "cuda"])
    options = parser.parse_args()
    point = _measure_point(options.slots, options.rows, options.device)
    Path(_POINT_FILE).write_text(json.dumps(point._asdict()), encoding="utf-8")


if __name__ == "__main__":
    main()
