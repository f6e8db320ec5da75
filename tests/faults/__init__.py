"""The fault table: what a study survives, each line tried many times; see ``__main__``."""
