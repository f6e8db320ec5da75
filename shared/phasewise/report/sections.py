"""The report's part on one unit: what was found, its warnings and its figures."""

from dataclasses import dataclass

from phasewise.figures import MethodStyle
from phasewise.formatting import join_words, show_score, show_signed
from phasewise.report.drawing import Drawing, UnitSource, draw_figures
from phasewise.report.evidence import PHASES, UnitEvidence
from phasewise.report.figure_list import UNIT_FIGURES
from phasewise.report.traces import name_unit
from phasewise.settings import Study

#: More failed runs than this are counted instead of being named one by one.
_NAMED_RUNS = 4


@dataclass(frozen=True)
class UnitSection:
    """One unit's part of the report."""

    task: str
    method: str
    summary: str  # what stands beside its name while it is closed
    facts: tuple[str, ...]
    warnings: tuple[str, ...]
    hyperparameters: tuple[tuple[str, str], ...]
    failures: tuple[str, ...]
    drawings: tuple[Drawing, ...]

    @property
    def anchor(self) -> str:
        """Of the unit's records in the page."""
        return name_unit(self.task, self.method)


def build_unit_section(
    study: Study, unit: UnitEvidence, style: MethodStyle, state: str
) -> UnitSection:
    """Returns a unit's section; ``state`` says what the unit still lacks, empty if nothing."""
    source, about = UnitSource(study, unit), (unit.task, unit.method)
    best = unit.optimum.best_hyperparameters if unit.optimum else {}
    return UnitSection(
        task=unit.task,
        method=unit.method,
        summary=_summarize(unit),
        facts=tuple(_list_facts(unit)),
        warnings=tuple(_list_warnings(unit, state)),
        hyperparameters=tuple((name, _show_value(value)) for name, value in best.items()),
        failures=tuple(_list_failures(unit)),
        drawings=draw_figures(UNIT_FIGURES, source, style, about),
    )


def _summarize(unit: UnitEvidence) -> str:
    parts = []
    if unit.validation.mean is not None:
        parts.append(f"{unit.metric} {show_score(unit.validation.mean)} on the report set")
    if unit.optimum is not None:
        parts.append(f"best trial {unit.optimum.best_trial}")
    runs = sum(map(len, unit.records.values()))
    return ", ".join([*parts, f"{runs} runs"])


def _list_facts(unit: UnitEvidence) -> list[str]:
    optimum = unit.optimum
    if optimum is None:
        return []
    kind = "Final" if optimum.final else "Running"
    count = f"{optimum.n_trials} finished trials, {optimum.model_based_trials} of them model-based"
    facts = [
        f"{kind} optimum: trial {optimum.best_trial} with {show_score(optimum.best_value)} "
        f"{optimum.metric} on the search set ({count})."
    ]
    if optimum.confirmed_value is not None:
        error = optimum.confirmed_standard_error
        spread = "" if error is None else f" ± {show_score(error, beside=optimum.confirmed_value)}"
        facts.append(
            f"On {optimum.confirmed_seeds} fresh seeds it has "
            f"{show_score(optimum.confirmed_value)}{spread}: the raw best value is what the "
            "luckiest trial showed, the confirmed one is what to expect."
        )
    if optimum.improvement is not None:
        facts.append(
            f"Improvement S over the published default: {show_signed(optimum.improvement)} "
            f"(default {show_score(optimum.baseline_value)})."
        )
    return facts


def _list_warnings(unit: UnitEvidence, state: str) -> list[str]:
    warnings = [f"Not complete: {state}."] if state else []
    for flag in unit.optimum.range_flags if unit.optimum else ():
        low, high = map(show_setting, flag.proposed)
        warnings.append(
            f"{flag.parameter} = {show_setting(flag.value)} lies at the {flag.edge} edge of "
            f"its range; search {low} to {high} before trusting the optimum."
        )
    return warnings


def show_setting(value: float) -> str:
    """Returns a hyperparameter's value as one would type it: 0.003, 2e-05, 16."""
    return f"{value:.3g}"


def _list_failures(unit: UnitEvidence) -> list[str]:
    """Says of every run that did not finish which it was and why, alike ones together."""
    reasons: dict[str, list[str]] = {}
    for phase in PHASES:
        for record in unit.records[phase]:
            if record.status not in {"finished", "pruned"}:
                reason = f"{record.status}: {record.message or 'no reason recorded'}"
                reasons.setdefault(reason, []).append(record.config.name)
    if unit.phase2 is not None and unit.phase2.failed:
        known = {name for names in reasons.values() for name in names}
        for text in unit.phase2.failed:
            if not any(name in text for name in known):
                reasons.setdefault("failed in Phase 2", []).append(text)
    return [f"{_name_runs(names)} {reason}" for reason, names in reasons.items()]


def _name_runs(names: list[str]) -> str:
    if len(names) <= _NAMED_RUNS:
        return join_words(names)
    return f"{len(names)} runs ({names[0]} to {names[-1]})"


def _show_value(value: object) -> str:
    return show_setting(value) if isinstance(value, float) else str(value)
