"""Recipes: ready-made kinds of study beside the core, each with its settings, study and command."""
