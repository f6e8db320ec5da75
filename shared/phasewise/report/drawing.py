"""A figure of the report with the words that stand for it."""

from dataclasses import dataclass

import plotly.graph_objects as go


@dataclass(frozen=True)
class Drawing:
    """A figure with the words that stand for it."""

    key: str
    title: str
    alternative: str  # what it shows, for those who cannot see it
    figure: go.Figure
    wide: bool = False  # takes a whole row
    main: bool = False  # also written as a file unless all or none are asked for
    note: str = ""  # how to read it, or what it must not be read for
