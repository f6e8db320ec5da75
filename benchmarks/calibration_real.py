"""How often equal methods are told apart on real runs: ``python benchmarks/calibration_real.py``.

Run ``phasewise baselines``, ``defaults``, ``search`` and ``validate`` with
``--study shared/studies/calibration.yaml`` first: one unit with 48 seeds. Its runs are split at
random, without replacement, between two names, A and B, and judged as any two methods are: every
difference that is found is false. (Naming one method twice in a study would not do: seeds do not
depend on the method, so that methods can be paired, and both names would train the same runs.)
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from phasewise.errors import RecordError
from phasewise.example_values import tabulate
from phasewise.report.evidence import UnitEvidence, gather_evidence
from phasewise.settings import load_study
from phasewise.statistics import compare_crossed

Array = NDArray[np.float64]
ALPHA = 0.05


@dataclass(frozen=True)
class RealCalibration:
    """Rates over the splits of one unit's runs."""

    runs: int  # that were drawn from
    seeds: int  # of each name
    splits: int
    false_beats: float  # "A beats B" or "B beats A"
    covered: float  # share of 95 % intervals that hold zero
    sd: float  # of the runs' scores, points

    @property
    def error(self) -> float:
        """Monte Carlo standard error of ``false_beats``, the runs taken as given."""
        return float((self.false_beats * (1 - self.false_beats) / self.splits) ** 0.5)


def split_runs(table: Array, seeds: int, splits: int, *, seed: int = 0) -> RealCalibration:
    """Splits runs between A and B and judges them.

    Args:
        table: Value of each example in each run of one configuration, (runs, examples).
        seeds: Runs of each name; at most half of the runs.
        splits: How often.
        seed: Of the splits.

    Raises:
        RecordError: There are fewer runs than both names need.
    """
    runs = len(table)
    if runs < 2 * seeds:
        raise RecordError(
            f"{seeds} runs for A and B each: expected at least {2 * seeds}, got {runs}"
        )
    rng, beats, covered = np.random.default_rng(seed), 0, 0
    for _ in range(splits):
        drawn = rng.permutation(runs)[: 2 * seeds]
        found = compare_crossed(table[drawn[:seeds]], table[drawn[seeds:]])
        assert found.p_value is not None
        assert found.interval is not None
        beats += found.p_value <= ALPHA
        covered += found.interval.low <= 0 <= found.interval.high
    sd = 100 * float(table.mean(axis=1).std(ddof=1))
    return RealCalibration(runs, seeds, splits, beats / splits, covered / splits, sd)


def read_unit(unit: UnitEvidence) -> Array:
    """Returns (runs, examples) of a unit's Phase 2.

    Raises:
        RecordError: Predictions are missing or of different examples.
    """
    values, missing = unit.example_values
    table = tabulate(list(values.values()))
    if table is None:
        why = missing or "no finished run, or different examples"
        raise RecordError(f"{unit.task}/{unit.method}: expected predictions of all runs: {why}")
    return table


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints one line per unit and number of seeds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", type=Path, default=Path("shared/studies/calibration.yaml"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[3, 5, 10, 20])
    parser.add_argument("--splits", type=int, default=2000)
    options = parser.parse_args(arguments)
    study = load_study(options.study)
    print("| unit | runs | SD, points | seeds | false 'beats' (± SE) | 95 % covers |")
    print("|---|---:|---:|---:|---:|---:|")
    for task in gather_evidence(study, study.units_of("all")):
        for unit in task.units:
            table = read_unit(unit)
            for seeds in options.seeds:
                row = split_runs(table, seeds, options.splits)
                rate = f"{100 * row.false_beats:.1f} ± {100 * row.error:.1f} %"
                covers = f"{100 * row.covered:.1f} %"
                name = f"{unit.task}/{unit.method}"
                print(f"| {name} | {row.runs} | {row.sd:.2f} | {seeds} | {rate} | {covers} |")
    print(f"\n{options.splits} splits per line; the SE takes the runs as given")


if __name__ == "__main__":
    main()
