"""Figures and pictures. The only place that knows matplotlib, which is imported when one is made; never torch.

Figures are `matplotlib.figure.Figure`, made without pyplot: no window, no global state. `save` and `svg` write them.
"""

from anomalae.plots.curves import pr, roc
from anomalae.plots.distributions import calibration, scores
from anomalae.plots.epochs import history
from anomalae.plots.pictures import (
    GAP,
    HEAT,
    ZOOM,
    Pixels,
    gray,
    grid,
    heat,
    heat_scale,
    heat_strip,
    reconstructions,
    samples,
    walk,
)
from anomalae.plots.spaces import latent, principal_plane
from anomalae.plots.style import frames, save, svg
from anomalae.plots.tables import classes, matrix

__all__ = [
    "GAP",
    "HEAT",
    "ZOOM",
    "Pixels",
    "calibration",
    "classes",
    "frames",
    "gray",
    "grid",
    "heat",
    "heat_scale",
    "heat_strip",
    "history",
    "latent",
    "matrix",
    "pr",
    "principal_plane",
    "reconstructions",
    "roc",
    "samples",
    "save",
    "scores",
    "svg",
    "walk",
]
