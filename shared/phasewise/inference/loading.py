"""Loads a model folder for use: ours or anyone's, an adapter, a merged or a whole model."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import torch
from transformers import AutoConfig

from phasewise.errors import ConfigError
from phasewise.inference.baseline_model import (
    BaselineRecord,
    load_classifier,
    read_baseline_record,
)
from phasewise.inference.final import LABELS_FILE
from phasewise.inference.given import ADAPTER_FILE, require_model
from phasewise.methods.base_config import quiet_loading
from phasewise.methods.dora import guard_dora
from phasewise.methods.models import load_base_model, load_tokenizer
from phasewise.methods.sources import resolve_model_path
from phasewise.records import RunRecord, read_record
from phasewise.settings import (
    CLASSIFIER,
    TASK_KINDS,
    MachineSettings,
    MethodSettings,
    ModelSettings,
    TaskSettings,
)
from phasewise.tasks.kinds import get_kind
from phasewise.training.device import autocast, choose_device, choose_precision

#: The only form that is loaded.
ADAPTER_WEIGHTS = "adapter_model.safetensors"
Device = Literal["auto", "cpu", "cuda"]
Quantization = Literal["none", "nf4", "int8"]

#: What the end of a config's architecture, and PEFT's task type, say of the class to load.
_CLASSES = {
    name: traits.auto_class
    for traits in TASK_KINDS.values()
    for name in (*traits.architectures, traits.peft_type)
}


@dataclass(frozen=True)
class ModelFolder:
    """What a folder says of its model, read without loading it.

    Attributes:
        folder: Holds the weights.
        auto_class: Name of the transformers class.
        base: The pretrained model that an adapter alters; the folder itself for a whole model.
        is_adapter: Whether the folder holds an adapter only.
        quantization: How the base was held when the adapter was trained.
        labels: Class names in label order; empty where there are none.
        record: Of the run that trained it; None for a model from elsewhere, or a baseline.
        baseline: Of a linear classifier on fixed features; None for a model that was fine-tuned.
    """

    folder: Path
    auto_class: str
    base: ModelSettings
    is_adapter: bool
    quantization: Quantization
    labels: tuple[str, ...]
    record: RunRecord | None
    baseline: BaselineRecord | None = None

    @property
    def task(self) -> TaskSettings | None:
        """The task that it was trained for; None for a model from elsewhere."""
        if self.baseline is not None:
            return self.baseline.task
        return None if self.record is None else self.record.config.unit_config.task


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to answer.

    Attributes:
        source: Where it comes from.
        model: In evaluation mode, on ``device``; of a baseline scikit-learn's pipeline.
        tokenizer: With a padding token.
        device: Where the model lies.
        context: Makes the autocast context, as in training.
    """

    source: ModelFolder
    model: Any
    tokenizer: Any
    device: torch.device
    context: Callable[[], AbstractContextManager[None]]


def read_model_folder(folder: Path) -> ModelFolder:
    """Returns what a folder says of its model.

    Raises:
        ConfigError: The folder is missing, or holds no model of a known kind.
    """
    require_model(folder)
    baseline = read_baseline_record(folder)
    if baseline is not None:
        base, names = baseline.model, baseline.task.labels
        return ModelFolder(folder, CLASSIFIER, base, False, "none", names, None, baseline)
    adapter = _read_adapter_config(folder)
    record = read_record(folder)
    if adapter is None:
        return _describe_whole(folder, record)
    _require_safetensors(folder)
    base = ModelSettings(
        source=str(adapter["base_model_name_or_path"]), revision=adapter.get("revision")
    )
    quantization: Quantization = "none"
    auto_class = _CLASSES.get(str(adapter.get("task_type")), "")
    if record is not None:
        unit = record.config.unit_config
        base, quantization = unit.model, unit.method.quantization
        auto_class = get_kind(unit.task).auto_class
    if not auto_class:
        known = " or ".join(traits.peft_type for traits in TASK_KINDS.values())
        raise ConfigError(
            f"{folder / ADAPTER_FILE}: task_type: expected {known}, got {adapter.get('task_type')}"
        )
    return ModelFolder(folder, auto_class, base, True, quantization, _labels(folder), record)


def find_model(folder: Path | None, base_model: str | None) -> ModelFolder:
    """Returns a folder's model on the base that is named, or a base model as it is.

    Args:
        folder: A model folder; None: ``base_model`` alone.
        base_model: Hub id, folder or package:NAME; None: the one that the adapter names.

    Raises:
        ConfigError: Neither is given, or a base is named for a folder that holds a whole model.
    """
    if folder is None and base_model is None:
        raise ConfigError("expected --model DIR, or --base-model for a base model as it is")
    if folder is None:
        return _describe_whole(
            Path(resolve_model_path(ModelSettings(source=str(base_model)))), None
        )
    source = read_model_folder(folder)
    if base_model is None:
        return source
    if not source.is_adapter:
        raise ConfigError(f"--base-model: {folder} holds a whole model, which stands on no base")
    named = {"source": base_model, "revision": None}
    return replace(source, base=source.base.model_copy(update=named))


