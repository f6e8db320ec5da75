"""The names that search-space files use for hyperparameters, and ours."""

from collections.abc import Mapping
from typing import Any, Literal

from phasewise.settings.hyperparameters import OVERRULES

DocumentedSection = Literal["training", "lora", "data"]

#: Section of a documented file to its names of hyperparameters, and ours.
DOCUMENTED_NAMES: dict[DocumentedSection, dict[str, str]] = {
    "training": {
        "learning_rate": "learning_rate",
        "batch_size": "batch_size",
        "per_device_train_batch_size": "device_batch_size",
        "gradient_accumulation_steps": "gradient_accumulation_steps",
        "num_train_epochs": "epochs",
        "warmup_ratio": "warmup_ratio",
        "warmup_steps": "warmup_steps",
        "weight_decay": "weight_decay",
        "lr_scheduler_type": "lr_scheduler_type",
    },
    "lora": {
        "r": "lora_rank",
        "alpha": "lora_alpha",
        "alpha_over_r": "lora_alpha_over_rank",
        "dropout": "lora_dropout",
        "target_modules": "target_modules",
        "loraplus_lr_ratio": "loraplus_lr_ratio",
    },
    "data": {
        "max_length": "max_length",
        "sampling_strategy": "sampling",
        "class_weights": "class_weights",
    },
}
#: Other spellings that are understood in a section.
_SPELLINGS: dict[DocumentedSection, dict[str, str]] = {
    "training": {"epochs": "epochs"},
    "lora": {"rank": "lora_rank", "lora_r": "lora_rank"},
    "data": {"max_seq_length": "max_length", "block_size": "max_length"},
}
#: They change speed or logs, never a score: a search over them would rank noise.
WITHOUT_EFFECT = {
    "dataloader_num_workers",
    "preprocessing_num_workers",
    "deepspeed_config",
    "logging_steps",
    "save_steps",
}
#: Each draw would be scored on other examples, so that their scores could not be compared.
CHANGES_SCORED_SET = {"validation_split_percentage"}


def known_names(section: DocumentedSection) -> dict[str, str]:
    """Returns every name that a section takes, with ours."""
    ours = {name: name for name in DOCUMENTED_NAMES[section].values()}
    return {**ours, **_SPELLINGS[section], **DOCUMENTED_NAMES[section]}


def short_names() -> dict[str, str]:
    """Returns what an expression may call a hyperparameter: ``r``, ``alpha``, …"""
    return {
        short: name
        for section in DOCUMENTED_NAMES
        for short, name in known_names(section).items()
        if short != name
    }


def group_as_documented(hyperparameters: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Returns hyperparameters under ``training``, ``lora`` and ``data``, by their documented names.

    Empty sections and values of None are left out, and what another one overrules; alpha stays,
    which every other tool asks for.
    """
    overruled = {name for over, name in OVERRULES.items() if hyperparameters.get(over) is not None}
    overruled.discard("lora_alpha")
    if hyperparameters.get("device_batch_size") is None:  # it multiplies nothing
        overruled.add("gradient_accumulation_steps")
    grouped = {
        section: {
            documented: hyperparameters[name]
            for documented, name in names.items()
            if hyperparameters.get(name) is not None and name not in overruled
        }
        for section, names in DOCUMENTED_NAMES.items()
    }
    return {str(section): values for section, values in grouped.items() if values}
