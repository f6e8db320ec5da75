"""What all peers share: model, rows, batches. No code of Phasewise is used."""

from typing import Any

import torch
import transformers
from benchmarks.bench.trials import Row, Trial, TrialList
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoTokenizer, DataCollatorForTokenClassification, set_seed
from transformers.data.data_collator import DataCollatorWithPadding
from transformers.utils import logging

logging.set_verbosity_error()
logging.disable_progress_bar()


def build_model(spec: TrialList, trial: Trial) -> Any:
    """Returns the pretrained model with a trial's adapters, float32; a classifier's head is new."""
    set_seed(spec.seed)
    config = AutoConfig.from_pretrained(spec.model)
    if spec.classes is not None:
        config.num_labels = spec.classes
    if spec.layers is not None:
        config.num_hidden_layers = spec.layers
    if config.pad_token_id is None:
        config.pad_token_id = config.eos_token_id
    base = getattr(transformers, spec.auto_class).from_pretrained(
        spec.model, config=config, dtype=torch.float32
    )
    adapter = LoraConfig(
        task_type=spec.task_type,
        r=trial.lora_rank,
        lora_alpha=trial.lora_alpha,
        lora_dropout=trial.lora_dropout,
        target_modules=list(spec.targets),
        use_dora=spec.use_dora,
    )
    return get_peft_model(base, adapter)


def build_collator(spec: TrialList) -> Any:
    """Returns what pads a batch to its longest row; targets a token with -100."""
    tokenizer = AutoTokenizer.from_pretrained(spec.model)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if spec.classes is not None:
        return DataCollatorWithPadding(tokenizer)
    return DataCollatorForTokenClassification(tokenizer)


def as_features(rows: tuple[Row, ...]) -> list[dict[str, Any]]:
    """Returns the rows as the collators take them."""
    return [row._asdict() for row in rows]
