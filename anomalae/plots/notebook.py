"""The figure that is returned: matplotlib's, which a notebook shows though pyplot was never imported."""

from __future__ import annotations

import io

from matplotlib.figure import Figure as MatplotlibFigure


class Figure(MatplotlibFigure):
    """A matplotlib figure that is its own picture at the end of a notebook's cell."""

    def _repr_png_(self) -> bytes:
        """The figure as PNG, by which IPython shows it."""
        from anomalae.plots.style import styled

        file = io.BytesIO()
        styled(self.savefig)(file, format="png", dpi=self.dpi, metadata={"Software": None})
        return file.getvalue()
