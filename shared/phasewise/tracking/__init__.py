"""Tracking: a mirror of the runs in Weights & Biases; training never waits for it."""

from phasewise.tracking.marker import MirrorMarker, MirrorPlan, read_marker, run_id
from phasewise.tracking.process import TrackingProcess

__all__ = ["MirrorMarker", "MirrorPlan", "TrackingProcess", "read_marker", "run_id"]
