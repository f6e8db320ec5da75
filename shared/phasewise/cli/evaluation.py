"""``phasewise evaluate``: its options, and the tables it prints."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from phasewise.cli.models import BatchOption, DeviceOption, LengthOption, TextOption
from phasewise.cli.options import DEFAULT_STUDY, StudyOption, require_unit
from phasewise.errors import ConfigError
from phasewise.inference.given import require_model
from phasewise.settings import load_study
from phasewise.tasks.files import require_file

if TYPE_CHECKING:
    from phasewise.inference.evaluating import Evaluation


def _asked(text: str, *names: str, **limits: Any) -> Any:
    """Declares an option that says what is measured."""
    return typer.Option(*names, help=text, rich_help_panel="What is measured", **limits)


ModelFolderOption = Annotated[
    Path | None,
    typer.Option("--model", "--checkpoint", help="Model folder: adapter, merged or whole model."),
]
BaseModelOption = Annotated[
    str | None,
    typer.Option(
        help="Hub id, folder or package:NAME: an adapter's base instead of the one it names; "
        "without --model the base model itself is evaluated."
    ),
]
ReportTask = Annotated[str | None, _asked("Score this task's report set.", "--task", "-t")]
LabeledFile = Annotated[
    Path | None,
    _asked("Labeled file to score (causal model: texts, perplexity).", "--input", "--dataset"),
]
BenchmarkOnly = Annotated[bool, _asked("Only the prompt suite.", "--benchmark-only")]
PromptSuite = Annotated[
    Path | None, _asked("Prompt suite (YAML). Default: the one that comes along.", "--prompts")
]
ProfileInference = Annotated[
    bool, _asked("Measure tokens/s, latency, memory.", "--profile-inference")
]
HarnessTasks = Annotated[str | None, _asked("Harness tasks or task YAMLs, by comma.", "--lm-eval")]
HarnessInclude = Annotated[
    Path | None, _asked("Folder of further harness tasks, such as ELMB's.", "--lm-eval-include")
]
HarnessLimit = Annotated[
    int | None, _asked("First so many rows of each harness task.", "--lm-eval-limit", min=1)
]
PredictionsFile = Annotated[
    Path | None, typer.Option(help="JSONL for what the model said of each labeled row.")
]
ResultFile = Annotated[
    Path | None, typer.Option(help="JSON file. Default: evaluation.json in the model folder.")
]


def evaluate(
    model: ModelFolderOption = None,
    base_model: BaseModelOption = None,
    task: ReportTask = None,
    source: LabeledFile = None,
    study: StudyOption = DEFAULT_STUDY,
    benchmark_only: BenchmarkOnly = False,
    prompts: PromptSuite = None,
    profile_inference: ProfileInference = False,
    lm_eval: HarnessTasks = None,
    lm_eval_include: HarnessInclude = None,
    lm_eval_limit: HarnessLimit = None,
    text: TextOption = None,
    batch_size: BatchOption = 32,
    max_length: LengthOption = None,
    predictions: PredictionsFile = None,
    output: ResultFile = None,
    device: DeviceOption = "auto",
) -> None:
    """Evaluate a model: metrics, prompt suite, speed and memory, harness tasks."""
    if task is not None and source is not None:
        raise ConfigError("expected --task or --input, got both")
    if benchmark_only and (task or source or lm_eval):
        raise ConfigError("--benchmark-only runs the prompt suite alone; leave it out for the rest")
    loaded = load_study(study) if task is not None else None
    if loaded is not None and task is not None:
        require_unit(loaded, task)
    if model is not None:
        require_model(model)
    if source is not None:
        require_file(source)
    from phasewise.inference.evaluating import EVALUATION_FILE, EvaluationRequest, evaluate_model
    from phasewise.inference.prompts import DEFAULT_SUITE

    if output is None and model is not None:
        output = model / EVALUATION_FILE
    elif output is None:
        raise ConfigError("--output FILE: without --model there is no folder for the result")
    request = EvaluationRequest(
        source=source,
        study=loaded,
        task=task,
        text=text or (),
        suite=prompts or (DEFAULT_SUITE if benchmark_only else None),
        profile=profile_inference,
        harness=[name for name in (lm_eval or "").split(",") if name],
        harness_include=lm_eval_include,
        harness_limit=lm_eval_limit,
        batch_size=batch_size,
        max_length=max_length,
        device=device,
        predictions=predictions,
    )
    console = Console()
    for table in _draw(evaluate_model(model, request, output, base_model=base_model)):
        console.print(table)
    console.print(f"wrote {output}", soft_wrap=True, highlight=False)


def _draw(result: "Evaluation") -> list[Table]:
    tables = []
    if result.scores is not None:
        title = f"{result.scores.name}, {result.scores.rows:,} rows"
        told = "\n".join(result.scores.notes)
        table = Table("metric", "value", "standard error", title=title, caption=told)
        for metric, value in result.scores.metrics.items():
            table.add_row(metric, f"{value:.4f}", _show(result.scores.standard_errors.get(metric)))
        table.add_row("texts cut", str(result.scores.truncated), "")
        tables.append(table)
    if result.perplexity is not None:
        tables.append(_draw_numbers("perplexity", result.perplexity.model_dump()))
    if result.profile is not None:
        tables.append(_draw_numbers(f"inference on {result.device}", result.profile.model_dump()))
    if result.prompts:
        tables.append(_draw_prompts(result))
    if result.harness:
        table = Table("task", "metric", "value", "standard error", "rows", title="lm-eval")
        for each in result.harness:
            table.add_row(
                each.task,
                each.metric,
                f"{each.value:.4f}",
                _show(each.standard_error),
                str(each.rows or ""),
            )
        tables.append(table)
    return tables


def _show(error: float | None) -> str:
    return "" if error is None else f"{error:.4f}"


def _draw_numbers(title: str, values: dict[str, float]) -> Table:
    table = Table("measure", "value", title=title)
    for name, value in values.items():
        table.add_row(name, f"{value:,}" if isinstance(value, int) else f"{value:,.2f}")
    return table


def _draw_prompts(result: "Evaluation") -> Table:
    checked = [answer.right for answer in result.prompts if answer.right is not None]
    speed = 0.0 if result.generation is None else result.generation.tokens_per_second
    title = f"prompts: {sum(checked)} of {len(checked)} right, {speed:.1f} tokens/s"
    table = Table("prompt", "category", "right", "first token, ms", "answer", title=title)
    for answer in result.prompts:
        right = {None: "", True: "yes", False: "no"}[answer.right]
        said = " ".join(answer.answer.split())
        shown = f"{said[:60]}…" if len(said) > 60 else said
        table.add_row(answer.name, answer.category, right, f"{answer.first_token_ms:.0f}", shown)
    return table
