"""Images of a run's test part or of files, with what the model makes of them."""

from __future__ import annotations

import numpy as np

from anomalae.datasets.load import Part
from anomalae.detectors.detector import Detector
from anomalae.evaluation import examples
from anomalae.evaluation.metrics import Evaluation
from anomalae.images.sources import Canonical
from anomalae.reports.content import Gallery, Picture

# Pictures of each kind.
PICTURES = 12
NOTES = {
    "most_anomalous": "The highest scores of the whole test part.",
    "misses": "The anomalies with the lowest scores: the model rebuilds them best.",
    "false_alarms": "The normal images with the highest scores.",
    "typical": "The normal images nearest to the median score of normals.",
}


def pictures(
    detector: Detector,
    images: np.ndarray,
    names: list[str],
    scores: np.ndarray,
    p_values: np.ndarray | None,
    flagged: np.ndarray,
    labels: np.ndarray | None = None,
    is_anomaly: np.ndarray | None = None,
    rule: str | None = None,
) -> tuple[Picture, ...]:
    """Return pictures of judged images, with reconstruction and heatmap.

    images: uint8 (N, 28, 28).
    names, scores, p_values, flagged, labels, is_anomaly: of the images, (N,) each.
    rule: of the heatmaps; None is the run's own.
    """
    if not len(images):
        return ()
    prepared = Canonical(images)
    rebuilt, terms = detector.reconstruct(prepared), detector.heatmap(prepared, rule)
    return tuple(
        Picture(
            name=name,
            score=float(scores[i]),
            p_value=None if p_values is None else float(p_values[i]),
            flagged=bool(flagged[i]),
            label=None if labels is None else str(labels[i]),
            is_anomaly=None if is_anomaly is None else bool(is_anomaly[i]),
            image=images[i],
            reconstruction=rebuilt[i],
            terms=terms[i],
        )
        for i, name in enumerate(names)
    )


def galleries(detector: Detector, evaluation: Evaluation, test: Part) -> tuple[Gallery, ...]:
    """Return the galleries of a run's test part; one without images is left out."""
    filled = []
    for name, chosen in examples.shown(evaluation, PICTURES).items():
        p_values = None if evaluation.p_values is None else evaluation.p_values[chosen]
        shown = pictures(
            detector,
            test.images[chosen],
            [f"test image {index}" for index in chosen],
            evaluation.scores[chosen],
            p_values,
            evaluation.flagged[chosen],
            # One class is told by none of its images.
            test.labels[chosen] if evaluation.has_classes else None,
            evaluation.is_anomaly[chosen],
        )
        filled.append(Gallery(examples.TITLES[name], NOTES[name], shown))
    return tuple(filled)
