import itertools

import numpy as np
import pytest

from phasewise.errors import ConfigError
from phasewise.statistics import balanced_design, smallest_design
from phasewise.statistics.designs import DESIGN_RUNS


@pytest.mark.parametrize(
    ("factors", "runs"), [(7, 8), (7, 12), (9, 12), (7, 16), (4, 8), (3, 4), (11, 20), (7, 24)]
)
def test_parts_are_balanced_alone_and_in_pairs(factors: int, runs: int) -> None:
    design = balanced_design(factors, runs)
    assert design.shape == (runs, factors)
    assert (design.sum(axis=0) == runs // 2).all()
    for a, b in itertools.combinations(range(factors), 2):
        both = [(design[:, a] == x) & (design[:, b] == y) for x in (0, 1) for y in (0, 1)]
        assert {int(each.sum()) for each in both} == {runs // 4}
    assert design.any(axis=1).all()  # a run with everything off would train nothing
    assert len(np.unique(design, axis=0)) == runs


def test_four_parts_in_eight_runs_have_main_effects_clear_of_products_of_two() -> None:
    signs = np.where(balanced_design(4, 8), 1, -1)
    for main in range(4):
        for a, b in itertools.combinations(range(4), 2):
            assert signs[:, main] @ (signs[:, a] * signs[:, b]) == 0


@pytest.mark.parametrize(("factors", "runs"), [(7, 10), (8, 8), (2, 8)])
def test_impossible_designs_are_refused(factors: int, runs: int) -> None:
    with pytest.raises(ConfigError, match="one of 4, 8, 12, 16, 20, 24 runs"):
        balanced_design(factors, runs)


def test_the_smallest_design_leaves_a_degree_of_freedom() -> None:
    assert [smallest_design(k) for k in (3, 4, 6, 7, 9, 10, 12)] == [4, 8, 8, 12, 12, 12, 16]
    assert smallest_design(40) == DESIGN_RUNS[-1]
