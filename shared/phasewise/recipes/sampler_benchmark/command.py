"""The command that compares search algorithms."""

import typer

from phasewise.cli.options import DEFAULT_STUDY, USE_PANEL, LogOption, StudyOption
from phasewise.cli.searching import search_unit
from phasewise.settings import ALL_SHARD, load_study


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
        for task, method in loaded.units_of(ALL_SHARD):  # to fit the stand-in
            search_unit(loaded, task, method, log, with_defaults=True)
    units = [
        benchmark_unit(loaded, task, method, log=log)
        for task in loaded.tasks
        for method in loaded.methods
    ]
    typer.echo(str(write_benchmark(units, loaded.settings.analysis_path / FOLDER)))
