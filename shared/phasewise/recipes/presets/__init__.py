"""Presets: the DoRA subset optimisation, a search by strategy, focus and module."""

TRAINING_COMMANDS = ("preset",)
REGISTRIES = ("presets", "strategies", "focuses")
USES = ("pilot",)
