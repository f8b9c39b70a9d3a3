"""Figures and pictures. The only place that knows matplotlib, which is imported when one is made; never torch.

Figures are matplotlib's, made without pyplot: no window, no global state. A notebook shows the one a cell ends with;
`save` and `svg` write them. Those of one panel take `ax=`, axes of a figure of your own; that figure is then returned.

>>> from anomalae import evaluate, plots
>>> evaluation = evaluate([0.1, 0.4, 0.3, 0.9], is_anomaly=[False, False, True, True])
>>> plots.svg(plots.roc(evaluation))[:4]
'<svg'
"""

from anomalae.plots.curves import pr, roc
from anomalae.plots.distributions import calibration, scores
from anomalae.plots.epochs import history
from anomalae.plots.pictures import (
    gray,
    heat,
    heat_scale,
    heat_strip,
    reconstructions,
    samples,
    strip,
    walk,
)
from anomalae.plots.series import (
    Series,
    bars,
    decoded_lines,
    densities,
    differences,
    dots,
    film,
    lines,
    points,
    spreads,
    tiles,
)
from anomalae.plots.spaces import latent, principal_plane
from anomalae.plots.streams import drift
from anomalae.plots.style import save, svg
from anomalae.plots.tables import classes, matrix

__all__ = [
    "Series",
    "bars",
    "calibration",
    "classes",
    "decoded_lines",
    "densities",
    "differences",
    "dots",
    "drift",
    "film",
    "gray",
    "heat",
    "heat_scale",
    "heat_strip",
    "history",
    "latent",
    "lines",
    "matrix",
    "points",
    "pr",
    "principal_plane",
    "reconstructions",
    "roc",
    "samples",
    "save",
    "scores",
    "spreads",
    "strip",
    "svg",
    "tiles",
    "walk",
]


def __dir__() -> list[str]:
    return __all__
