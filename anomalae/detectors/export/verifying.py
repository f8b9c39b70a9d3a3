"""Whether an exported model scores here as when it was exported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from anomalae.detectors.export.engine import OnnxDetector
from anomalae.detectors.probe import made_images
from anomalae.errors import BundleError
from anomalae.text import plural


@dataclass(frozen=True)
class ModelVerification:
    """How an exported model scores images that are no one's.

    path: of the file.
    run: name of the run that it was made from.
    n_images: number of images.
    difference: the largest from the score that it had when it was exported, in standard deviations of the calibration
        scores.
    tolerance: of that difference.
    """

    path: Path
    run: str
    n_images: int
    difference: float
    tolerance: float

    @property
    def sound(self) -> bool:
        """Whether it scores as when it was exported."""
        return self.difference <= self.tolerance

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-able values."""
        return {
            "model": str(self.path),
            "run": self.run,
            "sound": self.sound,
            "n_images": self.n_images,
            "largest_difference": self.difference,
            "tolerance": self.tolerance,
        }

    def in_words(self) -> list[tuple[str, str]]:
        """Return what was checked, and in words what was found."""
        if self.difference == 0:
            words = "the same bits as when it was exported"
        else:
            words = f"differ by up to {self.difference:.1e} standard deviations; tolerance {self.tolerance:g}"
        return [
            ("model", f"{self.path}, of run {self.run or 'unknown'}"),
            ("probe", f"{plural(self.n_images, 'image')}: {words}"),
            ("verdict", "sound" if self.sound else "does not score as when it was exported"),
        ]


def verify_model(path: str | Path, *, threads: int | None = None) -> ModelVerification:
    """Run an exported model on made images, whose scores it keeps.

    path: of the file.
    threads: as for `OnnxDetector`.

    Raises BundleError for a file that is no such model, ConfigError where onnxruntime is not installed.
    """
    model = OnnxDetector(path, threads=threads)
    images = made_images()
    # Not by the readers of pictures: these are canonical.
    scores = model.run((model.measured,), images)[0]
    try:
        kept = np.array(model.told["probe"], np.float64)
        spread, tolerance = float(model.told["compared"]["spread"]), float(model.told["tolerance"])
        # What is no number is no small difference.
        difference = float(np.nan_to_num(np.abs(scores - kept), nan=np.inf).max() / spread)
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        raise BundleError(
            f"{model.path}: its metadata do not say how it scored when it was exported"
        ) from None
    return ModelVerification(model.path, model.name, len(images), difference, tolerance)
