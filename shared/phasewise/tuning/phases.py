"""Phase 0 and Phase 2 of a unit: one configuration over several seeds, scored on the report set."""

from pathlib import Path

from pydantic import ValidationError
from rich.console import Console

from phasewise.errors import ConfigError, PhasewiseError, RecordError
from phasewise.records import RunRecord
from phasewise.runs import Phase, build_seeds
from phasewise.settings import Hyperparameters, Study, merge_hyperparameters
from phasewise.statistics import summarize_scores
from phasewise.steps import name_command
from phasewise.summaries import Optimum, PhaseSummary, read_optimum, write_summary
from phasewise.training.interface import RunJob
from phasewise.tuning.dispatch import PoolFactory
from phasewise.tuning.hooks import RunListener
from phasewise.tuning.job_lists import run_jobs
from phasewise.tuning.optimum import meaningful_hyperparameters, note_learning
from phasewise.tuning.progress import Clock, describe_outcome, describe_retries
from phasewise.tuning.units import Session, Unit, finite_score, open_session


def run_defaults(
    study: Study,
    task: str,
    method: str,
    *,
    pool_factory: PoolFactory | None = None,
    console: Console | None = None,
    log: Path | None = None,
    listener: RunListener | None = None,
) -> PhaseSummary:
    """Runs Phase 0 of a unit: the published default over ``baselines.seeds`` seeds.

    Runs that are on record are not repeated, but for failed ones.

    Args:
        study: The study.
        task: Its task.
        method: Its method.
        pool_factory: Makes the pool that trains; None: the real one.
        console: Where progress is shown; None: standard error.
        log: File that progress lines are appended to.
        listener: Told of each run as it begins and ends, from another thread.

    Raises:
        PhasewiseError: No run has a score; the first reason is named.
        StoppedError: SIGTERM or Ctrl-C.
    """
    unit = Unit(study, task, method)
    jobs = [
        unit.job(
            "default",
            index,
            unit.default,
            build_seeds(study.settings.seed, "phase0", task, index),
            opens_report_set=True,
        )
        for index in range(study.settings.baselines.seeds)
    ]
    with open_session(
        unit,
        pool_factory=pool_factory,
        console=console,
        log=log,
        listener=listener,
        shares=True,
    ) as session:
        return _run_seeds(unit, "phase0", unit.default, jobs, session)


def validate_unit(
    study: Study,
    task: str,
    method: str,
    *,
    pool_factory: PoolFactory | None = None,
    console: Console | None = None,
    log: Path | None = None,
    listener: RunListener | None = None,
) -> PhaseSummary:
    """Runs Phase 2 of a unit: its optimum over ``validation.seeds`` fresh seeds.

    Arguments and errors are those of ``run_defaults``.

    Raises:
        ConfigError: There is no final optimum.
        RecordError: The optimum's hyperparameters cannot be read.
    """
    unit = Unit(study, task, method)
    optimum = _read_final_optimum(unit)
    hyperparameters = chosen_hyperparameters(unit, optimum, unit.paths.optimum)
    keeps_model = study.settings.training.save_adapters and study.methods[method].trains_adapter
    jobs = [
        unit.job(
            "seed",
            index,
            hyperparameters,
            build_seeds(study.settings.seed, "phase2", task, index),
            opens_report_set=True,
            keeps_model=keeps_model,
        )
        for index in range(study.settings.validation.seeds)
    ]
    with open_session(
        unit,
        pool_factory=pool_factory,
        console=console,
        log=log,
        listener=listener,
        shares=True,
    ) as session:
        if optimum.settings_hash != unit.phase_hash("phase1"):
            session.progress.write(
                f"{unit.paths.optimum.name} was found under other settings than today's"
            )
        summary = _run_seeds(unit, "phase2", hyperparameters, jobs, session)
        learning = note_learning(unit, optimum, summary)
        if learning is not None:
            session.progress.write(learning.describe(), style="" if learning.learned else "yellow")
        return summary


