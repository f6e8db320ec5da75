"""The commands that follow a study: train a final model, merge, predict, evaluate it."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from phasewise.cli.options import (
    DEFAULT_STUDY,
    LogOption,
    StudyOption,
    load_owned,
    only_task,
    require_unit,
)
from phasewise.errors import ConfigError
from phasewise.inference.given import find_models, read_final_optimum, require_model
from phasewise.summaries import LinearName
from phasewise.tasks.files import require_file

DeviceOption = Annotated[
    Literal["auto", "cpu", "cuda"],
    typer.Option(envvar="PHASEWISE_DEVICE", help="auto: the first GPU if there is one."),
]
LengthOption = Annotated[
    int | None, typer.Option(min=8, help="Tokens of a text. Default: the task's.")
]
BatchOption = Annotated[int, typer.Option(min=1, help="Rows per forward pass.")]
TextOption = Annotated[
    list[str] | None,
    typer.Option("--text", help="A text column; twice for a pair. Default: the task's."),
]


def train(
    output: Annotated[Path, typer.Option(help="Folder of the model; seed-00/ … with --seeds.")],
    optimal: Annotated[
        Path | None,
        typer.Option(
            help="analysis/{task}_{method}_optimal.yaml of the study. Default: what scored best on "
            "the search set, an optimum or a baseline."
        ),
    ] = None,
    baseline: Annotated[
        LinearName | None, typer.Option(help="Keep this baseline as the model instead.")
    ] = None,
    task: Annotated[
        str | None, typer.Option("--task", "-t", help="Without --optimal. Default: the only one.")
    ] = None,
    study: StudyOption = DEFAULT_STUDY,
    all_data: Annotated[
        bool,
        typer.Option("--all-data", help="Train on the search set too; not on the report set."),
    ] = False,
    seeds: Annotated[int, typer.Option(min=1, help="Models to train, for an ensemble.")] = 1,
    push_to_hub: Annotated[
        str | None, typer.Option(help="Upload to this repository (user/name), private.")
    ] = None,
    log: LogOption = None,
) -> None:
    """Train a final model with the optimum of a unit; a finished one is not trained again."""
    loaded = load_owned(study)
    if optimal is not None and (baseline is not None or task is not None):
        raise ConfigError("--optimal names task and method: leave out --task and --baseline")
    if optimal is not None:
        read_final_optimum(loaded, optimal)
    else:
        task = task or only_task(loaded)
        require_unit(loaded, task)
    from phasewise.inference.choice import rank_contenders
    from phasewise.tuning.progress import ProgressLog

    lines = ProgressLog("train", log)
    if optimal is None and baseline is None:
        ranked = rank_contenders(loaded, str(task))
        lines.write(f"on the search set: {', '.join(one.describe() for one in ranked)}")
        optimal, baseline = ranked[0].optimum, ranked[0].baseline
    if optimal is not None:
        from phasewise.inference.final import train_final

        folders = train_final(
            loaded, optimal, output, all_data=all_data, seeds=seeds, say=lines.write
        )
    if baseline is not None:
        from phasewise.inference.baseline_model import train_baseline

        train_baseline(loaded, str(task), baseline, output, all_data=all_data, say=lines.write)
        folders = [output]
    for folder in folders:
        typer.echo(str(folder))
    if push_to_hub is not None:
        from phasewise.inference.publishing import push_to_hub as push

        lines.write(f"uploaded to {push(output, push_to_hub)}")


def merge_adapter(
    adapter: Annotated[Path, typer.Option(help="A model folder that holds an adapter.")],
    output: Annotated[Path, typer.Option(help="New folder for the whole model.")],
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16"], typer.Option(help="Of the written weights.")
    ] = "float32",
    device: DeviceOption = "auto",
) -> None:
    """Merge an adapter into its base model; the result loads in plain transformers."""
    require_model(adapter)
    from phasewise.inference.merging import merge_adapter as merge

    merged = merge(adapter, output, dtype=dtype, device=device)
    base = "dequantized base" if merged.was_quantized else "base"
    typer.echo(
        f"{merged.folder}: adapter merged into its {base}; "
        f"largest difference of a logit {merged.difference:.1e} (relative)"
    )


def predict(
    source: Annotated[Path, typer.Option("--input", help="CSV, TSV, JSONL or Parquet.")],
    output: Annotated[Path, typer.Option(help="CSV file to write.")],
    folders: Annotated[
        list[Path] | None, typer.Argument(help="With --ensemble: the models to average.")
    ] = None,
    model: Annotated[Path | None, typer.Option(help="Model folder.")] = None,
    ensemble: Annotated[
        bool, typer.Option("--ensemble", help="Average the probabilities of several models.")
    ] = False,
    text: TextOption = None,
    id_column: Annotated[
        str | None,
        typer.Option("--id", help="Column of the ids. Default: `id`, else rows count from 0."),
    ] = None,
    column: Annotated[
        str, typer.Option(help="Name of a probability column, from {label} and {index}.")
    ] = "{label}",
    batch_size: BatchOption = 32,
    max_length: LengthOption = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(min=1, help="Tokens of a response. Default: the task's.")
    ] = None,
    allow_empty: Annotated[
        bool, typer.Option("--allow-empty", help="Predict empty texts rather than refuse them.")
    ] = False,
    probabilities_only: Annotated[
        bool, typer.Option("--probabilities-only", help="Leave out the most likely class.")
    ] = False,
    device: DeviceOption = "auto",
    log: LogOption = None,
) -> None:
    """Predict a file's rows, in its order: class and probabilities, or answers of decoders."""
    models = find_models(_choose_models(model, folders or [], ensemble=ensemble))
    require_file(source)
    from phasewise.inference.predicting import predict_file
    from phasewise.tuning.progress import ProgressLog

    lines = ProgressLog("predict", log)
    report = predict_file(
        models,
        source,
        output,
        text=text or (),
        id_column=id_column,
        column=column,
        batch_size=batch_size,
        max_length=max_length,
        max_new_tokens=max_new_tokens,
        allow_empty=allow_empty,
        probabilities_only=probabilities_only,
        device=device,
        say=lines.write,
    )
    mean = f", mean of {report.models} models" if report.models > 1 else ""
    lines.write(
        f"{report.truncated:,} of {report.rows:,} texts are longer than {report.max_length} "
        "tokens and were cut"
    )
    typer.echo(f"{output}: {report.rows:,} rows{mean}")


def _choose_models(model: Path | None, folders: list[Path], *, ensemble: bool) -> list[Path]:
    models = [*([model] if model else []), *folders]
    if not models:
        raise ConfigError("expected --model DIR, or --ensemble DIR1 DIR2 …; got no model")
    if folders and not ensemble:
        raise ConfigError(
            f"got {', '.join(map(str, folders))} without a flag; expected --model DIR, "
            "or --ensemble DIR1 DIR2 …"
        )
    return models
