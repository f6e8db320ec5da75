"""Optional compiled kernels for one CPU thread; each has a reference in PyTorch that equals it."""
