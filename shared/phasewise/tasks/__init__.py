"""Tasks: read, check, split, tokenise once, score. Never imports ``phasewise.methods``."""
