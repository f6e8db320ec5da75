"""Tuning: the search for a unit's hyperparameters; imports no torch, trains only through a pool."""
