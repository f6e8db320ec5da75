"""transformers' ``Trainer.hyperparameter_search`` with Optuna: ``… DIR [--bf16]``.

Threads: torch's default, all cores. The trials come from Optuna's grid sampler over their numbers.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from benchmarks.bench.peers.recipe import as_features, build_collator, build_model
from benchmarks.bench.trials import Trial, TrialList, read_trials, write_scores
from transformers import EvalPrediction, Trainer, TrainingArguments

NUMBER = "number"


def build_arguments(spec: TrialList, folder: str, *, bf16: bool) -> TrainingArguments:
    """Returns the settings that all trials share; checkpoints and logs are off."""
    return TrainingArguments(
        output_dir=folder,
        num_train_epochs=spec.epochs,
        warmup_steps=0.5,  # a share of all steps; a float here keeps the trials' values floats
        per_device_eval_batch_size=spec.evaluation_batch_size,
        eval_strategy="epoch",
        max_grad_norm=spec.max_grad_norm,
        seed=spec.seed,
        bf16=bf16,
        use_cpu=not torch.cuda.is_available(),
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        # Logits of a whole vocabulary are not kept where only the loss is asked for.
        prediction_loss_only=spec.metric == "eval_loss",
        log_level="error",
    )


def main() -> None:
    """Searches over the trials of a folder."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--bf16", action="store_true")
    options = parser.parse_args()
    spec = read_trials(options.folder)

    def space(trial: optuna.Trial) -> dict[str, Any]:
        chosen = choose(trial)
        return {
            "learning_rate": chosen.learning_rate,
            "per_device_train_batch_size": chosen.batch_size,
            "warmup_steps": chosen.warmup_ratio,
            "weight_decay": chosen.weight_decay,
            "lr_scheduler_type": chosen.lr_scheduler_type,
        }

    def choose(trial: optuna.Trial | None) -> Trial:
        if trial is None:  # the Trainer's constructor asks for a model too
            return spec.trials[0]
        return spec.trials[trial.suggest_categorical(NUMBER, range(len(spec.trials)))]

    def score(prediction: EvalPrediction) -> dict[str, float]:
        hits = np.argmax(prediction.predictions, axis=-1) == prediction.label_ids
        return {"accuracy": float(hits.mean())}

    with tempfile.TemporaryDirectory() as scratch:
        trainer = Trainer(
            args=build_arguments(spec, scratch, bf16=options.bf16),
            model_init=lambda trial: build_model(spec, choose(trial)),
            train_dataset=as_features(spec.train),
            eval_dataset=as_features(spec.search),
            data_collator=build_collator(spec),
            compute_metrics=score if spec.metric == "accuracy" else None,
        )
        storage = optuna.storages.InMemoryStorage()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        trainer.hyperparameter_search(
            hp_space=space,
            compute_objective=lambda metrics: metrics[f"eval_{spec.metric.removeprefix('eval_')}"],
            n_trials=len(spec.trials),
            direction="maximize" if spec.metric == "accuracy" else "minimize",
            backend="optuna",
            storage=storage,
            study_name="bench",
            sampler=optuna.samplers.GridSampler({NUMBER: list(range(len(spec.trials)))}, seed=0),
            pruner=optuna.pruners.NopPruner(),
        )
    study = optuna.load_study(study_name="bench", storage=storage)
    scores = {trial.params[NUMBER]: trial.value for trial in study.trials}
    write_scores(options.folder, [scores[number] for number in range(len(spec.trials))])


if __name__ == "__main__":
    main()
