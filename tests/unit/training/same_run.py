"""What a resumed run has in common with the one that nothing has cut off: all but times."""

from phasewise.records import RunRecord


def check_same_run(found: RunRecord, expected: RunRecord, steps: int) -> None:
    """Curves, scores and counts, bit for bit.

    Args:
        found: Of the resumed run.
        expected: Of the other, which has so many ``steps``.
    """
    assert found.status == expected.status == "finished", found.message
    assert [point.step for point in expected.train_points] == list(range(1, steps + 1))
    assert found.train_points == expected.train_points
    assert found.evaluations == expected.evaluations
    assert found.search_metrics == expected.search_metrics
    assert found.report_metrics == expected.report_metrics
    assert found.cost is not None
    assert expected.cost is not None
    assert found.cost.train_tokens == expected.cost.train_tokens
    assert found.cost.micro_batch_size == expected.cost.micro_batch_size
