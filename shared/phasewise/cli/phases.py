"""The commands that do work; each is what one Snakemake rule runs.

Everything heavy is imported inside the command, so that ``--help`` stays quick.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from phasewise.cli.options import (
    DEFAULT_STUDY,
    JsonOption,
    LogOption,
    MethodOption,
    ShardOption,
    StudyOption,
    TaskOption,
    load_owned,
    print_json,
    require_unit,
)
from phasewise.errors import RecordError
from phasewise.records import RECORD_FILE
from phasewise.runs import UnitPaths
from phasewise.settings import ALL_SHARD, Study

if TYPE_CHECKING:
    from phasewise.tracking import TrackingProcess


def baselines(task: TaskOption, study: StudyOption = DEFAULT_STUDY, log: LogOption = None) -> None:
    """Phase 0 of a task: majority class, TF-IDF + logistic regression, frozen encoder."""
    loaded = load_owned(study)
    require_unit(loaded, task)
    from phasewise.training.baselines import write_task_baselines
    from phasewise.tuning.progress import ProgressLog

    lines = ProgressLog(f"{task}/baselines", log)
    lines.write("scoring the baselines")
    summary = write_task_baselines(loaded, task)
    for note in summary.notes:
        lines.write(note)
    for baseline in summary.baselines:
        score = "no score" if baseline.search_score is None else f"{baseline.search_score:.3f}"
        lines.write(f"{baseline.name} {score} {baseline.note}".rstrip())


def defaults(
    task: TaskOption,
    method: MethodOption,
    study: StudyOption = DEFAULT_STUDY,
    log: LogOption = None,
) -> None:
    """Phase 0 of a unit: the method's published default over a few seeds."""
    loaded = _load_unit(study, task, method)
    from phasewise.tuning.phases import run_defaults

    with tracking(loaded) as mirror:
        run_defaults(loaded, task, method, log=log, listener=mirror)


def validate(
    task: TaskOption,
    method: MethodOption,
    study: StudyOption = DEFAULT_STUDY,
    log: LogOption = None,
) -> None:
    """Phase 2 of a unit: its optimum over many fresh seeds, scored on the report set."""
    loaded = _load_unit(study, task, method)
    from phasewise.tuning.phases import validate_unit

    with tracking(loaded) as mirror:
        validate_unit(loaded, task, method, log=log, listener=mirror)


def report(
    study: StudyOption = DEFAULT_STUDY,
    vm: ShardOption = ALL_SHARD,
    log: LogOption = None,
    figures: Annotated[
        Literal["none", "main", "all"], typer.Option(help="Written as PNG and SVG files too.")
    ] = "main",
    as_json: JsonOption = False,
) -> None:
    """Write report.html, RESULTS.md, tables and figures from the records."""
    loaded = load_owned(study)
    units = loaded.units_of(vm)
    _require_runs(loaded, units)
    from phasewise.report import VERDICT_FILE, build_report
    from phasewise.tuning.progress import ProgressLog

    path = build_report(loaded, units, figures=figures)
    if as_json:
        from phasewise.results import StudyResults

        print_json({"report": path, "verdicts": StudyResults(loaded, vm).verdict_rows()})
        return
    ProgressLog("report", log).write(f"wrote {path}")
    typer.echo((path.parent / VERDICT_FILE).read_text(encoding="utf-8"), nl=False)


def _require_runs(study: Study, units: list[tuple[str, str]]) -> None:
    folders = [UnitPaths(study, task, method).root for task, method in units]
    if not any(next(folder.rglob(RECORD_FILE), None) for folder in folders):
        raise RecordError(
            f"{study.path}: nothing to report: no run of {len(units)} units below "
            f"{study.settings.experiments_path}; begin with `phasewise defaults` or snakemake"
        )


def _load_unit(path: Path, task: str, method: str) -> Study:
    study = load_owned(path)
    require_unit(study, task, method)
    return study


@contextmanager
def tracking(study: Study) -> Iterator["TrackingProcess"]:
    """Gives what mirrors each run to Weights & Biases."""
    from phasewise.tracking import TrackingProcess

    with TrackingProcess(study) as process:
        yield process
