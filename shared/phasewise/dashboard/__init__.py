"""A study as a live page: what `report` shows, while it still runs."""
