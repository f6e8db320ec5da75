"""Fine-tuning studies: baselines, hyperparameter search, multi-seed validation and a report."""

__version__ = "0.1.0"
