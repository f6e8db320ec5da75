"""A method's adapter as PEFT configures it: any of PEFT's classes, from YAML alone."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from peft import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING, PeftConfig
from transformers.pytorch_utils import Conv1D

from phasewise.errors import ConfigError, suggest_nearest
from phasewise.methods.models import find_head
from phasewise.methods.modules import find_target_modules
from phasewise.settings import TASK_KINDS, Hyperparameters, MethodSettings
from phasewise.settings.method import placeholder

#: transformers class to PEFT's task type.
_TASK_TYPES = {traits.auto_class: traits.peft_type for traits in TASK_KINDS.values()}
_CLASSES: dict[str, type[PeftConfig]] = {
    kind.value: config for kind, config in PEFT_TYPE_TO_CONFIG_MAPPING.items()
}


def check_adapter(method: MethodSettings) -> None:
    """Checks that PEFT has the adapter of a method, and every key of its configuration.

    Raises:
        ConfigError: It does not; the nearest right name is given.
    """
    adapter = method.adapter
    if not adapter:
        return
    kind = adapter["type"]
    if kind not in _CLASSES:
        raise ConfigError(
            f"methods.{method.name}.peft.type: PEFT has no '{kind}'"
            f"{suggest_nearest(kind, _CLASSES)}"
        )
    known = _fields(kind)
    for key in adapter:
        if key != "type" and key not in known:
            raise ConfigError(
                f"methods.{method.name}.peft: unknown key '{key}' of PEFT's "
                f"{_CLASSES[kind].__name__}{suggest_nearest(key, known)}"
            )
    tuner = {each.value: found for each, found in PEFT_TYPE_TO_TUNER_MAPPING.items()}.get(kind)
    if hasattr(tuner, "update_and_allocate"):
        raise ConfigError(
            f"methods.{method.name}.peft.type: {kind} has to be told of every step, which no "
            "engine does; expected a type that trains by its gradients alone"
        )


def build_adapter_config(
    model: Any,
    fresh_modules: Sequence[str],
    method: MethodSettings,
    hyperparameters: Hyperparameters,
    auto_class: str,
) -> PeftConfig:
    """Returns PEFT's configuration of a run's adapter.

    Args:
        model: The transformers model that it will alter.
        fresh_modules: What is saved beside the adapter: without its head it would score at chance.
        method: From a method's file.
        hyperparameters: Of the run.
        auto_class: As in ``load_base_model``.

    Raises:
        ConfigError: PEFT does not know the adapter so, it cannot save a head, or the model has no
            layer that ``target_modules`` names.
    """
    check_adapter(method)
    kind = method.adapter["type"]
    known = _fields(kind)
    if fresh_modules and "modules_to_save" not in known:
        raise ConfigError(
            f"method '{method.name}': PEFT's {kind} cannot save a fresh head, which {auto_class} "
            "has; expected another type, or a task of kind instruction"
        )
    # A language model's pretrained head is no layer of its body either.
    exclude = (*fresh_modules, *find_head(model))

    def find_layers(group: str) -> list[str]:
        return find_target_modules(model, group, exclude=exclude, in_full=fresh_modules)

    targets = find_layers(hyperparameters.target_modules)
    values: dict[str, Any] = {
        "task_type": _TASK_TYPES.get(auto_class),
        "modules_to_save": list(fresh_modules),
        "fan_in_fan_out": isinstance(model.get_submodule(targets[0]), Conv1D),
    }
    for key, value in method.adapter.items():
        name = placeholder(value)
        if name == "target_modules":
            values[key] = targets
        elif name is not None:
            values[key] = getattr(hyperparameters, name)
        elif isinstance(value, dict) and set(value) == {"layers"}:
            values[key] = [layer for layer in find_layers(value["layers"]) if layer in targets]
        else:
            values[key] = value
    try:
        return _CLASSES[kind](**{key: value for key, value in values.items() if key in known})
    except (TypeError, ValueError) as error:
        raise ConfigError(f"method '{method.name}': PEFT refuses it: {error}") from error


def _fields(kind: str) -> list[str]:
    return [field.name for field in fields(_CLASSES[kind])]
