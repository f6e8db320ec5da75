from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, set_seed

from phasewise.methods.models import BaseModel, load_base_model
from phasewise.settings import (
    REGISTRY,
    Hyperparameters,
    MethodSettings,
    ModelSettings,
    read_yaml,
)

AUTO_CLASS = "AutoModelForSequenceClassification"


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT with 2 layers of width 16, saved without its head."""
    set_seed(0)
    config = BertConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        vocab_size=50,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    folder = tmp_path_factory.mktemp("tiny_bert")
    BertForSequenceClassification(config).bert.save_pretrained(folder)
    return folder


@pytest.fixture
def load_tiny(tiny_folder: Path) -> Callable[..., BaseModel]:
    def load(
        quantization: str = "none",
        layers: int | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> BaseModel:
        model = ModelSettings(source=str(tiny_folder), layers=layers)
        return load_base_model(
            model,
            auto_class=AUTO_CLASS,
            kwargs={"num_labels": 3},
            tokenizer=None,
            quantization=quantization,  # type: ignore[arg-type]
            dtype=dtype,
        )

    return load


@pytest.fixture
def method_of() -> Callable[[str], MethodSettings]:
    def read(name: str) -> MethodSettings:
        return MethodSettings(**{"name": name, **read_yaml(REGISTRY / "methods" / f"{name}.yaml")})

    return read


@pytest.fixture
def hyperparameters() -> Hyperparameters:
    return Hyperparameters(
        learning_rate=1e-2, batch_size=4, epochs=1, lora_rank=4, lora_alpha=12, weight_decay=0.1
    )


@pytest.fixture
def batch() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(5, 50, (4, 7), generator=generator)
    return {"input_ids": ids, "labels": torch.tensor([0, 1, 2, 1])}
