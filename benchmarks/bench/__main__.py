"""Runs the comparison, the slots curve, or both: ``python -m benchmarks.bench [--quick]``.

Every repetition of every arm is a whole process: start, imports, model load, tokenizing, ten
trials, exit. The arms take turns. Nothing else should run on the machine meanwhile.
"""

import argparse
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
if "PHASEWISE_DATA" in os.environ:  # the measured processes run in other folders
    os.environ["PHASEWISE_DATA"] = str(Path(os.environ["PHASEWISE_DATA"]).resolve())

from benchmarks.bench.arms import ARMS, REFERENCE, Arm, ArmResult, Bench, is_missing
from benchmarks.bench.machine import describe_machine
from benchmarks.bench.results import Summary, format_table, merge_section, summarize
from benchmarks.bench.slots import format_slots, measure_slots
from benchmarks.bench.workloads import WORKLOADS, Sizes, find_obstacle, find_task

RESULTS = Path(__file__).resolve().parents[1] / "results" / "cpu.json"
#: What `--quick` changes, so that it ends in under 25 minutes on two idle cores. Starting the
#: processes then weighs more than in a study of real size.
QUICK_ROWS, QUICK_SEARCH_ROWS = 80, 100
QUICK_OMITS = {
    "hyperparameter_search-bf16",
    "phasewise-packed-pytorch",
    "phasewise-packed-asha",
    "ray-tune-asha",
}


def main() -> None:
    """Prints the tables."""
    options = _parse()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # ends the children too
    names = options.arms or [name for name in ARMS if not (options.quick and name in QUICK_OMITS)]
    arms = [ARMS[name] for name in names if not is_missing(ARMS[name])]
    for name in names:
        if is_missing(ARMS[name]):
            print(f"{name}: left out, {ARMS[name].needs} is not installed (make bench installs it)")
    machine = describe_machine()
    print(", ".join(f"{name} {value}" for name, value in machine.items()))
    for name in options.workloads:
        if obstacle := find_obstacle(WORKLOADS[name]):
            print(f"\n{name}: left out, {obstacle}")
        else:
            _compare(name, arms, options, machine)
    if options.slots:
        curve = measure_slots(options.slots, options.slot_rows, options.device)
        print("\n" + format_slots(curve), flush=True)
        content = [point._asdict() for point in curve]
        merge_section(options.out, "slots", {"machine": machine, "curve": content})
    print(f"wrote {options.out}")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench", description=__doc__)
    parser.add_argument(
        "--workloads", nargs="*", choices=[*WORKLOADS], default=[*WORKLOADS], metavar="NAME"
    )
    parser.add_argument("--arms", nargs="*", choices=[*ARMS], metavar="NAME", help=f"{[*ARMS]}")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--rows", type=int, help="train rows per trial; default: the workload's")
    parser.add_argument("--search-rows", type=int, default=200, help="scored rows")
    parser.add_argument(
        "--quick", action="store_true", help=f"{QUICK_ROWS} rows per trial, fewer arms"
    )
    parser.add_argument("--slots", type=int, nargs="*", default=[1, 2, 4, 8, 16], metavar="K")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--slot-rows", type=int, default=100, help="train rows in the slots curve")
    parser.add_argument("--out", type=Path, default=RESULTS, help="JSON file that is updated")
    parser.add_argument("--keep", type=Path, help="folder for the processes' files")
    options = parser.parse_args()
    if options.quick:
        options.rows, options.search_rows = QUICK_ROWS, QUICK_SEARCH_ROWS
    return options


def _compare(
    name: str, arms: list[Arm], options: argparse.Namespace, machine: dict[str, str]
) -> None:
    workload = WORKLOADS[name]
    sizes = Sizes(options.trials, options.rows or workload.train_rows, options.search_rows)
    print(f"\n{name}: {workload.description}")
    print(
        f"{sizes.trials} trials, {sizes.train_rows} train and {sizes.search_rows} search rows of "
        f"{find_task(workload)[0]}, {workload.model}; {options.repetitions} repetitions",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = (options.keep or Path(scratch)) / name
        bench = Bench(workload, sizes, folder, options.device)
        results = _repeat(bench, arms, options.repetitions)
    summaries = _summarize(results, higher_is_better=bench.trials.metric == "accuracy")
    print(f"best and mean are of {bench.trials.metric} over the trials")
    print(format_table(summaries, REFERENCE), flush=True)
    content = {
        "description": workload.description,
        "task": find_task(workload)[0],
        "metric": bench.trials.metric,
        "sizes": sizes._asdict(),
        "machine": machine,
        "arms": {
            arm: {
                "threads": ARMS[arm].threads,
                **summary._asdict(),
                "repetitions": [result._asdict() for result in results[arm]],
            }
            for arm, summary in summaries.items()
        },
    }
    merge_section(options.out, name, content)


def _repeat(bench: Bench, arms: list[Arm], repetitions: int) -> dict[str, list[ArmResult]]:
    """Runs all arms in turn, each round from another one on, so that drift hits all alike."""
    results: dict[str, list[ArmResult]] = {arm.name: [] for arm in arms}
    for repetition in range(repetitions):
        shift = repetition % len(arms)
        for arm in arms[shift:] + arms[:shift]:
            result = bench.run(arm, repetition)
            results[arm.name].append(result)
            print(f"  {repetition + 1}: {arm.name} {result.seconds:.1f} s", file=sys.stderr)
    return results


def _summarize(
    results: dict[str, list[ArmResult]], *, higher_is_better: bool
) -> dict[str, Summary]:
    reference: Any = results.get(REFERENCE, [])
    return {
        name: summarize(
            runs, reference, workers=_workers(ARMS[name]), higher_is_better=higher_is_better
        )
        for name, runs in results.items()
    }


def _workers(arm: Arm) -> int:
    return int((arm.study or {}).get("machine", {}).get("workers", 1))


if __name__ == "__main__":
    main()
