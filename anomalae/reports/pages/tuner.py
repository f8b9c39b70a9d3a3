"""What the page needs to judge the images again at another threshold: the scores themselves, and a slider's stops."""

from __future__ import annotations

from typing import Any

import numpy as np

from anomalae.evaluation.metrics import Evaluation

# Stops of the slider.
STOPS = 1000


def stops(
    scores: np.ndarray, is_anomaly: np.ndarray | None = None, threshold: float | None = None
) -> list[float]:
    """Return thresholds of the slider's positions, STOPS + 1 of them, ascending: from all images flagged to none.

    They lie by rank, normal and anomalous images together having the same weight, so that each step changes the
    rates by about as much, whatever the scale of the scores.

    scores: (N,), higher = more anomalous.
    is_anomaly: bool (N,); None where the truth is not known.
    threshold: is one of the stops, where there is one.
    """
    weights = np.ones(scores.shape)
    if is_anomaly is not None:
        for kind in (is_anomaly, ~is_anomaly):
            weights[kind] /= max(int(kind.sum()), 1)
    order = np.argsort(scores, kind="stable")
    reached = np.cumsum(weights[order]) / weights.sum()
    wanted = np.arange(1, STOPS + 1) / STOPS
    places = np.minimum(np.searchsorted(reached, wanted - 1e-9), scores.size - 1)
    thresholds = np.concatenate([[np.nextafter(scores.min(), -np.inf)], scores[order][places]])
    thresholds[-1] = scores.max()
    if threshold is not None and thresholds[0] < threshold < thresholds[-1]:
        # The last one flags nothing.
        thresholds[min(int(np.searchsorted(thresholds, threshold)), STOPS - 1)] = threshold
    return [float(value) for value in thresholds]


def of_evaluation(evaluation: Evaluation) -> dict[str, Any]:
    """Return for the page, JSON-able, the scores of each class, ascending, exactly as they are."""
    names = evaluation.names
    if names is None:
        names = np.where(evaluation.is_anomaly, "anomalous", "normal")
    groups = []
    for name in dict.fromkeys(names.tolist()):
        scores = np.sort(evaluation.scores[names == name])
        anomalous = bool(evaluation.is_anomaly[names == name][0])
        groups.append({"name": name, "anomalous": anomalous, "scores": scores.tolist()})
    return {
        "threshold": evaluation.threshold,
        "stops": stops(evaluation.scores, evaluation.is_anomaly, evaluation.threshold),
        "groups": groups,
    }


def of_scores(scores: np.ndarray, threshold: float | None) -> dict[str, Any]:
    """Return the same as `of_evaluation` where the truth is not known: one group."""
    group = {"name": "images", "anomalous": None, "scores": np.sort(scores).tolist()}
    return {"threshold": threshold, "stops": stops(scores, None, threshold), "groups": [group]}
