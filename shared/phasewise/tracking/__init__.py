"""Tracking: a mirror of the records in Weights & Biases; training never waits for it."""

from phasewise.tracking.process import TrackingProcess
from phasewise.tracking.wandb_mirror import MirrorMarker, MirrorPlan, read_marker, run_id

__all__ = ["MirrorMarker", "MirrorPlan", "TrackingProcess", "read_marker", "run_id"]
