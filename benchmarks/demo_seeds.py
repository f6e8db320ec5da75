"""What the demo finds for other study seeds: ``python -m benchmarks.demo_seeds [SEED ...]``.

Runs the demo through Snakemake once per seed (0 1 2 unless given) as the study ``demo-seed-N``, and
prints a line per unit: its score on the report set with its 95 % interval, and the baselines below
that interval. Run again, it goes on where it was stopped.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import yaml

from phasewise.report.evidence import gather_evidence
from phasewise.settings import load_study

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "shared" / "studies" / "demo.yaml"


def run_demo(study: Path) -> float:
    """Runs a study as ``make run`` runs the demo; returns the seconds it took."""
    clock = time.monotonic()
    command = [sys.executable, "-m", "snakemake", "--profile", str(ROOT / "profiles" / "demo")]
    command += ["--config", "vm=all", f"study={study}"]
    environment = {"OMP_NUM_THREADS": "1", **os.environ}
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    if done.returncode:
        raise SystemExit(done.returncode)
    return time.monotonic() - clock


def describe_units(study: Path) -> list[str]:
    """Returns a line per unit: score, interval, and the baselines below the interval."""
    loaded, lines = load_study(study), []
    for task in gather_evidence(loaded, loaded.units_of("all")):
        known = task.baselines.baselines if task.baselines else ()
        scores = {b.name: b.report_score for b in known if b.report_score is not None}
        shown = ", ".join(f"{name} {score:.3f}" for name, score in scores.items())
        lines.append(f"  {task.task}: {shown}")
        for unit in task.units:
            interval, _ = unit.interval
            beaten = [n for n, s in scores.items() if interval and interval.low > s]
            ends = f"[{interval.low:.3f}, {interval.high:.3f}]" if interval else "no interval"
            found = f"{unit.validation.mean:.3f} {ends}"
            lines.append(f"  {unit.method}: {found}, above {', '.join(beaten) or 'none'}")
    return lines


def main() -> None:
    """Runs each seed and prints what it found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("seeds", nargs="*", type=int, default=[0, 1, 2], metavar="SEED")
    for seed in parser.parse_args().seeds:
        study = ROOT / "experiments" / f"demo-seed-{seed}.yaml"
        study.parent.mkdir(exist_ok=True)
        content = {"name": study.stem, "extends": str(DEMO), "seed": seed}
        study.write_text(yaml.safe_dump(content), encoding="utf-8")
        seconds = run_demo(study)
        print(f"seed {seed}: {seconds:.0f} s", *describe_units(study), sep="\n", flush=True)


if __name__ == "__main__":
    main()
