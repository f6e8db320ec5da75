"""The model card (README.md) of a final model: what it is, how good, how to load it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phasewise.methods.sources import resolve_model_path
from phasewise.model_files import PACKAGE_PREFIX
from phasewise.records import RunRecord, write_atomically
from phasewise.settings import HubSource
from phasewise.statistics import Interval
from phasewise.summaries import Optimum, ScoreSummary
from phasewise.tasks.kinds import get_kind
from phasewise.tuning.optimum import meaningful_hyperparameters

CARD_FILE = "README.md"


@dataclass(frozen=True)
class CardFacts:
    """What the card says.

    Attributes:
        record: Of the run that trained the model.
        optimum: Whose hyperparameters it has.
        train_rows: Examples it was trained on.
        report: Scores of the same configuration on the report set, over Phase 2's seeds; None if
            Phase 2 has not been run.
        interval: 95 % interval of their mean; None below two seeds.
    """

    record: RunRecord
    optimum: Optimum
    train_rows: int
    report: ScoreSummary | None
    interval: Interval | None


def write_card(folder: Path, facts: CardFacts) -> None:
    """Writes ``README.md`` into a model's folder, atomically."""
    import jinja2

    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(
        loader=loader, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    unit = facts.record.config.unit_config
    text = environment.get_template("model_card.md.jinja").render(
        metadata=_metadata(facts),
        unit=unit,
        optimum=facts.optimum,
        report=facts.report,
        interval=facts.interval,
        train_rows=facts.train_rows,
        hyperparameters=meaningful_hyperparameters(
            facts.record.config.hyperparameters, unit.method
        ),
        record=facts.record,
        auto_class=get_kind(unit.task).auto_class,
        base=_public_base(facts.record),
        loading_arguments=loading_arguments(facts.record),
        quantization=_quantization(folder, facts.record),
    )
    write_atomically(folder / CARD_FILE, text)


_QUANTIZATION = {
    "nf4": 'load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True',
    "int8": "load_in_8bit=True",
}


def _quantization(folder: Path, record: RunRecord) -> str | None:
    """Returns the constructor that holds the base as in training: all but the adapter's head."""
    arguments = _QUANTIZATION.get(record.config.unit_config.method.quantization)
    if arguments is None:
        return None
    adapter = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    heads = adapter.get("modules_to_save") or []
    return f"BitsAndBytesConfig({arguments}, llm_int8_skip_modules={heads!r})"


def loading_arguments(record: RunRecord) -> dict[str, Any]:
    """Returns what plain ``from_pretrained`` must be told of the base model besides its name."""
    unit = record.config.unit_config
    kwargs = {k: v for k, v in get_kind(unit.task).model_kwargs(unit.task).items() if v}
    if unit.model.layers is not None:
        kwargs["num_hidden_layers"] = unit.model.layers
    return kwargs


def _public_base(record: RunRecord) -> str:
    """Returns the base model by its public name, or where it lies on this machine."""
    model = record.config.unit_config.model
    if model.source.startswith(PACKAGE_PREFIX):
        return resolve_model_path(model)
    return model.source


def _metadata(facts: CardFacts) -> str:
    """Returns the YAML that the hub reads; the license is the user's to state."""
    from huggingface_hub import EvalResult, ModelCardData

    unit, optimum = facts.record.config.unit_config, facts.optimum
    source = unit.task.source
    dataset = source.path if isinstance(source, HubSource) else unit.task.name
    adapter, on_hub = unit.method.trains_adapter, _is_hub_id(unit.model.source)
    results = None
    if facts.report is not None and facts.report.mean is not None:
        results = [
            EvalResult(
                task_type=unit.task.traits.pipeline_tag,
                dataset_type=dataset,
                dataset_name=f"{unit.task.name}, report set",
                metric_type=optimum.metric,
                metric_value=round(facts.report.mean, 6),
                metric_name=f"{optimum.metric}, mean of {len(facts.report.scores)} seeds",
            )
        ]
    data = ModelCardData(
        base_model=unit.model.source if on_hub else None,
        library_name="peft" if adapter else "transformers",
        pipeline_tag=unit.task.traits.pipeline_tag,
        datasets=[source.path] if isinstance(source, HubSource) else None,
        tags=["phasewise", unit.method.name],
        model_name=f"{unit.study}-{unit.task.name}-{unit.method.name}",
        eval_results=results,
        ignore_metadata_errors=False,
    )
    return str(data.to_yaml())


def _is_hub_id(source: str) -> bool:
    return not source.startswith(PACKAGE_PREFIX) and not Path(source).expanduser().is_dir()
