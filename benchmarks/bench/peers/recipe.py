"""What all peers share: model, tokenised rows, batches. No code of Phasewise is used."""

from typing import Any

import torch
from benchmarks.bench.trials import Row, Trial, TrialList
from datasets import Dataset
from peft import LoraConfig, TaskType, get_peft_model
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    set_seed,
)
from transformers.utils import logging

logging.set_verbosity_error()
logging.disable_progress_bar()


def build_model(spec: TrialList, trial: Trial) -> Any:
    """Returns the pretrained model with a trial's adapters and a fresh head, float32."""
    set_seed(spec.seed)
    config = AutoConfig.from_pretrained(spec.model, num_labels=len(spec.labels))
    if spec.layers is not None:
        config.num_hidden_layers = spec.layers
    if config.pad_token_id is None:
        config.pad_token_id = config.eos_token_id
    base = AutoModelForSequenceClassification.from_pretrained(
        spec.model, config=config, dtype=torch.float32
    )
    adapter = LoraConfig(
        task_type=TaskType.SEQ_CLS,
        r=trial.lora_rank,
        lora_alpha=trial.lora_alpha,
        lora_dropout=trial.lora_dropout,
        target_modules=list(spec.targets),
        use_dora=spec.use_dora,
    )
    return get_peft_model(base, adapter)


def load_tokenizer(spec: TrialList) -> Any:
    """Returns the model's tokenizer; a decoder without a pad token gets its end token."""
    tokenizer = AutoTokenizer.from_pretrained(spec.model)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def tokenise(spec: TrialList, tokenizer: Any, rows: tuple[Row, ...]) -> Dataset:
    """Returns the rows as token ids, not padded."""
    encoded = tokenizer([row.text for row in rows], truncation=True, max_length=spec.max_length)
    return Dataset.from_dict({**encoded, "labels": [row.label for row in rows]})


def build_collator(tokenizer: Any) -> DataCollatorWithPadding:
    """Returns what pads a batch to its longest row."""
    return DataCollatorWithPadding(tokenizer)
