"""Who ends with the better model after the same time, on rows that no tool has seen?

``python -m benchmarks.quality``: each contestant gets the same labeled rows as a CSV file, the same
pretrained model and the same seconds, and writes the classes of the same unlabeled rows. How it
divides its time and its rows is its own affair, as its documentation has it.
"""
