"""``phasewise search``: the core's, and that of a study made from files and flags."""

from dataclasses import fields
from pathlib import Path
from shlex import quote
from time import monotonic

import typer

from phasewise.cli import searching
from phasewise.cli.options import DEFAULT_STUDY, RUN_PANEL, LogOption
from phasewise.errors import ConfigError
from phasewise.recipes.file_search import options
from phasewise.recipes.steps import describe_verdict, tell_data
from phasewise.settings import Study, load_study


def register(app: typer.Typer) -> None:
    """Puts a search that knows files too in place of the core's."""
    app.command(rich_help_panel=RUN_PANEL)(search)


def search(
    study: options.UnitStudy = None,
    task: options.UnitTask = None,
    method: options.UnitMethod = None,
    base_model: options.BaseModel = None,
    train_file: options.TrainFile = None,
    validation_file: options.ValidationFile = None,
    output_dir: options.OutputDir = None,
    test_file: options.TestFile = None,
    num_trials: options.NumTrials = None,
    refine_trials: options.RefineTrials = None,
    objective: options.Objective = None,
    weights: options.Weights = None,
    search_space: options.SearchSpace = None,
    time_budget_hours: options.TimeBudget = None,
    pruning_factor: options.PruningFactor = None,
    parallel_trials: options.ParallelTrials = None,
    memory_constraint: options.MemoryConstraint = None,
    text_column: options.TextColumn = None,
    label_column: options.LabelColumn = None,
    response_column: options.ResponseColumn = None,
    prompt_template: options.PromptTemplate = None,
    max_length: options.MaxLength = None,
    layers: options.Layers = None,
    seed: options.Seed = None,
    device: options.Device = None,
    log: LogOption = None,
) -> None:
    """Phase 1: the hyperparameter search of a unit, or of files; run it again to resume."""
    given = dict(locals())
    flags = options.FileFlags(
        **{field.name: given[field.name] for field in fields(options.FileFlags)}
    )
    used = [name for name, value in vars(flags).items() if value is not None]
    if used and (study is not None or task is not None):
        raise ConfigError(
            f"--{used[0].replace('_', '-')} belongs to a search of files, and "
            f"{'--study' if study is not None else '--task'} to that of a study: give either "
            "--study, --task and --method, or --base-model, --train-file, --validation-file and "
            "--output-dir; budgets and objectives of a study stand in its file"
        )
    if used:
        _search_files(flags, method or "lora", log)
        return
    if task is None or method is None:
        raise ConfigError(
            "search needs --task and --method of a study, or --base-model, --train-file, "
            "--validation-file and --output-dir; see phasewise search --help"
        )
    searching.search(task, method, study or DEFAULT_STUDY, log)


def _search_files(flags: options.FileFlags, method: str, log: Path | None) -> None:
    from phasewise.recipes.file_search.study import FileRequest, write_file_study
    from phasewise.recipes.refinement.study import write_refined_study

    if flags.refine_trials is not None and ":" in (flags.objective or ""):
        raise ConfigError(
            f"--refine-trials narrows ranges around the best of one metric, "
            f"--objective {flags.objective} has several; leave out one of the two"
        )
    output_dir: Path = flags.require("output_dir")
    path = write_file_study(
        FileRequest(
            base_model=flags.require("base_model"),
            train_file=flags.require("train_file"),
            validation_file=flags.require("validation_file"),
            output_dir=output_dir,
            test_file=flags.test_file,
            method=method,
            search_space=flags.search_space,
            objective=flags.objective,
            text_columns=tuple(flags.text_column or ()),
            label_column=flags.label_column,
            response_column=flags.response_column,
            prompt_template=flags.prompt_template,
            max_length=flags.max_length,
            search=flags.search_section(),
            machine=flags.machine_section(),
            layers=flags.layers,
            seed=flags.seed or 0,
        )
    )
    study = load_study(path)
    tell_data(study)
    _search_and_tell(study, method, log, output_dir)
    if flags.refine_trials is not None:
        refined = load_study(write_refined_study(path, flags.refine_trials))
        typer.echo(f"\nRefined search around the best: {refined.path}")
        _search_and_tell(refined, method, log, refined.path.parent)


def _search_and_tell(study: Study, method: str, log: Path | None, folder: Path) -> None:
    """Runs Phase 0 and the search of files; writes and prints what is documented."""
    from phasewise.recipes.file_search.outputs import describe_result, write_search_outputs
    from phasewise.recipes.file_search.study import TASK

    since = monotonic()
    if study.tasks[TASK].traits.has_classes:
        from phasewise.training.baselines import write_task_baselines

        write_task_baselines(study, TASK)  # what a search has to beat to be worth its model
    optimum = searching.search_unit(study, TASK, method, log, with_defaults=True, since=since)
    write_search_outputs(study, TASK, method, optimum, folder)
    typer.echo(describe_result(study, TASK, method, optimum))
    typer.echo(describe_verdict(study, optimum))
    typer.echo(_describe_final(study))


def _describe_final(study: Study) -> str:
    from phasewise.inference.choice import rank_contenders
    from phasewise.recipes.file_search.study import TASK

    ranked = ", ".join(each.describe() for each in rank_contenders(study, TASK))
    command = f"phasewise train --study {quote(str(study.path))} --all-data --output DIR"
    return f"On the search set: {ranked}. Final model of the first: {command}"
