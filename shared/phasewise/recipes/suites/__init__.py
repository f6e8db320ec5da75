"""Suites: experiments over seeds (ablations) with database, plots and findings."""

TRAINING_COMMANDS = ("ablate",)
REGISTRIES = ("suites",)
USES = ("pilot",)
