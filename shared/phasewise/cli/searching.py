"""``phasewise search``: Phase 1 of a study's unit, or of a study made from files and flags."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import typer

from phasewise.cli import search_options as options
from phasewise.cli.asking import tell_data
from phasewise.cli.options import DEFAULT_STUDY, LogOption, require_unit
from phasewise.cli.phases import tracking
from phasewise.errors import ConfigError
from phasewise.settings import Study, load_study


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
    loaded = load_study(study or DEFAULT_STUDY)
    require_unit(loaded, task, method)
    _search_stages(loaded, task, method, log)


def _search_files(flags: options.FileFlags, method: str, log: Path | None) -> None:
    from phasewise.tuning.file_study import FileStudy, write_file_study
    from phasewise.tuning.refinement import write_refined_study

    if flags.refine_trials is not None and ":" in (flags.objective or ""):
        raise ConfigError(
            f"--refine-trials narrows ranges around the best of one metric, "
            f"--objective {flags.objective} has several; leave out one of the two"
        )
    output_dir: Path = flags.require("output_dir")
    path = write_file_study(
        FileStudy(
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
    from phasewise.report.search_outputs import describe_result, write_search_outputs
    from phasewise.tuning.file_study import TASK

    optimum = _search_unit(study, TASK, method, log, with_defaults=True)
    write_search_outputs(study, TASK, method, optimum, folder)
    typer.echo(describe_result(study, TASK, method, optimum))


def _search_stages(study: Study, task: str, method: str, log: Path | None) -> None:
    """Searches a unit; before it, those of the studies that it refines, where they are due."""
    from phasewise.tuning.refinement import unfinished_sources

    for source in unfinished_sources(study, task, method):
        typer.echo(f"{study.path} refines {source.path}, whose search of the unit comes first")
        _search_unit(source, task, method, log, with_defaults=True)
    _search_unit(study, task, method, log)


def _search_unit(
    study: Study, task: str, method: str, log: Path | None, *, with_defaults: bool = False
) -> Any:
    from phasewise.tuning.phases import run_defaults
    from phasewise.tuning.search import search_unit

    with tracking(study) as mirror:
        if with_defaults:
            run_defaults(study, task, method, log=log, on_record=mirror)
        return search_unit(study, task, method, log=log, on_record=mirror)
