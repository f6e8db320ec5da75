"""The smallest difference a study can detect, and what a wanted one needs, from any moment on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from phasewise.errors import DataError
from phasewise.formatting import show_difference
from phasewise.provenance import source_files
from phasewise.report.evidence import TaskEvidence
from phasewise.report.sentences import FEWEST_SEEDS, describe_seeds
from phasewise.settings import METRICS, Study, TaskSettings
from phasewise.statistics import (
    SeedsNeeded,
    estimate_seeds_needed,
    examples_to_resolve,
    find_bounds,
    planned_detectable,
    pooled_sd,
)

#: What an answer rests on.
Basis = Literal["assumed", "measured"]
#: The difference asked about where nobody names one.
WANTED = 0.01


@dataclass(frozen=True)
class Detection:
    """What Phase 2 can detect between two methods on one task; differences on the metric's scale.

    The examples' part of the noise is the binomial one of two methods that err independently, an
    upper bound: paired methods err on much the same examples. The seeds' part is the SD of Phase 0
    for each method; before Phase 0 it is unknown and left out, so the answer is too small if the
    seeds are noisy.
    """

    task: str
    metric: str
    basis: Basis
    score: float  # that the binomial error is taken at
    seed_sd: float | None  # None before Phase 0
    seeds: int
    examples: int | None  # of the report set; None if not known before it is read
    detectable: float | None  # with both parts; None if no two scores are so far apart
    detectable_seeds: float | None  # on these very examples: seeds alone; None before Phase 0
    wanted: float
    seeds_needed: SeedsNeeded | None  # None before Phase 0, or where it has too few runs
    examples_needed: int | None  # None: no number of examples, only more seeds


def find_detection(study: Study, task: TaskEvidence, wanted: float = WANTED) -> Detection | None:
    """Returns what a task can detect; None where the metric is no share, or no mean over examples.

    The value of an example lies between 0 and 1, so that its variance is at most p (1 - p).

    Args:
        study: The study.
        task: What has been measured so far; nothing at all is enough.
        wanted: Difference to detect, on the metric's scale.
    """
    settings, seeds = study.tasks[task.task], study.settings.validation.seeds
    if METRICS[task.metric].kinds[settings.kind] is None or not task.maximize:
        return None
    groups = [unit.default_report.scores for unit in task.units]
    scores = [score for group in groups for score in group]
    score = sum(scores) / len(scores) if scores else settings.expected_score
    sd = pooled_sd(groups)
    examples = task.baselines.report_rows if task.baselines else _count_examples(study, settings)
    single = 2 * (sd or 0.0) ** 2  # of the difference of two runs
    spread = 2 * score * (1 - score)  # of the difference on one example
    width = find_bounds(task.metric).width
    found = None if examples is None else planned_detectable(single, spread / examples, seeds)
    alone = None if sd is None else planned_detectable(single, 0.0, seeds)
    return Detection(
        task=task.task,
        metric=task.metric,
        basis="assumed" if sd is None else "measured",
        score=score,
        seed_sd=sd,
        seeds=seeds,
        examples=examples,
        detectable=None if found is None or found > width else found,
        detectable_seeds=None if alone is None or alone > width else alone,
        wanted=wanted,
        seeds_needed=None
        if examples is None or sd is None
        else _count_seeds(wanted, single, spread / examples, groups),
        examples_needed=examples_to_resolve(
            wanted, single_variance=single, example_spread=spread, seeds=seeds
        ),
    )


def _count_seeds(
    wanted: float, single: float, example_variance: float, groups: Sequence[Sequence[float]]
) -> SeedsNeeded | None:
    """``single``: variance of the difference of two runs, pooled over the groups of scores.

    None where they are too few to tell.
    """
    measured = 1 + sum(len(scores) - 1 for scores in groups if scores)  # degrees of freedom + 1
    if measured < FEWEST_SEEDS:
        return None
    return estimate_seeds_needed(
        wanted,
        seed_variance=single / measured,
        example_variance=example_variance,
        seeds=measured,
    )


def describe_detection(found: Detection) -> str:
    """Returns one sentence."""
    score = f"a score of {found.score:.2f}"
    if found.seed_sd is None:
        basis = f"assuming {score} and no noise from seeds, which Phase 0 will measure"
    else:
        basis = f"at {score} and a seed SD of {found.seed_sd:.4f} from Phase 0"
    wanted = f"a difference of {found.wanted:g} needs"
    bound = "Methods are taken to err on different examples, an upper bound."
    if found.examples is None:
        return (
            f"{found.task}: the size of the report set is known once its data are read; {wanted} "
            f"{_describe_needs(found)}, {basis}. {bound}"
        )
    alone = found.detectable_seeds
    smallest = "no difference"  # that scores can have
    if found.detectable is not None:
        smallest = f"a difference of {show_difference(found.detectable)}"
    if alone is not None and (found.detectable is None or alone < found.detectable):
        smallest += f" ({show_difference(alone)} if the examples are taken as given)"
    return (
        f"{found.task}: {found.seeds} seeds and {found.examples} report examples detect {smallest},"
        f" {basis}; {wanted} {_describe_needs(found)}. {bound}"
    )


def _describe_needs(found: Detection) -> str:
    seeds, rows = found.seeds_needed, found.examples_needed
    if found.detectable is not None and found.detectable <= found.wanted:
        return "no more than that"
    ways = []
    if seeds is None and found.seed_sd is not None:
        ways = ["more seeds than two runs of Phase 0 can predict"]
    if seeds is not None and not seeds.needs_examples:
        ways = [f"{describe_seeds(seeds)} on as many examples"]
    ways += [] if rows is None else [f"{rows} report examples at {found.seeds} seeds"]
    return " or ".join(ways) or "both more seeds and more report examples"


def _count_examples(study: Study, task: TaskSettings) -> int | None:
    """Returns the rows of the report set where that needs no loading of data."""
    if task.splits.report_rows is not None:
        return task.splits.report_rows
    try:
        path = source_files(task, study.settings.data_dir).get(task.splits.report or "")
        if path is None or path.suffix != ".jsonl":
            return None
        with path.open("rb") as stream:
            return sum(bool(line.strip()) for line in stream)
    except (DataError, OSError):  # said when the data are checked
        return None
