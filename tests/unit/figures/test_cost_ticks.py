"""Ticks of a cost axis: round, few, inside, with units that people use."""

import pytest

from phasewise.figures.cost_quality import place_ticks
from phasewise.formatting import show_count


@pytest.mark.parametrize(
    ("low", "high", "shown"),
    [
        (0.4, 0.625, ["0.4", "0.5", "0.6"]),  # of saved MB: "500m" is no megabyte
        (0.003, 40.0, ["0.01", "1", "10"]),
        (541_600.0, 28_375_000.0, ["1 M", "10 M"]),
        (626.0, 1266.0, ["700", "900", "1 k"]),
        (20.0, 36.25, ["20", "30"]),
    ],
)
def test_ticks_are_few_and_round(low: float, high: float, shown: list[str]) -> None:
    assert [show_count(tick) for tick in place_ticks(low, high)] == shown


def test_a_range_without_a_round_number_has_its_middle() -> None:
    assert place_ticks(1.001, 1.002) == (1.0,)
