"""A project of one's own, and its first study from a file of rows: ``phasewise init``."""
