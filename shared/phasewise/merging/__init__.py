"""Bringing the results of other machines into this clone: checked first, then copied."""

from phasewise.merging.copying import carry_out
from phasewise.merging.listing import ResultPaths
from phasewise.merging.manifest import Manifest, UnitSource, read_manifest
from phasewise.merging.planning import MergePlan, plan_merge
from phasewise.merging.sources import open_source

__all__ = [
    "Manifest",
    "MergePlan",
    "ResultPaths",
    "UnitSource",
    "carry_out",
    "open_source",
    "plan_merge",
    "read_manifest",
]
