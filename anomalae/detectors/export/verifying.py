"""Whether an exported model scores here as when it was exported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from anomalae.detectors.export.engine import CHANGED, SAME, UNKNOWN, OnnxDetector
from anomalae.detectors.probe import made_images
from anomalae.errors import BundleError
from anomalae.text import plural

_STATES = {
    SAME: "as it was exported, by its SHA-256",
    CHANGED: "its SHA-256 is another than when it was exported",
    UNKNOWN: "has no SHA-256 of itself, as those of before there was any: no change of it is seen",
}


@dataclass(frozen=True)
class ModelVerification:
    """How an exported model scores images that are no one's.

    path: of the file.
    run: name of the run that it was made from.
    state: whether it is as it was exported; see `OnnxDetector`.
    n_images: number of images.
    difference: the largest from the score that it had when it was exported, in standard deviations of the calibration
        scores.
    tolerance: of that difference.
    """

    path: Path
    run: str
    state: str
    n_images: int
    difference: float
    tolerance: float

    @property
    def sound(self) -> bool:
        """Whether it is as it was exported, as far as that is known, and scores as it did then."""
        return self.state != CHANGED and self.difference <= self.tolerance

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-able values."""
        return {
            "model": str(self.path),
            "run": self.run,
            "sound": self.sound,
            "state": self.state,
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
        verdict = "sound"
        if self.difference > self.tolerance:
            verdict = "does not score as when it was exported"
        elif not self.sound:
            verdict = "was changed after it was exported: what it says of itself may be wrong"
        return [
            ("model", f"{self.path}, of run {self.run or 'unknown'}"),
            ("file", _STATES[self.state]),
            ("probe", f"{plural(self.n_images, 'image')}: {words}"),
            ("verdict", verdict),
        ]


def verify_model(path: str | Path, *, threads: int | None = None) -> ModelVerification:
    """Run an exported model on made images, whose scores it keeps.

    path: of the file.
    threads: as for `OnnxDetector`.

    Raises BundleError for a file that is no such model, ConfigError where onnxruntime is not installed.
    """
    model = OnnxDetector(path, threads=threads, checked=False)
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
    return ModelVerification(model.path, model.name, model.state, len(images), difference, tolerance)
