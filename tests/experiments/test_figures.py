"""The figures of a run are those that the command line offers; `tests/plots` looks at what they show."""

from __future__ import annotations

from anomalae.cli.commands import plot
from anomalae.experiments import figures


def test_the_command_offers_every_figure():
    assert tuple(figures.FIGURES) == plot.FIGURES
    assert set(figures.EVALUATED) < set(figures.FIGURES)
