"""What the experiments of a suite scored and cost, from their records."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, median, variance
from typing import Literal

from scipy.stats import spearmanr

from phasewise.records import RunCost, RunRecord
from phasewise.settings import METRICS
from phasewise.statistics import (
    Interval,
    accuracy_standard_error,
    find_bounds,
    mean_interval,
)

#: Peaks follow the order of the runs from this rank correlation and so many runs on.
_STRONG, _FEWEST_PEAKS = 0.8, 5
#: Cost of an experiment to where it stands in a run's.
_SPREADS: dict[str, Callable[[RunCost], float | None]] = {
    "train_seconds": lambda cost: cost.train_seconds,
    "memory_mb": lambda cost: cost.peak_memory_mb,
}


@dataclass(frozen=True)
class ExperimentResult:
    """One experiment over its seeds; costs are medians over its finished runs, None if unknown."""

    name: str
    metric: str
    rank: int
    scores: Mapping[str, float]  # seed to the task's metric on the search set
    failed: tuple[str, ...]  # seed and reason of each run without a score
    train_seconds: float | None
    memory_mb: float | None
    adapter_mb: float | None
    trainable_parameters: int | None
    total_parameters: int | None
    #: Name of a cost above to its least and largest value over the finished runs.
    spreads: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def mean(self) -> float | None:
        """Mean score; None without any."""
        return fmean(self.scores.values()) if self.scores else None

    @property
    def interval(self) -> Interval | None:
        """95 % interval of the mean, within the metric's range; None below two seeds."""
        return mean_interval(list(self.scores.values()), find_bounds(self.metric))


@dataclass(frozen=True)
class Ablation:
    """The experiments of a suite, in its order."""

    metric: str
    direction: Literal["maximize", "minimize"]
    device: str
    experiments: tuple[ExperimentResult, ...]
    #: Differences below it do not count, on the metric's scale, and what it is.
    smallest: float | None = None
    smallest_is: str = ""
    #: Rank correlation of peak memory with the order of the runs, where it says why they differ.
    memory_order: float | None = None

    @property
    def scored(self) -> tuple[ExperimentResult, ...]:
        """Experiments with a score."""
        return tuple(each for each in self.experiments if each.scores)


def compute_ablation(
    runs: Mapping[str, Mapping[str, RunRecord]], smallest: float | None = None
) -> Ablation:
    """Computes what each experiment scored and cost.

    Peaks of a CPU's worker that follow the order of the runs are left out: resident memory grows
    from run to run, whatever is trained.

    Args:
        runs: Experiment to seed to its run; at least one run in all.
        smallest: Smallest difference that counts; None: the search set's standard error, of a
            metric that is no share of examples the SD between the seeds.
    """
    first = next(record for by_seed in runs.values() for record in by_seed.values())
    task = first.config.unit_config.task
    experiments = tuple(
        _summarize(name, task.metric, by_seed) for name, by_seed in runs.items() if by_seed
    )
    device = first.environment.get("device", "unknown")
    every = [record for by_seed in runs.values() for record in by_seed.values()]
    order = _order_correlation(every) if "cpu" in device else None
    if order is not None:
        experiments = tuple(replace(each, memory_mb=None) for each in experiments)
    found = (smallest, "as the suite says") if smallest is not None else None
    relevant, words = found or _find_smallest(task.metric, experiments, first.search_rows)
    return Ablation(
        task.metric,
        task.direction,
        device,
        experiments,
        smallest=relevant,
        smallest_is=words,
        memory_order=order,
    )


def _find_smallest(
    metric: str, experiments: Sequence[ExperimentResult], rows: int
) -> tuple[float | None, str]:
    scores = [list(each.scores.values()) for each in experiments if each.scores]
    if METRICS[metric].share and scores and rows:
        mean = fmean(score for own in scores for score in own)
        return accuracy_standard_error(mean, rows), "the standard error of the search set"
    spreads = [variance(own) for own in scores if len(own) > 1]
    return (fmean(spreads) ** 0.5 if spreads else None), "the SD between seeds"


def _order_correlation(records: Sequence[RunRecord]) -> float | None:
    """Returns Spearman's correlation of peak memory with time; None unless it is a strong one."""
    ordered = sorted(records, key=lambda record: record.started)
    costs = [record.cost for record in ordered if record.cost is not None]
    peaks = [cost.peak_memory_mb for cost in costs if cost.peak_memory_mb is not None]
    if len(peaks) < _FEWEST_PEAKS or len(set(peaks)) == 1:
        return None
    found = float(spearmanr(range(len(peaks)), peaks).statistic)
    return found if found >= _STRONG else None


def _summarize(name: str, metric: str, by_seed: Mapping[str, RunRecord]) -> ExperimentResult:
    finished = {s: r for s, r in by_seed.items() if r.status == "finished"}
    scores = {s: r.search_score for s, r in finished.items() if r.search_score is not None}
    costs = [record.cost for record in finished.values() if record.cost is not None]
    some = next(iter(by_seed.values()))

    def middle(read: Callable[[RunCost], float | None]) -> float | None:
        values = [value for cost in costs if (value := read(cost)) is not None]
        return float(median(values)) if values else None

    adapter = middle(lambda cost: cost.adapter_bytes)
    return ExperimentResult(
        name=name,
        metric=metric,
        rank=some.config.hyperparameters.lora_rank,
        scores=scores,
        failed=tuple(
            f"{seed}: {record.message or record.status}"
            for seed, record in by_seed.items()
            if seed not in scores
        ),
        train_seconds=middle(lambda cost: cost.train_seconds),
        memory_mb=middle(lambda cost: cost.peak_memory_mb),
        adapter_mb=None if adapter is None else adapter / 1e6,
        trainable_parameters=costs[0].trainable_parameters if costs else None,
        total_parameters=costs[0].total_parameters if costs else None,
        spreads={
            name: (min(values), max(values))
            for name, read in _SPREADS.items()
            if (values := [value for cost in costs if (value := read(cost)) is not None])
        },
    )
