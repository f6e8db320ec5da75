"""A search of files instead of a study: ``phasewise search --train-file …``."""

USES = ("refinement",)
