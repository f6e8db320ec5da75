"""What transformers' Trainer is asked for: a run's settings, in its words."""

from transformers import TrainingArguments

from phasewise.training.shares import choose_strategy, let_cpus_shard
from phasewise.training.training_run import TrainingRun
from phasewise.training.warm import WarmParts


def build_arguments(run: TrainingRun, warm: WarmParts) -> TrainingArguments:
    """Returns the Trainer's arguments; it neither prints, nor logs, nor evaluates by itself."""
    config, device, training = run.job.config, warm.device, run.job.config.unit_config.training
    hyperparameters = config.hyperparameters
    arguments = TrainingArguments(
        output_dir=str(run.job.folder),
        num_train_epochs=hyperparameters.epochs,
        per_device_train_batch_size=run.micro_batch_size,
        gradient_accumulation_steps=hyperparameters.batch_size // run.micro_batch_size,
        learning_rate=hyperparameters.learning_rate,
        warmup_steps=hyperparameters.warmup,  # below 1 it is a share of all steps
        lr_scheduler_type=hyperparameters.schedule,
        max_grad_norm=training.max_grad_norm,
        seed=(config.seeds.init + warm.ranks.rank) % 2**32,  # each rank drops out by its own draws
        use_cpu=device.type == "cpu",
        remove_unused_columns=False,
        dataloader_pin_memory=device.type == "cuda",
        eval_strategy="no",
        save_strategy="no",
        logging_strategy="no",
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        log_level="error",
        **choose_strategy(
            warm.ranks, run.model, checkpoints_activations=training.gradient_checkpointing
        ),
    )
    let_cpus_shard(arguments)
    arguments._n_gpu = min(arguments.n_gpu, 1)  # a worker has one GPU, whatever else is visible
    return arguments
