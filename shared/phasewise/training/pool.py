"""Placeholder for the interface; the training helper writes it."""
