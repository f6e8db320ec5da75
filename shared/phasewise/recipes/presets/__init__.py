"""Presets: the DoRA subset optimization, a search by strategy, focus and module."""

TRAINING_COMMANDS = ("preset",)
REGISTRIES = ("presets", "strategies", "focuses")
USES = ("pilot",)
