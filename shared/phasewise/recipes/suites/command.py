"""``phasewise ablate``: a suite of experiments over seeds, with database, plots and findings."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from phasewise.cli.options import RUN_PANEL
from phasewise.errors import PhasewiseError
from phasewise.recipes import request_options as options
from phasewise.recipes import steps
from phasewise.settings import ALL_SHARD, Study, load_study


def register(app: typer.Typer) -> None:
    """Adds the command to the program."""
    app.command(rich_help_panel=RUN_PANEL)(ablate)


def ablate(
    suite: Annotated[str, typer.Argument(help="A name of `phasewise list suites`, or a file.")],
    output_dir: options.OutputDir = Path("results"),
    study: options.StudySource = None,
    base_model: options.ModelSource = None,
    task: options.TaskName = None,
    dataset: options.DatasetFile = None,
    layers: options.Layers = None,
    train_rows: options.TrainRows = None,
    search_rows: options.SearchRows = None,
    report_rows: options.ReportRows = None,
    max_length: options.MaxLength = None,
    device: options.Device = None,
    seed: options.Seed = None,
    fixed: options.Fixed = None,
    experiment: Annotated[
        list[str] | None, typer.Option(help="Only this experiment; may be repeated.")
    ] = None,
    continue_on_error: Annotated[
        bool, typer.Option("--continue-on-error", help="Go on with the other methods.")
    ] = False,
    final_models: Annotated[
        bool,
        typer.Option("--final-models", help="Then train a model of each experiment to keep."),
    ] = False,
    dry_run: options.DryRun = False,
    estimate: options.Estimate = False,
) -> None:
    """Run a suite: ranks, modules, precisions, or your own; run it again to resume."""
    given = dict(locals())
    from phasewise.recipes.suites.outputs import write_ablation_outputs
    from phasewise.recipes.suites.settings import keep_experiments, load_suite
    from phasewise.recipes.suites.study import write_ablation_study

    read = keep_experiments(load_suite(suite), experiment)
    request = options.gather(given)
    request = replace(
        request,
        base_model=request.base_model or (read.base_model if study is None else None),
        dataset=request.dataset or read.dataset_path,
    )
    path = write_ablation_study(read, request)
    if dry_run or estimate:
        steps.preview(path, pilot=estimate)
        return
    loaded = load_study(path)
    steps.tell_data(loaded)
    troubles = _search_units(loaded, output_dir, continue_on_error=continue_on_error)
    for file in write_ablation_outputs(read, loaded, output_dir, troubles=troubles):
        typer.echo(str(file))
    if final_models:
        from phasewise.recipes.suites.final_models import train_experiment_models

        for folder in train_experiment_models(read, loaded, output_dir, typer.echo):
            typer.echo(str(folder))


def _search_units(study: Study, output_dir: Path, *, continue_on_error: bool) -> dict[str, str]:
    """Searches every unit; returns the errors of those that failed, by task and method."""
    troubles: dict[str, str] = {}
    for task, method in study.units_of(ALL_SHARD):
        try:
            steps.run_search(study, task, method, output_dir)
        except PhasewiseError as error:
            if not continue_on_error:
                raise
            troubles[f"{task}/{method}"] = str(error)
            typer.echo(f"{task}/{method} failed, going on: {error}", err=True)
    return troubles