def _read_final_optimum(unit: Unit) -> Optimum:
    path = unit.paths.optimum
    optimum = read_optimum(path)
    if optimum is not None and optimum.final:
        return optimum
    found = "which is missing" if optimum is None else "which is not final"
    raise ConfigError(
        f"{unit.label}: Phase 2 needs the optimum of Phase 1: expected {path}, {found}; make it "
        f"with: {name_command(unit.study, 'search', unit.task, unit.method)}"
    )


def chosen_hyperparameters(unit: Unit, optimum: Optimum, path: Path) -> Hyperparameters:
    """Returns the method's default with an optimum's values over it.

    Raises:
        RecordError: A value is none that the hyperparameter may have; ``path`` names the file.
    """
    try:
        return merge_hyperparameters(unit.default, optimum.best_hyperparameters)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise RecordError(
            f"{path}: best_hyperparameters.{key}: {first['msg']}; run Phase 1 again"
        ) from error


def expected_score(unit: Unit, optimum: Optimum) -> float:
    """Returns what an optimum's settings score on the search set, over as many seeds as are known.

    The score of a single trial is the luckiest of many. Settings that are the default's were
    trained more often, in Phase 0, if nothing confirmed them.
    """
    if optimum.confirmed_value is not None:
        return optimum.confirmed_value
    chosen = chosen_hyperparameters(unit, optimum, unit.paths.optimum)
    known = optimum.baseline_value if chosen == unit.default else None
    return optimum.best_value if known is None else known


def _run_seeds(
    unit: Unit,
    phase: Phase,
    hyperparameters: Hyperparameters,
    jobs: list[RunJob],
    session: Session,
) -> PhaseSummary:
    """Runs what is not on record and writes the summary of all."""
    records: dict[str, RunRecord] = {}
    clock = Clock()
    say = session.progress.write

    def end(job: RunJob, record: RunRecord) -> None:
        records[job.config.name] = record
        session.hook.end(record, job.folder)
        time = clock.describe(len(records), len(jobs))
        say(f"{job.config.name} ({len(records)}/{len(jobs)}) · {describe_outcome(record)} · {time}")

    say(f"{phase}: {len(jobs)} seeds")
    run_jobs(session, jobs, ended=end, recorded=lambda job, r: records.update({job.config.name: r}))
    session.dispatcher.dismiss()
    if retries := describe_retries([n for n, r in records.items() if r.status == "failed"]):
        say(retries, style="yellow")
    summary = _summarize(unit, phase, hyperparameters, jobs, records)
    session.lease.check()
    write_summary(unit.paths.summary(phase), summary)
    shown = "no report score" if summary.report.mean is None else f"{summary.report.mean:.3f}"
    say(f"{phase}: {unit.metric} {shown} on the report set, wrote {unit.paths.summary(phase)}")
    return summary


def _summarize(
    unit: Unit,
    phase: Phase,
    hyperparameters: Hyperparameters,
    jobs: list[RunJob],
    records: dict[str, RunRecord],
) -> PhaseSummary:
    scored, failed = [], []
    for job in jobs:
        record = records[job.config.name]
        score = finite_score(record.search_score)
        if record.status == "finished" and score is not None:
            scored.append(record)
        else:
            failed.append(f"{job.config.name}: {_reason(unit, record)}")
    if not scored:
        raise PhasewiseError(f"{unit.label} {phase}: all {len(jobs)} seeds failed; {failed[0]}")
    report = [finite_score(record.report_score) for record in scored]
    return PhaseSummary(
        phase=phase,
        task=unit.task,
        method=unit.method,
        metric=unit.metric,
        settings_hash=unit.phase_hash(phase),
        hyperparameters=meaningful_hyperparameters(
            hyperparameters, unit.study.methods[unit.method]
        ),
        search=summarize_scores([r.search_score for r in scored if r.search_score is not None]),
        report=summarize_scores([score for score in report if score is not None]),
        runs=tuple(f"{phase}/{record.config.name}" for record in scored),
        failed=tuple(failed),
    )


def _reason(unit: Unit, record: RunRecord) -> str:
    if record.status == "finished":
        return f"no finite {unit.metric} on the search set"
    return f"{record.status}: {record.message}" if record.message else record.status
