"""Contestants made of transformers' Trainer, with the defaults that it brings."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from benchmarks.quality.contestants import SEARCH_SHARE, Terms
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    EvalPrediction,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

_MAX_LENGTH = 128


class _Deadline(TrainerCallback):  # type: ignore[misc]
    def __init__(self, deadline: float) -> None:
        self._deadline = deadline

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        control.should_training_stop = time.monotonic() > self._deadline


class _Kit:
    """Features, labels and a trainer's other parts."""

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        self.tokenizer = AutoTokenizer.from_pretrained(terms.model)
        self.labels = sorted(terms.train["label"].unique())
        self.rows = self._features(terms.train)
        self.unlabeled = self._features(terms.test)

    def _features(self, rows: Any) -> list[dict[str, Any]]:
        columns = [list(rows[name]) for name in self.terms.texts]
        encoded = self.tokenizer(*columns, truncation=True, max_length=_MAX_LENGTH)
        features = [
            dict(zip(encoded, row, strict=True)) for row in zip(*encoded.values(), strict=True)
        ]
        if "label" in rows:
            for feature, label in zip(features, rows["label"], strict=True):
                feature["labels"] = self.labels.index(label)
        return features

    def build_model(self, _: Any = None) -> Any:
        return AutoModelForSequenceClassification.from_pretrained(
            self.terms.model, num_labels=len(self.labels)
        )

    def trainer(self, rows: Any, held: Any = None, *, until: float, **arguments: Any) -> Trainer:
        return Trainer(
            model_init=self.build_model,
            args=TrainingArguments(
                output_dir=str(self.terms.folder / "trainer"), use_cpu=True, save_strategy="no",
                eval_strategy="epoch" if held else "no", report_to="none", logging_strategy="no",
                disable_tqdm=True, **{"seed": self.terms.seed, **arguments},
            ),
            train_dataset=rows,
            eval_dataset=held,
            data_collator=DataCollatorWithPadding(self.tokenizer),
            compute_metrics=_accuracy,
            callbacks=[_Deadline(until)],
        )  # fmt: skip

    def split(self) -> tuple[list[Any], list[Any]]:
        order = np.random.default_rng(self.terms.seed).permutation(len(self.rows))
        held = max(len(self.rows) // 5, 20)
        return [self.rows[i] for i in order[held:]], [self.rows[i] for i in order[:held]]

    def predict(self, trainer: Trainer) -> list[str]:
        classes = trainer.predict(self.unlabeled).predictions.argmax(-1)
        return [str(self.labels[each]) for each in classes]


def _accuracy(prediction: EvalPrediction) -> dict[str, float]:
    return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}


def published_default(terms: Terms) -> list[str]:
    """One full fine-tuning as transformers' run_glue example has it: 2e-5, 3 epochs, batch 32."""
    kit = _Kit(terms)
    trainer = kit.trainer(
        kit.rows, until=terms.deadline, learning_rate=2e-5, num_train_epochs=3,
        per_device_train_batch_size=32,
    )  # fmt: skip
    trainer.train()
    return kit.predict(trainer)


def _search(terms: Terms, backend: str, options: Callable[[], dict[str, Any]]) -> list[str]:
    kit = _Kit(terms)
    rows, held = kit.split()
    share = terms.deadline - (1 - SEARCH_SHARE) * terms.seconds
    searcher = kit.trainer(rows, held, until=share)
    best = searcher.hyperparameter_search(
        direction="maximize", backend=backend, n_trials=1000,
        compute_objective=lambda metrics: metrics["eval_accuracy"], **options(),
    )  # fmt: skip
    found = {**best.hyperparameters, "seed": int(best.hyperparameters["seed"])}  # Ray's is 12.3
    final = kit.trainer(kit.rows, until=terms.deadline, **found)
    final.train()
    return kit.predict(final)


def optuna_search(terms: Terms) -> list[str]:
    """``Trainer.hyperparameter_search`` with its default space, then the best on all rows."""
    return _search(terms, "optuna", lambda: {"timeout": SEARCH_SHARE * terms.seconds})


def ray_search(terms: Terms) -> list[str]:
    """The same by Ray Tune with ASHA and the default space of that backend."""
    from ray.tune.schedulers import ASHAScheduler

    def options() -> dict[str, Any]:
        return {
            "scheduler": ASHAScheduler(metric="objective", mode="max", max_t=5),
            "time_budget_s": SEARCH_SHARE * terms.seconds,
            "resources_per_trial": {"cpu": 1},
        }

    return _search(terms, "ray", options)
