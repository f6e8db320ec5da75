"""What a figure of the report is made of, and drawing it with the words that stand for it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, TypeVar

import plotly.graph_objects as go

from phasewise.figures.searched import SearchedTrials, collect_trials
from phasewise.figures.style import MethodStyle
from phasewise.report.evidence import UnitEvidence
from phasewise.settings import Study

#: What a figure is computed from: the evidence of a task, or of a unit with its search space.
Source = TypeVar("Source")
#: How it looks: the styles of all methods, or the one of the unit's method.
Look = TypeVar("Look")
Styles = Mapping[str, MethodStyle]


@dataclass(frozen=True)
class UnitSource:
    """What the figures of a unit are computed from."""

    study: Study
    unit: UnitEvidence

    @property
    def best(self) -> str | None:
        """Name of the best trial, which is brought out."""
        optimum = self.unit.optimum
        best = None if optimum is None else optimum.best_trial
        return next((r.config.name for r in self.unit.trials if r.config.index == best), None)

    @cached_property
    def trials(self) -> SearchedTrials:
        """The trials as points of the search space."""
        space = self.study.parameters_of(self.unit.method)
        return collect_trials(self.unit.trials, space, self.best)


@dataclass(frozen=True)
class Figure(Generic[Source, Look]):
    """One figure of the report: a row of the list in `figure_list`.

    The page, the PNG and SVG files and their captions are all made from it.
    """

    name: str  # of its files, before those of the task and the method
    title: str
    compute: Callable[[Source], Any]  # the value that the next ones get
    needs: Callable[[Any], object]  # false where there is nothing to show: it is left out
    draw: Callable[[Any, Look], go.Figure]
    describe: Callable[[Any], str]  # what it shows, for those who cannot see it
    note: Callable[[Any], str] | None = None  # how to read it, or what not to read it for
    wide: bool = False  # takes a whole row
    main: bool = False  # also written as a file unless all or none are asked for


@dataclass(frozen=True)
class Drawing:
    """A figure that was drawn, with the words that stand for it."""

    key: str
    title: str
    alternative: str
    figure: go.Figure
    wide: bool
    main: bool
    note: str


def draw_figures(
    figures: Sequence[Figure[Source, Look]], source: Source, look: Look, about: tuple[str, ...]
) -> tuple[Drawing, ...]:
    """Draws a list of figures; those that have nothing to show are left out.

    Args:
        figures: In the order of the page.
        source: What they are computed from.
        look: How they look.
        about: Task, or task and method.
    """
    values = [(figure, figure.compute(source)) for figure in figures]
    return tuple(
        Drawing(
            key="-".join([figure.name, *about]),
            title=figure.title,
            alternative=f"{'/'.join(about)}: {figure.describe(value)}",
            figure=figure.draw(value, look),
            wide=figure.wide,
            main=figure.main,
            note=figure.note(value) if figure.note else "",
        )
        for figure, value in values
        if figure.needs(value)
    )
