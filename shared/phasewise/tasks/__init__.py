"""Tasks: read, check, split, tokenize once, score. Never imports ``phasewise.methods``."""
