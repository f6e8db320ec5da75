"""``phasewise ablate``: a suite of experiments over seeds, with database, plots and findings."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from phasewise.cli.asking import (
    DatasetFile,
    Device,
    DryRun,
    Estimate,
    Fixed,
    Layers,
    MaxLength,
    ModelSource,
    OutputDir,
    ReportRows,
    SearchRows,
    Seed,
    StudySource,
    TaskName,
    TrainRows,
    gather,
    run_search,
    tell_data,
)
from phasewise.cli.looking import plan
from phasewise.errors import PhasewiseError
from phasewise.settings import ALL_SHARD, load_study


def ablate(
    suite: Annotated[str, typer.Argument(help="A name of `phasewise list suites`, or a file.")],
    output_dir: OutputDir = Path("results"),
    study: StudySource = None,
    base_model: ModelSource = None,
    task: TaskName = None,
    dataset: DatasetFile = None,
    layers: Layers = None,
    train_rows: TrainRows = None,
    search_rows: SearchRows = None,
    report_rows: ReportRows = None,
    max_length: MaxLength = None,
    device: Device = None,
    seed: Seed = None,
    fixed: Fixed = None,
    experiment: Annotated[
        list[str] | None, typer.Option(help="Only this experiment; may be repeated.")
    ] = None,
    continue_on_error: Annotated[
        bool, typer.Option("--continue-on-error", help="Go on with the other methods.")
    ] = False,
    dry_run: DryRun = False,
    estimate: Estimate = False,
) -> None:
    """Run a suite: ranks, modules, precisions, or your own; run it again to resume."""
    given = dict(locals())
    from phasewise.report.ablation_outputs import write_ablation_outputs
    from phasewise.settings.suites import keep_experiments, load_suite
    from phasewise.tuning.ablation_study import write_ablation_study

    read = keep_experiments(load_suite(suite), experiment)
    asked = gather(given)
    asked = replace(
        asked,
        base_model=asked.base_model or (read.base_model if study is None else None),
        dataset=asked.dataset or read.dataset_path,
    )
    path = write_ablation_study(read, asked)
    if dry_run or estimate:
        plan(path, ALL_SHARD, pilot=estimate)
        return
    loaded = load_study(path)
    tell_data(loaded)
    troubles: dict[str, str] = {}
    for task_name, method in loaded.units_of(ALL_SHARD):
        log = output_dir / "logs" / f"{task_name}_{method}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        try:
            run_search(loaded, task_name, method, log)
        except PhasewiseError as error:
            if not continue_on_error:
                raise
            troubles[f"{task_name}/{method}"] = str(error)
            typer.echo(f"{task_name}/{method} failed, going on: {error}", err=True)
    for file in write_ablation_outputs(read, loaded, output_dir, troubles=troubles):
        typer.echo(str(file))
