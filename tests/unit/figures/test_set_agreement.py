"""Which runs count, and what their order on the two sets has in common."""

from collections.abc import Callable

import pytest

from phasewise.figures.set_agreement import (
    SetAgreement,
    compute_set_agreement,
    describe_set_agreement,
)
from phasewise.settings import Study
from synthetic import make_config, make_record

TASK = "rotten_tomatoes"


def test_a_run_without_a_report_score_is_left_out(write_study: Callable[..., Study]) -> None:
    config = make_config(write_study(), TASK, "lora", "seed-00")
    records = [make_record(config, 0.7, report_score=0.6), make_record(config, 0.8)]
    found = compute_set_agreement("accuracy", {"lora": records, "full_finetune": records[1:]})
    assert found.scores == {"lora": ((0.7, 0.6),)}


def test_order_of_the_runs_is_compared() -> None:
    pairs = ((0.1, 0.2), (0.2, 0.1), (0.3, 0.4), (0.4, 0.5))
    found = SetAgreement("accuracy", {"lora": pairs[:2], "dora": pairs[2:]})
    assert found.rho == pytest.approx(0.8)  # 1 - 6 (1 + 1) / (4 * 15)
    assert describe_set_agreement(found).endswith("of 4 runs, rank correlation 0.80.")


@pytest.mark.parametrize("pairs", [((0.1, 0.2),) * 3, ((0.5, 0.1), (0.5, 0.2)) * 2])
def test_few_or_equal_scores_have_no_correlation(pairs: tuple[tuple[float, float], ...]) -> None:
    found = SetAgreement("accuracy", {"lora": pairs})
    assert found.rho is None
    assert "for a rank correlation" in describe_set_agreement(found)
