"""``phasewise ablate`` and ``phasewise experiment``: configurations over seeds, with findings."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from phasewise.cli.options import LOOK_PANEL, RUN_PANEL
from phasewise.errors import PhasewiseError
from phasewise.recipes import request_options as options
from phasewise.recipes import steps
from phasewise.recipes.request import StudyRequest
from phasewise.settings import ALL_SHARD, Study


def register(app: typer.Typer) -> None:
    """Adds the commands to the program."""
    app.command(rich_help_panel=RUN_PANEL)(ablate)
    app.command(rich_help_panel=RUN_PANEL)(experiment)
    app.command("suite-report", rich_help_panel=LOOK_PANEL)(suite_report)


ContinueOnError = Annotated[
    bool, typer.Option("--continue-on-error", help="Go on with the other methods.")
]
FinalModels = Annotated[
    bool, typer.Option("--final-models", help="Then train a model of each experiment to keep.")
]


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
    continue_on_error: ContinueOnError = False,
    final_models: FinalModels = False,
    dry_run: options.DryRun = False,
    estimate: options.Estimate = False,
) -> None:
    """Run a suite: ranks, modules, precisions, or your own; run it again to resume."""
    given = dict(locals())
    from phasewise.recipes.suites.settings import keep_experiments, load_suite

    _run(keep_experiments(load_suite(suite), experiment), options.gather(given), given)


def experiment(
    experiment_type: Annotated[
        str, typer.Option("--experiment-type", help="What the results database calls its type.")
    ],
    name: Annotated[str | None, typer.Option(help="Of the experiment. Default: its rank.")] = None,
    method: Annotated[str, typer.Option("--method", "-m", help="In shared/methods/.")] = "lora",
    lora_rank: Annotated[int | None, typer.Option(min=1, help="r; alpha is twice as much.")] = None,
    num_epochs: Annotated[float | None, typer.Option(help="Passes over the train sample.")] = None,
    precision: Annotated[
        str | None, typer.Option(help="Of the frozen weights: 4bit, 8bit, bf16 or fp32.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=3, help="Runs of it.")] = 3,
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
    final_models: FinalModels = False,
    dry_run: options.DryRun = False,
    estimate: options.Estimate = False,
) -> None:
    """Run one experiment outside a suite; its runs join those that the output folder holds."""
    given = dict(locals())
    from phasewise.recipes.suites.settings import single_experiment

    rank = {} if lora_rank is None else {"lora_rank": lora_rank, "lora_alpha_over_rank": 2}
    epochs = {} if num_epochs is None else {"epochs": num_epochs}
    request = options.gather(given)
    suite = single_experiment(
        experiment_type,
        name or (f"r{lora_rank}" if lora_rank else "default"),
        method=method,
        precision=precision,
        seeds=seeds,
        hyperparameters={**rank, **epochs, **request.fixed},
    )
    _run(suite, request, given)


def suite_report(
    results: Annotated[
        Path, typer.Argument(help="Output folder of `ablate` and `experiment`.")
    ] = Path("results"),
    experiment_type: Annotated[
        str | None, typer.Option("--experiment-type", help="Only suites of this type.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="File of the report. Default: RESULTS.md in the folder.")
    ] = None,
) -> None:
    """Write the findings of suites again, of one type or all, from their records."""
    from phasewise.recipes.suites.outputs import RESULTS_FILE, write_suite_report

    file = output or results / RESULTS_FILE
    write_suite_report(results, file, experiment_type)
    typer.echo(str(file))


def _run(suite: Any, request: StudyRequest, given: dict[str, Any]) -> None:
    from phasewise.recipes.suites.folder import read_suite
    from phasewise.recipes.suites.study import write_ablation_study

    request = _complete(suite, request)
    path = write_ablation_study(suite, request)
    stored = read_suite(path)
    if given["dry_run"] or given["estimate"]:
        _list_experiments(stored.suite)
        steps.preview(path, pilot=given["estimate"])
        return
    steps.tell_data(stored.study)
    try:
        _search_units(stored.study, request.output_dir, given.get("continue_on_error", False))
    finally:  # a failed experiment is a result, and earlier ones are shown whatever happens
        for file in _write_outputs(request.output_dir):
            typer.echo(str(file))
    stored = read_suite(path)  # with what could not be run
    for line in _describe(stored):
        typer.echo(line)
    if given["final_models"]:
        from phasewise.recipes.suites.final_models import train_experiment_models

        for folder in train_experiment_models(stored, request.output_dir, typer.echo):
            typer.echo(str(folder))
    _refuse_failures(stored)


def _complete(suite: Any, request: StudyRequest) -> StudyRequest:
    """Returns the request with what the suite names where the command line does not."""
    return replace(
        request,
        base_model=request.base_model or (suite.base_model if request.study is None else None),
        task=request.task or suite.task,
        dataset=request.dataset or suite.dataset_path,
    )


def _list_experiments(suite: Any) -> None:
    table = Table("experiment", "method", "hyperparameters", "seeds", title=suite.suite_name)
    for each in suite.experiments:
        values = ", ".join(f"{name} {value}" for name, value in each.hyperparameters.items())
        table.add_row(each.name, each.variant, values, str(suite.seeds))
    Console().print(table)


def _write_outputs(output_dir: Path) -> list[Path]:
    from phasewise.recipes.suites.outputs import write_ablation_outputs

    return write_ablation_outputs(output_dir)


def _describe(stored: Any) -> list[str]:
    from phasewise.recipes.suites.outputs import describe_suite

    return describe_suite(stored)


def _refuse_failures(stored: Any) -> None:
    """Ends the command with an error where experiments have failed."""
    from phasewise.recipes.suites.outputs import list_failures

    if failures := list_failures(stored):
        raise PhasewiseError("\n".join(f"experiment failed: {line}" for line in failures))


def _search_units(study: Study, output_dir: Path, continue_on_error: bool) -> None:
    """Searches every unit; why one failed is noted beside the study."""
    from phasewise.recipes.suites.folder import note_troubles
    from phasewise.tuning.stopping import StoppedError

    troubles: dict[str, str] = {}
    note_troubles(study, troubles)
    for task, method in study.units_of(ALL_SHARD):
        try:
            steps.run_search(study, task, method, output_dir, f"{study.path.parent.name}_")
        except StoppedError:
            raise
        except PhasewiseError as error:
            troubles[f"{task}/{method}"] = str(error)
            note_troubles(study, troubles)
            if not continue_on_error:
                return
            typer.echo(f"{task}/{method} failed, going on: {error}", err=True)
