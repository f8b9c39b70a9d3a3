"""Scores and the truth turned into honest numbers: ROC-AUC, average precision, rates, each class, intervals.

Knows no model and no file. Anomalies are the positives throughout, and a higher score is more anomalous.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from anomalae.errors import ConfigError, DataError
from anomalae.evaluation import described
from anomalae.evaluation.checks import (
    Bools,
    Floats,
    check_counts,
    check_fraction,
    check_probabilities,
    check_truth,
    class_names,
    real_array,
)
from anomalae.evaluation.delong_covariance import disjoint_pairs
from anomalae.evaluation.intervals import Interval, delong_interval
from anomalae.lazy import Deferred
from anomalae.text import natural_order

# Who only reads what was measured, as the list of runs does, need not wait for it.
sklearn_metrics = Deferred("sklearn.metrics")


@dataclass(frozen=True)
class ClassResult:
    """Numbers of the images of one anomalous class against all the normal images.

    n: images of the class.
    roc_auc: in [0, 1]; None without normal images.
    roc_auc_interval: lo, hi.

    >>> evaluate([0.1, 0.4, 0.8], [False, True, True], labels=["a", "b", "c"]).per_class["b"].roc_auc
    1.0
    """

    n: int
    roc_auc: float | None
    roc_auc_interval: Interval | None


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Numbers that `evaluate` makes of scores. A number that the data cannot give (one kind of image only) is None.

    roc_auc: in [0, 1]; P(anomaly scores above normal) + P(they tie) / 2.
    roc_auc_interval: lo, hi; `delong_interval`.
    average_precision: in (0, 1]; chance gives the prevalence, so read them together.
    prevalence: share of anomalies, in [0, 1].
    fpr_at_95_tpr: smallest false-positive rate at which TPR >= 0.95.
    alpha: the false-alarm rate that the threshold was made for.
    threshold: an image is flagged if its score is above it.
    false_alarm_rate: flagged share of the normal images; None without a threshold.
    detection_rate: flagged share of the anomalies; None without a threshold.
    n_normal, n_anomalous: numbers of images.
    per_class: anomalous classes in natural order; empty without labels.
    scores: float64 (N,), higher = more anomalous.
    is_anomaly: bool (N,).
    labels: (N,); None where there are none.
    p_values: (N,) in [0, 1]; None where there are none.

    >>> evaluation = evaluate([0.1, 0.4, 0.8], [False, False, True], threshold=0.5)
    >>> evaluation.roc_auc, evaluation.flagged.tolist()
    (1.0, [False, False, True])
    """

    roc_auc: float | None
    roc_auc_interval: Interval | None
    average_precision: float | None
    prevalence: float
    fpr_at_95_tpr: float | None
    alpha: float
    threshold: float | None
    false_alarm_rate: float | None
    detection_rate: float | None
    n_normal: int
    n_anomalous: int
    per_class: dict[str, ClassResult]
    scores: Floats
    is_anomaly: Bools
    labels: npt.NDArray[Any] | None
    p_values: Floats | None

    def __repr__(self) -> str:
        return described.line(self)

    def _repr_html_(self) -> str:
        return described.card(self)

    @property
    def flagged(self) -> Bools:
        """Whether each image's score is above the threshold: bool (N,), all False without a threshold."""
        if self.threshold is None:
            return np.zeros(self.scores.shape, dtype=np.bool_)
        return np.asarray(self.scores > self.threshold)

    @property
    def names(self) -> npt.NDArray[np.str_] | None:
        """The class of each image as text (N,), as `per_class` calls it; None without labels."""
        return None if self.labels is None else class_names(self.labels, self.scores.size)

    @property
    def has_classes(self) -> bool:
        """Whether there are several classes to set side by side."""
        return self.labels is not None and len(np.unique(self.labels)) > 1

    def roc_curve(self) -> tuple[Floats, Floats, Floats]:
        """Return false-positive rates, true-positive rates and thresholds (the first is inf), every distinct score.

        Raises DataError if there are only normal or only anomalous images.
        """
        self._check_both_kinds()
        fpr, tpr, thresholds = sklearn_metrics.roc_curve(
            self.is_anomaly, self.scores, drop_intermediate=False
        )
        return fpr, tpr, thresholds

    def pr_curve(self) -> tuple[Floats, Floats, Floats]:
        """Return precision (T + 1,), recall (T + 1,) and thresholds (T,), as `precision_recall_curve`.

        Raises DataError if there are only normal or only anomalous images.
        """
        self._check_both_kinds()
        precision, recall, thresholds = sklearn_metrics.precision_recall_curve(self.is_anomaly, self.scores)
        return precision, recall, thresholds

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers without the arrays, as JSON holds them: intervals are lists, no NaN, no infinity."""
        return {
            "roc_auc": self.roc_auc,
            "roc_auc_interval": _as_list(self.roc_auc_interval),
            "average_precision": self.average_precision,
            "prevalence": self.prevalence,
            "fpr_at_95_tpr": self.fpr_at_95_tpr,
            "alpha": self.alpha,
            "threshold": self.threshold,
            "false_alarm_rate": self.false_alarm_rate,
            "detection_rate": self.detection_rate,
            "n_normal": self.n_normal,
            "n_anomalous": self.n_anomalous,
            "per_class": {
                name: {
                    "n": result.n,
                    "roc_auc": result.roc_auc,
                    "roc_auc_interval": _as_list(result.roc_auc_interval),
                }
                for name, result in self.per_class.items()
            },
        }

    def _check_both_kinds(self) -> None:
        check_counts(self.is_anomaly, least=1)


def evaluate(
    scores: npt.ArrayLike,
    is_anomaly: npt.ArrayLike,
    labels: npt.ArrayLike | None = None,
    *,
    p_values: npt.ArrayLike | None = None,
    alpha: float = 0.05,
    threshold: float | None = None,
    level: float = 0.95,
) -> Evaluation:
    """Compare the scores of N >= 1 images with the truth.

    scores: (N,), finite, higher = more anomalous.
    is_anomaly: (N,), bool or integers 0 and 1.
    labels: the true class of each image (N,), for the table of classes; a class is named `str(label)`.
    p_values: (N,) in [0, 1], kept beside the scores.
    alpha: the false-alarm rate that the threshold was made for, in (0, 1).
    threshold: the score above which an image is flagged; None flags nothing.
    level: of the intervals, in (0, 1).

    `fpr_at_95_tpr` is read off the full empirical ROC curve, no point dropped and none interpolated: the
    smallest FPR among the points with TPR >= 0.95.

    Returns the numbers, with the arrays they were made of. Raises ConfigError if alpha or level is not in (0, 1) or
    the threshold is not finite; DataError if arrays are empty, differ in length, or hold what is neither a finite
    score nor a truth value.

    >>> result = evaluate([0.1, 0.4, 0.35, 0.8], [False, False, True, True], threshold=0.5)
    >>> result.roc_auc, result.false_alarm_rate, result.detection_rate
    (0.75, 0.0, 0.5)
    """
    check_fraction("alpha", alpha)
    check_fraction("level", level)
    if threshold is not None and not np.isfinite(threshold):
        raise ConfigError(f"threshold {threshold}: must be finite")
    values = real_array("scores", scores, ndim=1)
    truth = check_truth(is_anomaly, values.shape)
    p = None if p_values is None else _probabilities(p_values, values.shape)
    n_anomalous = int(truth.sum())
    both_kinds = 0 < n_anomalous < truth.size
    flagged = None if threshold is None else values > threshold
    auc, interval = _auc_and_interval(values, truth, level)
    return Evaluation(
        roc_auc=auc,
        roc_auc_interval=interval,
        average_precision=float(sklearn_metrics.average_precision_score(truth, values))
        if both_kinds
        else None,
        prevalence=n_anomalous / truth.size,
        fpr_at_95_tpr=_fpr_at_tpr(values, truth, 0.95) if both_kinds else None,
        alpha=float(alpha),
        threshold=None if threshold is None else float(threshold),
        false_alarm_rate=_share(flagged, ~truth),
        detection_rate=_share(flagged, truth),
        n_normal=truth.size - n_anomalous,
        n_anomalous=n_anomalous,
        per_class={} if labels is None else _per_class(values, truth, class_names(labels, truth.size), level),
        scores=values,
        is_anomaly=truth,
        labels=None if labels is None else np.array(labels),
        p_values=p,
    )


def _auc_and_interval(scores: Floats, truth: Bools, level: float) -> tuple[float | None, Interval | None]:
    if disjoint_pairs(truth) == 0:
        return None, None
    return float(sklearn_metrics.roc_auc_score(truth, scores)), delong_interval(scores, truth, level)


def _fpr_at_tpr(scores: Floats, truth: Bools, tpr_wanted: float) -> float:
    fpr, tpr, _ = sklearn_metrics.roc_curve(truth, scores, drop_intermediate=False)
    return float(fpr[np.searchsorted(tpr, tpr_wanted, side="left")])


def _share(flagged: Bools | None, among: Bools) -> float | None:
    return None if flagged is None or not among.any() else float(flagged[among].mean())


def _per_class(
    scores: Floats, truth: Bools, names: npt.NDArray[np.str_], level: float
) -> dict[str, ClassResult]:
    results = {}
    for name in natural_order(names[truth].tolist()):
        chosen = ~truth | (names == name)
        n = int((truth & chosen).sum())
        results[name] = ClassResult(n, *_auc_and_interval(scores[chosen], truth[chosen], level))
    return results


def _as_list(interval: Interval | None) -> list[float] | None:
    return None if interval is None else list(interval)


def _probabilities(p_values: npt.ArrayLike, shape: tuple[int, ...]) -> Floats:
    array = real_array("p_values", p_values, ndim=1)
    if array.shape != shape:
        raise DataError(f"p_values: shape {array.shape}, must be {shape} as the scores")
    check_probabilities("p_values", array, DataError)
    return array
