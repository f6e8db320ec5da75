"""Search algorithms side by side, and those of other libraries (HyperOpt, OpenBox)."""
