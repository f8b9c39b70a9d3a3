"""Which test images to show: the most anomalous, misses, false alarms, typical ones."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from anomalae.errors import ConfigError
from anomalae.evaluation.metrics import Evaluation

Indices = npt.NDArray[np.intp]

# What each group of `pick` is, in words that hold whether or not its images were flagged.
TITLES = {
    "most_anomalous": "Highest scores",
    "misses": "Anomalies that look most normal",
    "false_alarms": "Normal images that look most anomalous",
    "typical": "Typical normal images",
}


def shown(evaluation: Evaluation, count: int) -> dict[str, Indices]:
    """Return the groups of `pick` that hold images, none twice: of normal images alone the highest scores are one.

    evaluation, count: as for `pick`.
    """
    picked = pick(evaluation, count)
    if not evaluation.n_anomalous:
        del picked["most_anomalous"]
    return {name: which for name, which in picked.items() if which.size}


def pick(evaluation: Evaluation, count: int) -> dict[str, Indices]:
    """Return positions of up to `count` test images of each group, in the order they are worth looking at.

    evaluation: of the test part.
    count: most images of a group, at least 1.

    Returns indices by group. `most_anomalous`: the highest scores of all; `misses`: the anomalies with the lowest
    scores; `false_alarms`: the normal images with the highest; `typical`: the normal images nearest to their median
    score. Misses and false alarms are such whatever the threshold: `evaluation.flagged` tells what was flagged. Of
    equal scores the earlier image comes first. A group is empty where the test part has no image of its kind.

    Raises ConfigError if count is below 1.
    """
    if count < 1:
        raise ConfigError(f"count {count}: must be at least 1")
    scores = evaluation.scores
    normal, anomalous = np.flatnonzero(~evaluation.is_anomaly), np.flatnonzero(evaluation.is_anomaly)
    middle = float(np.median(scores[normal])) if normal.size else 0.0
    keys = {
        "most_anomalous": (np.arange(scores.size), -scores),
        "misses": (anomalous, scores[anomalous]),
        "false_alarms": (normal, -scores[normal]),
        "typical": (normal, np.abs(scores[normal] - middle)),
    }
    return {name: among[np.argsort(key, kind="stable")[:count]] for name, (among, key) in keys.items()}
