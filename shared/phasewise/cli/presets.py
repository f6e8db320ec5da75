"""``phasewise preset``: the DoRA subset optimisation, a search by strategy and by module."""

from pathlib import Path
from typing import Annotated, Any

import typer

from phasewise.cli import asking
from phasewise.errors import ConfigError
from phasewise.settings import ALL_SHARD, Study, load_study
from phasewise.settings.presets import load_preset
from phasewise.tuning.derived_study import StudyRequest


def preset(
    name: Annotated[str, typer.Argument(help="A name of `phasewise list presets`.")],
    output_dir: asking.OutputDir = Path("subset_optimization_results"),
    study: asking.StudySource = None,
    base_model: asking.ModelSource = None,
    task: asking.TaskName = None,
    dataset: asking.DatasetFile = None,
    layers: asking.Layers = None,
    train_rows: asking.TrainRows = None,
    search_rows: asking.SearchRows = None,
    report_rows: asking.ReportRows = None,
    max_length: asking.MaxLength = None,
    device: asking.Device = None,
    seed: asking.Seed = None,
    fixed: asking.Fixed = None,
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
    dry_run: asking.DryRun = False,
    estimate: asking.Estimate = False,
) -> None:
    """Run a preset: a strategy's parameters, modules by design; run it again to resume."""
    given = dict(locals())
    from phasewise.tuning.preset_study import resolve_preset, write_search_study

    if module_seeds == 2:
        raise ConfigError("--module-seeds 2: expected 1, or 3 and more")
    resolved = resolve_preset(load_preset(name), trials)
    request = asking.gather(given)
    _announce(resolved)
    only = resolved.settings.modules == "only"
    if dry_run or estimate:
        _preview(resolved, request, module_seeds, optimize_modules, pilot=estimate)
        return
    analysis, modules = None, None
    if only or optimize_modules:
        loaded, optimum, analysis = _compare_modules(resolved, request, module_seeds)
        modules = analysis.modules(resolved.modules)
    if not only:
        loaded = load_study(write_search_study(resolved, request, modules))
        optimum = _search(loaded, output_dir)
    from phasewise.report.preset_outputs import RESULTS_FOLDER, write_preset_outputs

    unit = _only_unit(loaded)
    write_preset_outputs(resolved, loaded, unit, optimum, folder=output_dir, modules=analysis)
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
    from phasewise.report.module_analysis import analyse_modules
    from phasewise.tuning.preset_study import write_design_study

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


def _search(study: Study, output_dir: Path, prefix: str = "") -> Any:
    task, method = _only_unit(study)
    asking.tell_data(study)
    return asking.run_search(study, task, method, output_dir, prefix)


def _only_unit(study: Study) -> tuple[str, str]:
    units = study.units_of(ALL_SHARD)
    if len(units) > 1:
        names = ", ".join(task for task, _ in units)
        raise ConfigError(f"a preset searches one task: give --task, one of {names}")
    return units[0]


def _preview(
    resolved: Any, request: StudyRequest, seeds: int, optimize_modules: bool, *, pilot: bool
) -> None:
    from phasewise.tuning.preset_study import write_design_study, write_search_study

    only = resolved.settings.modules == "only"
    if only or optimize_modules:
        most = resolved.trials if only else None
        path, design = write_design_study(resolved, request, seeds=seeds, most_runs=most)
        typer.echo(f"{len(design.subsets)} configurations of {', '.join(design.parts)}")
        asking.preview(path, pilot=pilot)
    if not only:
        asking.preview(write_search_study(resolved, request), pilot=pilot)