def load_model(source: ModelFolder, device: Device = "auto", *, exact: bool = False) -> LoadedModel:
    """Returns the model of a folder with its tokenizer.

    Args:
        source: From ``read_model_folder``.
        device: Where it goes; ``auto``: the first GPU if there is one.
        exact: All weights and products in float32, quantized ones turned back into such.

    Raises:
        ConfigError: The base model cannot be found or loaded.
    """
    place = choose_device(MachineSettings(device=device))
    if device == "cuda" and place.type != "cuda":
        raise ConfigError("--device cuda: no CUDA GPU is visible; use auto or cpu")
    tokenizer = load_folder_tokenizer(source)
    if source.baseline is not None:
        return LoadedModel(source, load_classifier(source.folder), tokenizer, place, nullcontext)
    settings = source.base.model_copy(update={"dtype": "float32"}) if exact else source.base
    precision = choose_precision(settings, _method_of(source), place)
    names = dict(enumerate(source.labels))
    kwargs = {"id2label": names, "label2id": {v: k for k, v in names.items()}} if names else {}
    base = load_base_model(
        settings,
        auto_class=source.auto_class,
        kwargs=kwargs if source.is_adapter else {},
        tokenizer=tokenizer,
        quantization=source.quantization,
        dtype=precision.weights,
        compute_dtype=precision.products,
        device=place,
    )
    if exact and source.quantization != "none":
        base.model.dequantize(dtype=torch.float32)
    model = _add_adapter(base.model, source) if source.is_adapter else base.model
    if exact or source.quantization == "none":
        model.to(place)
    model.eval()
    return LoadedModel(source, model, tokenizer, place, partial(autocast, place, precision))


def load_folder_tokenizer(source: ModelFolder) -> Any:
    """Returns the tokenizer of a folder's model; an adapter may bring its own, or a template.

    Raises:
        ConfigError: See ``load_tokenizer``.
    """
    return load_tokenizer(source.base, source.folder if source.is_adapter else None)


def _add_adapter(base: Any, source: ModelFolder) -> Any:
    from peft import PeftModel

    try:
        with quiet_loading():
            model = PeftModel.from_pretrained(base, str(source.folder))
    except (OSError, RuntimeError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"{source.folder}: the adapter does not fit {source.base.source} ({reason})"
        ) from error
    guard_dora(model)
    return model


def _describe_whole(folder: Path, record: RunRecord | None) -> ModelFolder:
    """Of a whole model only the folder counts: cut layers and quantization are behind it."""
    dtype = record.config.unit_config.model.dtype if record else "auto"
    base = ModelSettings(source=str(folder), dtype=dtype)
    with quiet_loading():
        config = AutoConfig.from_pretrained(folder)
    names = getattr(config, "architectures", None) or ["none"]
    found = [value for key, value in _CLASSES.items() if names[0].endswith(key)]
    if not found:
        raise ConfigError(
            f"{folder / 'config.json'}: architectures: expected a model for sequence "
            f"classification, question answering or causal language modelling, got {names[0]}"
        )
    labels = tuple(config.id2label[index] for index in range(config.num_labels))
    is_classifier = found[0] == CLASSIFIER
    return ModelFolder(
        folder, found[0], base, False, "none", labels if is_classifier else (), record
    )


def _read_adapter_config(folder: Path) -> dict[str, Any] | None:
    file = folder / ADAPTER_FILE
    if not file.is_file():
        return None
    try:
        return cast("dict[str, Any]", json.loads(file.read_text(encoding="utf-8")))
    except ValueError as error:
        raise ConfigError(f"{file}: not JSON: {error}") from error


def _labels(folder: Path) -> tuple[str, ...]:
    """Returns the class names beside an adapter, which has no config to hold them."""
    record = read_record(folder)
    if record is not None:
        return record.config.unit_config.task.labels
    file = folder / LABELS_FILE
    if not file.is_file():
        return ()
    names = json.loads(file.read_text(encoding="utf-8"))["id2label"]
    return tuple(names[str(index)] for index in range(len(names)))


def _method_of(source: ModelFolder) -> MethodSettings:
    """Returns a method of the same precision: only weights that never train lie in bfloat16."""
    kind: Literal["lora", "full"] = "lora" if source.is_adapter else "full"
    return MethodSettings(name="loaded", kind=kind, space="", source="", defaults={})


def _require_safetensors(folder: Path) -> None:
    if (folder / ADAPTER_WEIGHTS).is_file():
        return
    pickled = sorted(file.name for file in folder.glob("*.bin"))
    found = f"got {', '.join(pickled)}" if pickled else "the folder has no weights"
    raise ConfigError(
        f"{folder}: expected {ADAPTER_WEIGHTS}, {found}; pickled weights can run code and are not "
        "read: save the adapter again with PEFT's save_pretrained"
    )
