"""Alters a pretrained model as a method says, and builds the optimizer that trains it."""

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft import PeftModel, get_peft_model
from peft.optimizers import create_loraplus_optimizer
from torch import nn

from phasewise.errors import ConfigError
from phasewise.methods.adapter_config import build_adapter_config
from phasewise.methods.base_config import quiet_loading
from phasewise.methods.copying import copy_module
from phasewise.methods.dora import guard_dora
from phasewise.methods.fresh import initialize_fresh
from phasewise.methods.models import BaseModel, share_weights
from phasewise.methods.modules import find_biases
from phasewise.settings import Hyperparameters, MethodSettings, OptimizerName


class ModelSize(NamedTuple):
    """Numbers of weights; bytes on disk of those that train."""

    trainable_parameters: int
    total_parameters: int
    trainable_bytes: int


def adapt_model(
    base: BaseModel, method: MethodSettings, hyperparameters: Hyperparameters, auto_class: str
) -> Any:
    """Returns a trainable copy of a base model; the base stays as it was.

    Frozen weights are shared with the base, not copied. The head and the adapters are drawn from
    torch's global generator: seed it first. Trained weights are float32.

    Args:
        base: From ``load_base_model``.
        method: What trains.
        hyperparameters: Rank, alpha, dropout and target modules of an adapter.
        auto_class: As in ``load_base_model``.

    Raises:
        ConfigError: The model has no layer that ``target_modules`` names, nothing would train, or
            PEFT cannot train it there.
    """
    _check_fits(base, method, auto_class)
    model = _copy_model(base, method)
    for name in base.fresh_modules:
        initialize_fresh(model, model.get_submodule(name).float())
    if method.trains_adapter:
        model = _add_adapter(model, base.fresh_modules, method, hyperparameters, auto_class)
    else:
        model.requires_grad_(method.traits.trains_base)
        for weight in _own_weights(model, base.fresh_modules, method):
            weight.requires_grad_(True)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return model


def build_optimizer(
    model: nn.Module,
    method: MethodSettings,
    hyperparameters: Hyperparameters,
    trained: Sequence[nn.Parameter] | None = None,
    kind: OptimizerName = "adamw",
) -> torch.optim.Optimizer:
    """Returns AdamW over the weights that train.

    Only matrices decay: not biases, norms, nor DoRA's magnitudes. With LoRA+ (arXiv 2402.12354)
    B learns ``loraplus_lr_ratio`` times as fast as A.

    Args:
        model: From ``adapt_model``.
        method: What trains.
        hyperparameters: Rates and decay.
        trained: What trains, if it has been looked for before: that takes half a millisecond.
        kind: The form of AdamW; bitsandbytes holds moments of 4,096 weights and more in 8 bits.
    """
    optimizer_class, arguments = _find_optimizer(kind)
    rate, decay = hyperparameters.learning_rate, hyperparameters.weight_decay
    if method.use_loraplus:
        optimizer: torch.optim.Optimizer = create_loraplus_optimizer(
            model,
            optimizer_class,
            lr=rate,
            loraplus_lr_ratio=hyperparameters.loraplus_lr_ratio,
            loraplus_weight_decay=decay,
        )
        return optimizer
    if trained is None:
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return optimizer_class([g for g in groups if g["params"]], lr=rate, **arguments)


def measure_weights(weights: Sequence[nn.Parameter]) -> ModelSize:
    """Returns how large a model is and how much of it trains; 4-bit weights count as weights."""
    trained = [weight for weight in weights if weight.requires_grad]
    return ModelSize(
        trainable_parameters=sum(p.numel() for p in trained),
        total_parameters=sum(map(_count, weights)),
        trainable_bytes=sum(p.numel() * p.element_size() for p in trained),
    )


def save_model(model: Any, folder: Path, state: dict[str, Any] | None = None) -> None:
    """Writes the adapter with its head, or the whole model, so that the folder is never partial.

    Args:
        model: From ``adapt_model``.
        folder: Where; replaced if it is there.
        state: The weights, where the model holds a part of them only.
    """
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        write_model(model, temporary, state)
        for file in temporary.iterdir():
            file.chmod(0o644)  # safetensors writes 0600
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _find_optimizer(
    kind: OptimizerName,
) -> tuple[Callable[..., torch.optim.Optimizer], dict[str, Any]]:
    """Returns the class of a form of AdamW, and what it takes beside rate and decay."""
    if kind == "adamw":
        return torch.optim.AdamW, {"fused": True}
    from bitsandbytes.optim import AdamW8bit, PagedAdamW8bit

    return (AdamW8bit if kind == "adamw_8bit" else PagedAdamW8bit), {}


def write_model(model: Any, folder: Path, state: dict[str, Any] | None = None) -> None:
    """Writes the files of the adapter with its head, or of the whole model; see ``save_model``."""
    if isinstance(model, PeftModel):
        # The default asks the hub whether the vocabulary has grown; ours never does.
        model.save_pretrained(folder, save_embedding_layers=False, state_dict=state)
    else:
        model.save_pretrained(folder, state_dict=state)


def _check_fits(base: BaseModel, method: MethodSettings, auto_class: str) -> None:
    kind = method.traits
    trains_head_only = not (kind.trains_adapter or kind.trains_biases or kind.trains_base)
    if trains_head_only and not base.fresh_modules:
        raise ConfigError(
            f"method '{method.name}' trains a fresh head only, and {auto_class} has none; "
            "expected a method that trains an adapter or every weight"
        )
    if kind.trains_biases and not find_biases(base.model, base.fresh_modules):
        raise ConfigError(
            f"method '{method.name}' trains bias vectors, and a {base.model.config.model_type} "
            "model has none; expected a method that trains an adapter"
        )
    on_cpu = base.model.device.type == "cpu"
    if method.use_dora and method.quantization == "int8" and on_cpu:
        raise ConfigError(
            f"method '{method.name}': PEFT's DoRA loses the scales of int8 weights on a CPU; "
            "use quantization: nf4, or a GPU"
        )


def _copy_model(base: BaseModel, method: MethodSettings) -> Any:
    """Returns a copy in which all weights that never change are the base's own."""
    if method.traits.copies_base:
        return copy_module(base.model, {})
    shared = share_weights(base.model)
    for weight in _own_weights(base.model, base.fresh_modules, method):
        shared.pop(id(weight), None)
    return copy_module(base.model, shared)


def _own_weights(
    model: Any, fresh_modules: tuple[str, ...], method: MethodSettings
) -> list[nn.Parameter]:
    """Returns the weights that each run has to itself, be they few: fresh ones, and biases."""
    modules = [model.get_submodule(name) for name in fresh_modules]
    own = [weight for module in modules for weight in module.parameters()]
    if method.traits.trains_biases:
        own += find_biases(model, fresh_modules).values()
    return own


def _add_adapter(
    model: Any,
    fresh_modules: tuple[str, ...],
    method: MethodSettings,
    hyperparameters: Hyperparameters,
    auto_class: str,
) -> Any:
    config = build_adapter_config(model, fresh_modules, method, hyperparameters, auto_class)
    try:
        with quiet_loading():
            adapted = get_peft_model(model, config)
    except (NotImplementedError, TypeError, ValueError) as error:
        raise ConfigError(f"method '{method.name}': PEFT cannot add it: {error}") from error
    guard_dora(adapted)
    return adapted


def _count(parameter: nn.Parameter) -> int:
    """Two 4-bit weights lie in one byte."""
    packed = getattr(parameter, "quant_state", None) is not None
    return parameter.numel() * parameter.element_size() * 2 if packed else parameter.numel()
