"""The ``packed`` engine: many runs advance together over one shared, frozen base model."""
