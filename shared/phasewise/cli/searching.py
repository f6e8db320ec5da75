"""``phasewise search``: Phase 1 of a study's unit."""

from pathlib import Path
from time import monotonic
from typing import Any

import typer

from phasewise.cli.options import (
    DEFAULT_STUDY,
    LogOption,
    MethodOption,
    StudyOption,
    TaskOption,
    load_owned,
    require_unit,
)
from phasewise.cli.phases import tracking
from phasewise.settings import Study


def search(
    task: TaskOption,
    method: MethodOption,
    study: StudyOption = DEFAULT_STUDY,
    log: LogOption = None,
) -> None:
    """Phase 1: the hyperparameter search of a unit; run it again to resume."""
    loaded = load_owned(study)
    require_unit(loaded, task, method)
    from phasewise.tuning.narrowing import unfinished_sources

    for source in unfinished_sources(loaded, task, method):
        typer.echo(f"{loaded.path} refines {source.path}, whose search of the unit comes first")
        search_unit(source, task, method, log, with_defaults=True)
    search_unit(loaded, task, method, log)


def search_unit(
    study: Study,
    task: str,
    method: str,
    log: Path | None,
    *,
    with_defaults: bool = False,
    since: float | None = None,
) -> Any:
    """Runs Phase 1 of a unit, after Phase 0 if it is to; returns its optimum.

    ``since``: ``time.monotonic()`` at which the time budget began; None: with Phase 1.
    """
    from phasewise.tuning import search as phase1
    from phasewise.tuning.phases import run_defaults

    with tracking(study) as mirror:
        if with_defaults:
            run_defaults(study, task, method, log=log, listener=mirror)
        spent = 0.0 if since is None else monotonic() - since
        return phase1.search_unit(study, task, method, log=log, listener=mirror, spent=spent)
