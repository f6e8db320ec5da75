"""What a unit still lacks, in words."""

from collections.abc import Sequence

from phasewise.records import RunRecord
from phasewise.report.evidence import UnitEvidence
from phasewise.settings import Study


def describe_gaps(study: Study, unit: UnitEvidence) -> list[str]:
    """Returns what a unit still lacks, phase by phase, in words."""
    gaps = []
    if unit.default_report.mean is None:
        gaps.append(_describe_missing("Phase 0", unit.records["phase0"]))
    if unit.optimum is None:
        gaps.append(_describe_missing("Phase 1", unit.trials))
    elif not unit.optimum.final:
        total = study.settings.search.trials
        gaps.append(f"Phase 1 has not ended: {unit.optimum.n_trials} of {total} trials finished")
    elif unit.optimum.confirmed_value is None:
        gaps.append("the optimum has not been confirmed on fresh seeds")
    planned, done = study.settings.validation.seeds, len(unit.validation.scores)
    if not done:
        gaps.append(_describe_missing("Phase 2", unit.records["phase2"]))
    elif done < planned:
        failed = len(unit.phase2.failed) if unit.phase2 else 0
        why = f", {failed} failed" if failed else ""
        gaps.append(f"Phase 2 has {done} of {planned} seeds{why}")
    elif done == 1:
        gaps.append("Phase 2 has a single seed: no interval")
    return gaps


def _describe_missing(phase: str, records: Sequence[RunRecord]) -> str:
    if not records:
        return f"{phase} has not been run"
    reasons = dict.fromkeys(record.message or record.status for record in records)
    return f"{phase}: none of {len(records)} runs has a score ({'; '.join(list(reasons)[:3])})"
