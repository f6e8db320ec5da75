"""``phasewise preset``: the DoRA subset optimization, a search by strategy and by module."""

from pathlib import Path
from typing import Annotated, Any

import typer

from phasewise.cli.options import RUN_PANEL
from phasewise.errors import ConfigError
from phasewise.recipes import request_options as options
from phasewise.recipes import steps
from phasewise.recipes.presets.settings import load_preset
from phasewise.recipes.request import StudyRequest
from phasewise.settings import ALL_SHARD, Study, load_study


def register(app: typer.Typer) -> None:
    """Adds the command to the program."""
    app.command(rich_help_panel=RUN_PANEL)(preset)


def preset(
    name: Annotated[str, typer.Argument(help="A name of `phasewise list presets`.")],
    output_dir: options.OutputDir = Path("subset_optimization_results"),
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
    trials: Annotated[int | None, typer.Option(min=1, help="Instead of the preset's.")] = None,
    optimize_modules: Annotated[
        bool,
        typer.Option(
            "--optimize-modules",
            help="First compare modules in a balanced design, then search with the recommended.",
        ),
    ] = False,
    module_seeds: Annotated[
        int, typer.Option(min=1, help="Runs of each configuration of the design; 1, or 3 and more.")
    ] = 1,
    dry_run: options.DryRun = False,
    estimate: options.Estimate = False,
) -> None:
    """Run a preset: a strategy's parameters, modules by design; run it again to resume."""
    given = dict(locals())
    from phasewise.recipes.presets.study import resolve_preset

    if module_seeds == 2:
        raise ConfigError("--module-seeds 2: expected 1, or 3 and more")
    resolved = resolve_preset(load_preset(name), trials)
    request = options.gather(given)
    _announce(resolved)
    if dry_run or estimate:
        _preview(resolved, request, module_seeds, optimize_modules, pilot=estimate)
    else:
        _run(resolved, request, module_seeds, optimize_modules)


def _run(resolved: Any, request: StudyRequest, module_seeds: int, optimize_modules: bool) -> None:
    from phasewise.recipes.presets.outputs import RESULTS_FOLDER, write_preset_outputs
    from phasewise.recipes.presets.study import write_search_study

    output_dir, only = request.output_dir, resolved.settings.modules == "only"
    analysis, modules, earlier = None, None, list[Study]()
    if only or optimize_modules:
        loaded, optimum, analysis = _compare_modules(resolved, request, module_seeds)
        modules = analysis.modules(resolved.modules)
    if not only:
        earlier += [loaded] if analysis else []
        loaded = load_study(write_search_study(resolved, request, modules))
        optimum = _search(loaded, output_dir)
        if resolved.refine_trials:
            earlier.append(loaded)
            loaded, optimum = _refine(loaded, resolved.refine_trials, output_dir)
    unit = _only_unit(loaded)
    write_preset_outputs(
        resolved, loaded, unit, optimum, folder=output_dir, modules=analysis, earlier=earlier
    )
    typer.echo(steps.describe_verdict(loaded, optimum))
    typer.echo(
        f"S = {optimum.improvement or 0:+.4f} {optimum.metric}; see {output_dir / RESULTS_FOLDER}"
    )


def _announce(resolved: Any) -> None:
    """Says what the strategy leaves at the published default, and what it cannot search."""
    known = {"learning_rate", "num_train_epochs", "r"}
    missing = ", ".join(sorted(known - set(resolved.strategy.parameters)))
    if missing:
        typer.echo(
            f"strategy {resolved.strategy.name} does not search {missing}, which matter most: they "
            "hold the method's published default; see --fixed"
        )
    for parameter, why in resolved.strategy.left_out.items():
        typer.echo(f"not searched: {parameter}: {why}")


def _compare_modules(resolved: Any, request: StudyRequest, seeds: int) -> tuple[Study, Any, Any]:
    from phasewise.recipes.presets.module_analysis import analyse_modules
    from phasewise.recipes.presets.study import write_design_study

    only = resolved.settings.modules == "only"
    most = resolved.trials if only else None
    path, design = write_design_study(resolved, request, seeds=seeds, most_runs=most)
    loaded = load_study(path)
    optimum = _search(loaded, request.output_dir, prefix="modules_")
    analysis = analyse_modules(loaded, *_only_unit(loaded), design.parts)
    for part in analysis.effects.parts:
        low, high = part.interval
        typer.echo(f"{part.name}: {part.effect:+.4f} (95 % interval {low:+.4f} to {high:+.4f})")
    return loaded, optimum, analysis


def _refine(coarse: Study, trials: int, output_dir: Path) -> tuple[Study, Any]:
    """Searches narrowed ranges; returns that study and its optimum."""
    from phasewise.recipes.refinement.study import write_refined_study

    refined = load_study(write_refined_study(coarse.path, trials))
    typer.echo(f"refined search, {trials} trials around the best: {refined.path}")
    return refined, _search(refined, output_dir, prefix="refined_")


def _search(study: Study, output_dir: Path, prefix: str = "") -> Any:
    task, method = _only_unit(study)
    steps.tell_data(study)
    return steps.run_search(study, task, method, output_dir, prefix)


def _only_unit(study: Study) -> tuple[str, str]:
    units = study.units_of(ALL_SHARD)
    if len(units) > 1:
        names = ", ".join(task for task, _ in units)
        raise ConfigError(f"a preset searches one task: give --task, one of {names}")
    return units[0]


def _preview(
    resolved: Any, request: StudyRequest, seeds: int, optimize_modules: bool, *, pilot: bool
) -> None:
    from phasewise.recipes.presets.study import write_design_study, write_search_study

    only = resolved.settings.modules == "only"
    if only or optimize_modules:
        most = resolved.trials if only else None
        path, design = write_design_study(resolved, request, seeds=seeds, most_runs=most)
        typer.echo(f"{len(design.subsets)} configurations of {', '.join(design.parts)}")
        steps.preview(path, pilot=pilot)
    if not only:
        steps.preview(write_search_study(resolved, request), pilot=pilot)
        if resolved.refine_trials:
            typer.echo(f"then {resolved.refine_trials} trials in ranges narrowed around the best")
