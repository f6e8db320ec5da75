"""Settings that change nothing in trainings of so many steps: warm-up, batches, evaluations."""

import itertools
from collections.abc import Iterator
from math import ceil

from phasewise.settings.hyperparameters import Hyperparameters, merge_hyperparameters
from phasewise.settings.loading import Study
from phasewise.settings.space import CategoricalParameter, RangeParameter
from phasewise.settings.space_file import example_values

#: What the number of steps, and of steps of warm-up, depends on.
_NAMES = (
    "batch_size",
    "device_batch_size",
    "gradient_accumulation_steps",
    "epochs",
    "warmup_ratio",
    "warmup_steps",
)


def describe_idle_steps(study: Study, task: str, method: str, rows: int) -> list[str]:
    """Returns a sentence for each setting of a unit that its trainings are too short for.

    Args:
        study: The study.
        task: Name of a task of one feature a row.
        method: Name of a method.
        rows: Of the train sample.
    """
    runs = list(_list_runs(study, task, method))
    steps = [run.count_steps(rows) for run in runs]
    found = [
        *_find_long_warmup(runs, steps),
        *_find_same_warmup(study, method, max(steps)),
        *_find_large_batches(runs, rows),
    ]
    unit = f"{task}/{method}"
    return [
        *(f"{unit}: {each}" for each in found),
        *_find_lost_evaluations(study, runs, rows, unit),
    ]


def _list_runs(study: Study, task: str, method: str) -> Iterator[Hyperparameters]:
    """Yields the published default, and the default with the ends of what is drawn."""
    default = study.default_hyperparameters(task, method)
    yield default
    parameters = study.parameters_of(method)
    ends: dict[str, list[float]] = {}
    for name in _NAMES:
        if name in parameters:
            values = [float(value) for value in example_values(parameters[name])]
            ends[name] = [min(values), max(values)]
    for drawn in itertools.product(*ends.values()):
        yield merge_hyperparameters(default, dict(zip(ends, drawn, strict=True)))


def _find_long_warmup(runs: list[Hyperparameters], steps: list[int]) -> Iterator[str]:
    """The rate of the last of n steps is (n - 1) / w of the peak while a warm-up of w lasts."""
    longest = [(run.count_warmup_steps(n), n) for run, n in zip(runs, steps, strict=True)]
    shares = {(n - 1) / warmup: (warmup, n) for warmup, n in longest if warmup >= n}
    if shares:
        least = min(shares)
        warmup, n = shares[least]
        yield (
            f"{_count(warmup, 'step')} of warm-up in a training of {_count(n, 'step')}: its rate "
            f"ends at {100 * least:.0f} % of learning_rate; shorten warm-up, or train longer"
        )


def _find_same_warmup(study: Study, method: str, most: int) -> Iterator[str]:
    drawn = study.parameters_of(method).get("warmup_ratio")
    if not isinstance(drawn, CategoricalParameter | RangeParameter):
        return
    shares = sorted({float(value) for value in example_values(drawn)})
    counts = {ceil(most * share) for share in shares}
    if isinstance(drawn, RangeParameter):  # of which 0 itself is never drawn
        counts = {max(1, count) for count in counts}
    if len(shares) > 1 and len(counts) == 1:
        yield (
            f"warmup_ratio {shares[0]:g} to {shares[-1]:g} is searched, which is "
            f"{_count(counts.pop(), 'step')} in each training of at most {_count(most, 'step')}"
        )


def _find_large_batches(runs: list[Hyperparameters], rows: int) -> Iterator[str]:
    largest = max(run.batch_size for run in runs)
    if largest > rows:
        yield f"batch_size {largest}: the train sample has {rows} rows, and so has each batch"


def _find_lost_evaluations(
    study: Study, runs: list[Hyperparameters], rows: int, unit: str
) -> Iterator[str]:
    wanted, search = study.settings.training.evaluations_per_epoch, study.settings.search
    fewest = ceil(rows / max(run.batch_size for run in runs))
    if wanted > fewest:
        yield (
            f"training.evaluations_per_epoch {wanted}: an epoch of {unit} can have "
            f"{_count(fewest, 'step')}, and an evaluation comes after a step"
        )
    explicit = "pruner" in search.model_fields_set and search.pruner != "none"
    if explicit and max(ceil(run.epochs * wanted) for run in runs) <= 1:
        yield (
            f"search.pruner {search.pruner}: trainings of {unit} are scored once, at their end, "
            "where there is nothing left to stop; raise training.evaluations_per_epoch"
        )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
