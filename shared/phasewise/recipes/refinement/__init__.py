"""Coarse, then refined: ``search.refine_from`` narrows ranges around an earlier search."""
