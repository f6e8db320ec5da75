"""How often the verdict is right on simulated studies: ``python benchmarks/calibration.py``.

Every run answers every example right or wrong. The chance depends, on the logit scale, on the
example, on the seed, on the run, and, where two methods differ, on method and example together.
"""

import argparse
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phasewise.statistics import Bounds, bootstrap_crossed, bounded_interval, compare_crossed

Array = NDArray[np.float64]
ALPHA = 0.05
#: The bootstrap is slow and only shown for comparison.
BOOTSTRAPS = 400
SHARE = Bounds(0.0, 1.0)


@dataclass(frozen=True)
class World:
    """Where studies are drawn from; spreads are SDs on the logit scale."""

    name: str
    seeds: int
    examples: int = 300
    ease: float = 1.2  # mean logit: about 75 % right
    by_example: float = 1.5
    by_seed: float = 0.05  # shared by the two methods: subset and order of the rows
    by_run: float = 0.10
    by_method: float = 0.0  # methods that err on other examples, though equally often


@dataclass(frozen=True)
class Calibration:
    """Rates over the simulated studies of one world."""

    world: World
    false_beats: float  # "A beats B" or "B beats A" where they are equal
    coverage: float  # of the difference's 95 % interval
    score_coverage: float  # of one method's score's 95 % interval, on the logit scale
    bootstrap_coverage: float  # of the hierarchical bootstrap, for comparison; NaN if not drawn
    power: float  # at the difference that another study of the same size announced


def draw_study(world: World, rng: np.random.Generator, shift: float = 0.0) -> tuple[Array, Array]:
    """Returns right (1) and wrong (0) of both methods, each (seeds, examples).

    Args:
        world: Where it is drawn from.
        rng: Source of chance.
        shift: What the first method is better by, on the logit scale.
    """
    n, m = world.seeds, world.examples
    example = rng.normal(world.ease, world.by_example, m)
    seed = rng.normal(0, world.by_seed, (n, 1))
    sides = []
    for side in (shift / 2, -shift / 2):
        taste = rng.normal(0, world.by_method, m)
        logit = example + taste + side + seed + rng.normal(0, world.by_run, (n, 1))
        sides.append((rng.random((n, m)) < 1 / (1 + np.exp(-logit))).astype(float))
    return sides[0], sides[1]


def true_differences(world: World, shifts: Array) -> Array:
    """Returns the true difference that each shift makes, by 400,000 draws of example and run."""
    rng = np.random.default_rng(1)
    logit = rng.normal(world.ease, _spread(world), 400_000)
    return np.array(
        [
            np.mean(1 / (1 + np.exp(-logit - s / 2)) - 1 / (1 + np.exp(-logit + s / 2)))
            for s in shifts
        ]
    )


def true_score(world: World) -> float:
    """Returns the share of right answers over all examples and runs, by 400,000 draws."""
    rng = np.random.default_rng(2)
    return float(np.mean(1 / (1 + np.exp(-rng.normal(world.ease, _spread(world), 400_000)))))


def _spread(world: World) -> float:
    parts = (world.by_example, world.by_method, world.by_seed, world.by_run)
    return float(np.hypot.reduce(parts))


def calibrate(world: World, studies: int, *, seed: int = 0, bootstraps: int = 0) -> Calibration:
    """Returns the rates over so many simulated studies, the bootstrap's over the first of them."""
    rng = np.random.default_rng(seed)
    shifts = np.linspace(0, 8, 161)
    differences = true_differences(world, shifts)
    truth = true_score(world)
    beats = covered = held = drawn = found = 0
    for index in range(studies):
        left, right = draw_study(world, rng)
        equal = compare_crossed(left, right, bounds=SHARE)
        alone = compare_crossed(left, np.zeros_like(left))
        low, high = bounded_interval(
            alone.mean,
            alone.standard_error or 0.0,
            alone.degrees_of_freedom or 1.0,
            SHARE,
            examples=world.examples,
        )
        held += low <= truth <= high
        assert equal.interval is not None
        assert equal.p_value is not None
        beats += equal.p_value <= ALPHA
        covered += equal.interval.low <= 0 <= equal.interval.high
        if index < bootstraps:
            low, high = bootstrap_crossed([left - right], resamples=399)
            drawn += low <= 0 <= high
        wanted = np.interp(equal.detectable or 0.0, differences, shifts)
        other = compare_crossed(*draw_study(world, rng, float(wanted)), bounds=SHARE)
        found += other.mean > 0 and (other.p_value or 0.0) <= ALPHA
    share = drawn / bootstraps if bootstraps else float("nan")
    rates = (count / studies for count in (beats, covered, held))
    return Calibration(world, *rates, share, found / studies)


WORLDS = (
    *(World("A/A", seeds) for seeds in (3, 5, 10, 20)),
    *(World("A/A, noisy seeds", seeds, by_run=0.3) for seeds in (3, 5, 10, 20)),
    *(World("other errors", seeds, by_method=0.7) for seeds in (3, 5, 10, 20)),
    *(World("nearly all right", seeds, ease=5.0) for seeds in (2, 3, 5, 10)),
)


def main() -> None:
    """Prints one line a world."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=2000)
    studies = parser.parse_args().studies
    start = time.perf_counter()
    print(
        "| world | seeds | false 'beats' | 95 % covers | score covered | bootstrap covers "
        "| power at announced |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|")
    for world in WORLDS:
        row = calibrate(world, studies, bootstraps=BOOTSTRAPS)
        rates = (
            row.false_beats,
            row.coverage,
            row.score_coverage,
            row.bootstrap_coverage,
            row.power,
        )
        shown = " | ".join(f"{100 * rate:.1f} %" for rate in rates)
        print(f"| {world.name} | {world.seeds} | {shown} |", flush=True)
    print(f"\n{studies} studies a line, {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
