"""Presets: the DoRA subset optimization, a search by strategy, focus and module."""

TRAINING_COMMANDS = ("preset",)
REGISTRIES = ("presets", "strategies", "focuses")
LISTED_KEYS = (("presets", "strategy"), ("presets", "trials"), ("presets", "time"))
USES = ("pilot", "refinement")
