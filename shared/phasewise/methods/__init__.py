"""Methods: load a pretrained model and alter it. Never imports ``phasewise.tasks``."""
