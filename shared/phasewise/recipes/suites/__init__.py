"""Suites: experiments over seeds (ablations) with database, plots and findings."""

TRAINING_COMMANDS = ("ablate", "experiment")
REGISTRIES = ("suites",)
USES = ("pilot",)
