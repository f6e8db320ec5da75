"""A pilot: short measured runs, and what they let one expect: ``phasewise plan --pilot``."""
