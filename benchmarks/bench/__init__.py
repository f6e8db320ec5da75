"""The same trials through Phasewise and through what users would pick instead, side by side.

``make bench`` runs it; ``python -m benchmarks.bench --help`` names what it can do.
"""
