"""What a run makes of one image, step by step, as a page shows it."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from anomalae import files, plots
from anomalae.detectors.detector import Detector
from anomalae.detectors.judging import Judge
from anomalae.errors import ConfigError
from anomalae.images.sources import Canonical
from anomalae.server.batching import Batcher
from anomalae.server.limits import RefusedError
from anomalae.server.uploads import Uploaded
from anomalae.settings import DEFAULT_ALPHA

# Calibration scores that a page is told, evenly from the least to the largest.
TOLD = 201
# Codes further from 0 than this are no place of any prior.
FARTHEST = 1e6


def looked(detector: Detector, judge: Judge, uploaded: Uploaded, batcher: Batcher) -> dict[str, Any]:
    """Return the verdict of the first image that was uploaded, and what leads to it, JSON-able.

    How many there were is told beside: what holds several shows only the first of them.
    Pictures are PNG of 28 x 28 in data URIs: the image as it was brought to canonical form, as the first network sees
    it, its reconstruction, the heatmap, and the nearest training images where the run keeps them.
    """
    image = uploaded.images[0]
    one = Canonical(image[None])
    alpha = judge.alpha or DEFAULT_ALPHA
    score = float(batcher.score(detector, judge.rule, image[None])[0])
    calibration = judge.calibration
    p_value = judge.verdicts(np.array([score]))[0][0]

    def pictures() -> dict[str, Any]:
        level = detector.heatmap_level(alpha, judge.rule, calibration=judge.calibrated_by)
        heat = plots.heat(detector.heatmap(one, judge.rule)[0], plots.heat_scale(level))
        nearest = detector.nearest(one)[0] if detector.settings.neighbours else []
        code = detector.encode(one)[0].tolist() if detector.settings.kind.density else None
        return {
            "canonical": _png(image),
            "seen": _png(_levels(detector.seen(one)[0])),
            "reconstruction": _png(_levels(detector.reconstruct(one)[0])),
            "heatmap": _png(heat),
            "heat_note": detector.heatmap_note(judge.rule),
            "nearest": [_png(neighbour) for neighbour in nearest],
            "code": code,
        }

    places = np.linspace(0, len(calibration) - 1, min(TOLD, len(calibration))).round().astype(int)
    return {
        "score": score,
        "p_value": p_value,
        "flagged": p_value <= alpha,
        "alpha": alpha,
        "threshold": judge.threshold,
        "rule": judge.rule,
        "n_calibration": len(calibration),
        "folds": detector.data.folds if judge.calibrated_by is None else 0,
        "calibration": calibration[places].tolist(),
        "blank": not image.any(),
        "n_images": len(uploaded.names),
        **batcher.call(pictures),
    }


def decoded(detector: Detector, code: list[float], batcher: Batcher) -> dict[str, str]:
    """Return the image at a place of the latent space, as PNG in a data URI.

    code: no further from 0 than FARTHEST. Raises RefusedError where the run's codes are of another length.
    """
    try:
        image = batcher.call(lambda: detector.decode(np.array([code]))[0])
    except ConfigError as error:
        raise RefusedError(422, str(error)) from None
    return {"image": _png(_levels(image))}


def _levels(image: np.ndarray) -> np.ndarray:
    return (image * 255).round().astype(np.uint8)


def _png(pixels: np.ndarray) -> str:
    return "data:image/png;base64," + base64.b64encode(files.png_bytes(pixels)).decode()
