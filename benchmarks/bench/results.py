"""From measured repetitions to medians and ratios; the table and the JSON file."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any, NamedTuple

from benchmarks.bench.arms import ArmResult


class Summary(NamedTuple):
    """An arm over all repetitions."""

    seconds: float
    """Median."""
    ratio: float | None
    """Median over repetitions of the reference's seconds over this arm's; None: no reference."""
    ratio_range: tuple[float, float] | None
    """Smallest and largest of them."""
    process_seconds: float
    cpu_seconds: float
    peak_memory_mb: float
    best: float
    """Best metric of a trial, first repetition; NaN if none was scored."""
    mean: float
    finished: int
    """Trials that trained to their end, first repetition."""
    overhead: float | None
    """Phasewise: share of the time that no worker spent in a step."""


def summarize(
    results: Sequence[ArmResult],
    reference: Sequence[ArmResult],
    *,
    workers: int,
    higher_is_better: bool = True,
) -> Summary:
    """Returns medians over the repetitions of an arm, and its ratios to the reference's.

    Args:
        results: Of one arm, at least one; repetition k of two arms ran next to each other.
        reference: Of the arm to compare with; empty if it was not run.
        workers: Processes that share the steps.
        higher_is_better: Whether the best score is the highest.
    """
    ratios = sorted(
        theirs.seconds / ours.seconds for theirs, ours in zip(reference, results, strict=False)
    )
    scores = [score for score in results[0].scores if score is not None]
    shares = [
        1 - result.step_seconds / workers / result.seconds
        for result in results
        if result.step_seconds is not None
    ]
    return Summary(
        seconds=median(result.seconds for result in results),
        ratio=median(ratios) if ratios else None,
        ratio_range=(ratios[0], ratios[-1]) if ratios else None,
        process_seconds=median(result.process_seconds for result in results),
        cpu_seconds=median(result.cpu_seconds for result in results),
        peak_memory_mb=median(result.peak_memory_mb for result in results),
        best=(max if higher_is_better else min)(scores, default=float("nan")),
        mean=mean(scores) if scores else float("nan"),
        finished=len(scores),
        overhead=median(shares) if shares else None,
    )


def format_table(summaries: Mapping[str, Summary], reference: str) -> str:
    """Returns the table of a workload, fastest first."""
    lines = [
        f"{'':28}{'seconds':>8}{'times faster than':>19}{'CPU s':>8}{'MB':>7}"
        f"{'best':>7}{'mean':>7}{'trials':>8}{'not steps':>11}",
        f"{'':28}{'median':>8}{reference:>23}",
    ]
    for name, summary in sorted(summaries.items(), key=lambda item: item[1].seconds):
        lines.append(
            f"{name:28}{summary.seconds:8.1f}{_format_ratio(summary):>19}"
            f"{summary.cpu_seconds:8.0f}{summary.peak_memory_mb:7.0f}"
            f"{summary.best:7.3f}{summary.mean:7.3f}{summary.finished:8}"
            f"{'' if summary.overhead is None else f'{100 * summary.overhead:.1f} %':>11}"
        )
    return "\n".join(lines)


def _format_ratio(summary: Summary) -> str:
    if summary.ratio is None or summary.ratio_range is None:
        return ""
    low, high = summary.ratio_range
    return f"{summary.ratio:.2f} ({low:.2f}-{high:.2f})"


def merge_section(path: Path, section: str, content: Mapping[str, Any]) -> None:
    """Replaces one section of the results file; the others stay as they were measured."""
    known: dict[str, Any] = {}
    if path.is_file():
        known = json.loads(path.read_text(encoding="utf-8"))
    known[section] = content
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(_rounded(known), indent=1) + "\n", encoding="utf-8")


def _rounded(value: Any) -> Any:
    """Returns the content with four significant digits; NaN becomes null, as JSON has none."""
    if isinstance(value, float):
        return None if value != value else float(f"{value:.4g}")
    if isinstance(value, Mapping):
        return {key: _rounded(entry) for key, entry in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_rounded(entry) for entry in value]
    return value
