import numpy as np
import pytest

from phasewise.errors import RecordError
from phasewise.statistics import predict_total

MEASURED = np.array([[16, 8], [16, 8], [48, 8], [48, 8], [16, 24], [16, 24]], dtype=float)
PLANNED = np.array([[1000.0, 200.0]] * 20)


def _cost(amounts: np.ndarray) -> np.ndarray:
    return np.asarray(2.0 + 0.05 * amounts[:, 0] + 0.01 * amounts[:, 1])


def test_without_scatter_the_sum_is_exact() -> None:
    found = predict_total(MEASURED, _cost(MEASURED), PLANNED)
    assert found.total == pytest.approx(20 * (2 + 50 + 2))
    assert found.interval == pytest.approx((found.total, found.total))


def test_the_interval_covers_as_often_as_announced() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(1000):
        found = predict_total(MEASURED, _cost(MEASURED) + rng.normal(0, 0.1, 6), PLANNED)
        true = (_cost(PLANNED) + rng.normal(0, 0.1, 20)).sum()
        hits += found.interval.low <= true <= found.interval.high
    assert hits / 1000 == pytest.approx(0.95, abs=0.02)


def test_an_amount_that_never_varied_is_part_of_the_constant() -> None:
    measured = MEASURED[:4]
    found = predict_total(measured, _cost(measured), np.array([[100.0, 8.0]]))
    assert found.total == pytest.approx(2 + 5 + 0.08)
    with pytest.raises(RecordError, match="nothing to tell their scatter"):
        predict_total(MEASURED[[0, 2, 4]], _cost(MEASURED[[0, 2, 4]]), PLANNED)
