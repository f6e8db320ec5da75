"""All data are the train pool and the search set, carved or of its own; no row to report."""

from collections.abc import Callable

import pytest

from phasewise.settings import Study
from phasewise.tasks.examples import Example
from phasewise.tasks.splits import carve_report_set, split_examples


@pytest.mark.parametrize("own_search_split", [False, True])
def test_all_rows_but_the_report_sets_are_trained_on(topics: Study, own_search_split: bool) -> None:
    task = topics.tasks["topics"]
    if own_search_split:
        splits_by_name = task.splits.model_copy(update={"search": "dev"})
        task = task.model_copy(update={"splits": splits_by_name})
    rows = [Example(str(n), (f"text {n}",), label=n % 3) for n in range(120)]
    own = [Example(f"own-{n}", (f"other {n}",), label=n % 3) for n in range(9)]
    texts_of: Callable[[Example], tuple[str, ...]] = lambda example: example.texts[:1]  # noqa: E731
    report = {example.id for example in carve_report_set(task, rows, texts_of, split_seed=5)}
    splits = split_examples(
        task,
        rows,
        texts_of,
        split_seed=5,
        subset_seed=1,
        search=own if own_search_split else None,
        all_data=True,
    )
    trained = {example.id for example in splits.train}
    expected = {example.id for example in rows} - report
    if own_search_split:
        expected |= {example.id for example in own}
    assert trained == expected
    assert not trained & report
    assert len(splits.train) == len(trained)
