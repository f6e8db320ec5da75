"""The command that compares search algorithms."""

from pathlib import Path

import typer

from phasewise.cli.options import DEFAULT_STUDY, USE_PANEL, LogOption, StudyOption
from phasewise.cli.phases import tracking
from phasewise.settings import Study, load_study


def register(app: typer.Typer) -> None:
    """Adds the command to the program."""
    app.command("benchmark-samplers", rich_help_panel=USE_PANEL)(benchmark_samplers)


def benchmark_samplers(study: StudyOption = DEFAULT_STUDY, log: LogOption = None) -> None:
    """Compare search algorithms at equal budget over repeated seeds, on a study's own units."""
    loaded = load_study(study)
    from phasewise.recipes.sampler_benchmark.outputs import write_benchmark
    from phasewise.recipes.sampler_benchmark.section import benchmark_settings
    from phasewise.recipes.sampler_benchmark.unit import FOLDER, benchmark_unit

    if not benchmark_settings(loaded).live:
        _measure(loaded, log)
    units = [
        benchmark_unit(loaded, task, method, log=log)
        for task in loaded.tasks
        for method in loaded.methods
    ]
    typer.echo(str(write_benchmark(units, loaded.settings.analysis_path / FOLDER)))


def _measure(study: Study, log: Path | None) -> None:
    """Runs the trainings that stand in for training: Phase 0 and 1, or what is missing of them."""
    from phasewise.tuning.phases import run_defaults
    from phasewise.tuning.search import search_unit

    with tracking(study) as mirror:
        for task in study.tasks:
            for method in study.methods:
                run_defaults(study, task, method, log=log, on_record=mirror)
                search_unit(study, task, method, log=log, on_record=mirror)
