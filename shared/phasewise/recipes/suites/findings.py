"""What a suite's numbers allow one to say: paired differences, corrected, with their reach."""

from typing import NamedTuple

from phasewise.recipes.suites.results import Ablation, ExperimentResult
from phasewise.statistics import Comparison, compare_seeds, correct_holm, find_bounds

LEVEL = 0.05
#: A cost within this share of the reference's is called the same.
_SAME_COST = 0.02


class Finding(NamedTuple):
    """One experiment against the reference."""

    name: str
    comparison: Comparison  # experiment minus reference, on the metric's own scale
    p_holm: float | None
    gain: float  # positive is better
    smallest: float = 0.0  # a smaller difference does not count

    @property
    def is_told_apart(self) -> bool:
        """Whether the corrected test tells it from the reference."""
        return self.p_holm is not None and self.p_holm < LEVEL

    @property
    def matters(self) -> bool:
        """Whether it is told apart by a difference that counts."""
        return self.is_told_apart and abs(self.gain) >= self.smallest


def compare_with_reference(value: Ablation, reference: str) -> tuple[Finding, ...]:
    """Compares each experiment with the reference on the seeds that both have.

    Experiments that share no seed with it are left out; p-values are Holm's over the others.
    """
    by_name = {each.name: each for each in value.scored}
    base = by_name.get(reference)
    if base is None:
        return ()
    sign = 1.0 if value.direction == "maximize" else -1.0
    bounds = find_bounds(value.metric)
    compared: list[tuple[str, Comparison]] = []
    for each in value.scored:
        seeds = [seed for seed in base.scores if seed in each.scores]
        if each.name != reference and seeds:
            left, right = ([e.scores[s] for s in seeds] for e in (each, base))
            compared.append((each.name, compare_seeds(left, right, bounds=bounds)))
    holm = correct_holm([comparison.p_value for _, comparison in compared])
    return tuple(
        Finding(name, comparison, p, sign * comparison.mean, value.smallest or 0.0)
        for (name, comparison), p in zip(compared, holm, strict=True)
    )


def describe_findings(value: Ablation, reference: str) -> list[str]:
    """Returns the findings in sentences: scores, then costs, then what may be concluded."""
    findings = compare_with_reference(value, reference)
    lines = [_describe_score(each, value.metric, reference) for each in findings]
    if value.smallest is not None:
        lines.append(
            f"A difference counts from {value.smallest:.4f} {value.metric} on, {value.smallest_is}."
        )
    if value.memory_order is not None:
        lines.append(
            "Peak memory is not compared: on a CPU it is the worker's, and it followed the order "
            f"of the runs (rank correlation {value.memory_order:.2f}), not the experiments."
        )
    lines += _describe_costs(value, reference)
    lines += [f"{e.name}: {len(e.failed)} without a score ({e.failed[0]})." for e in _failed(value)]
    return [*lines, *_conclude(value, reference, findings)]


def default_reference(value: Ablation) -> str:
    """Returns the experiment with the most weights that train, among those with a score."""
    return max(value.scored, key=lambda each: each.trainable_parameters or 0).name


def _describe_score(finding: Finding, metric: str, reference: str) -> str:
    comparison = finding.comparison
    text = f"{finding.name} - {reference}: {_signed(comparison.mean)} {metric}"
    if comparison.interval is None or finding.p_holm is None:
        return f"{text} on one shared seed; nothing can be said."
    low, high = comparison.interval
    text += f" (95 % interval {_signed(low)} to {_signed(high)}, {comparison.seeds} seeds, "
    text += f"Holm p {finding.p_holm:.3f}): "
    if finding.is_told_apart and not finding.matters:
        return f"{text}told apart, by less than what counts: no difference in practice."
    if finding.is_told_apart:
        return text + ("better." if finding.gain > 0 else "worse.")
    detectable = comparison.detectable
    seen = "" if detectable is None else f"; a true difference of {detectable:.4f} would be"
    return f"{text}cannot be told apart{seen}."


def _signed(difference: float) -> str:
    return f"{difference:+.4f}".replace("-0.0000", "+0.0000")


def _describe_costs(value: Ablation, reference: str) -> list[str]:
    base = next((e for e in value.experiments if e.name == reference), None)
    if base is None:
        return []
    lines = []
    for each in value.experiments:
        parts = [
            _compare(label, each, base, field)
            for label, field in (
                ("peak memory", "memory_mb"),
                ("training time", "train_seconds"),
                ("adapter", "adapter_mb"),
            )
        ]
        known = [part for part in parts if part]
        if each.name != reference and known:
            lines.append(f"{each.name} against {reference}, measured: {', '.join(known)}.")
    return lines


def _compare(label: str, each: ExperimentResult, base: ExperimentResult, field: str) -> str:
    amount, of_base = getattr(each, field), getattr(base, field)
    if amount is None or not of_base:
        return ""
    ratio = amount / of_base
    if abs(ratio - 1) < _SAME_COST:
        return f"{label} the same"
    if field not in each.spreads or field not in base.spreads:
        return f"{label} {ratio:.2f} times"
    (low, high), (base_low, base_high) = each.spreads[field], base.spreads[field]
    spread = f"{low / base_high:.2f} to {high / max(base_low, 1e-12):.2f}"
    overlap = (
        " of single runs: no difference shown" if low <= base_high and base_low <= high else ""
    )
    return f"{label} {ratio:.2f} times ({spread}{overlap})"


def _failed(value: Ablation) -> list[ExperimentResult]:
    return [each for each in value.experiments if each.failed]


def _conclude(value: Ablation, reference: str, findings: tuple[Finding, ...]) -> list[str]:
    if not findings:
        return ["No experiment can be compared with the reference."]
    kept = {reference} | {f.name for f in findings if not f.matters or f.gain > 0}
    priced = [e for e in value.scored if e.name in kept and e.memory_mb is not None]
    lines = []
    if priced:
        cheapest = min(priced, key=lambda each: each.memory_mb or 0.0)
        lines.append(
            f"Least memory among those not shown to be worse than {reference}: {cheapest.name} "
            f"({cheapest.memory_mb:.0f} MB). Not shown to be worse is not shown to be as good: see "
            "the intervals."
        )
    if not any(finding.matters for finding in findings):
        lines.append(
            "No difference in score that counts was found; none of the experiments is recommended "
            "on its score."
        )
    return lines
