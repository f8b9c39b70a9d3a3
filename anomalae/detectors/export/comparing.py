"""How far an exported model's verdicts are from those of the detector that it was made from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from anomalae.detectors.detector import Detector
from anomalae.detectors.export.engine import OnnxDetector
from anomalae.detectors.export.names import HEATMAP, P_VALUE, RECONSTRUCTION, SCORE
from anomalae.detectors.folds import FoldEnsemble
from anomalae.evaluation import conformal
from anomalae.images.sources import Canonical
from anomalae.text import count, plural

# Images that are judged alone, too: a batch of one is computed by other code than one of many.
ALONE = 32
# Images whose reconstructions and heatmaps are compared.
DRAWN = 256
# Rows with other p-values that are listed.
LISTED = 20


@dataclass(frozen=True)
class Comparison:
    """How a model's verdicts differ from the detector's, of the same images.

    n_images: number of images.
    source: where they came from, in words.
    alpha: false-alarm level of the verdicts.
    score: largest difference of a score; of folds, whose score is a rank, of the scores by the networks of a fold.
    spread: standard deviation of the calibration scores, of folds of the same; 1 where they are all the same.
    p_value: largest difference of a p-value.
    n_p_values, n_verdicts: numbers of images with another p-value, and with another verdict.
    n_near: number of images whose score lies no further than `score` from a raised calibration score, where p-values
        change: of no others can the p-value differ.
    reconstruction, heatmap: largest difference of a pixel of the first images; of a heatmap in parts of its largest.
    rows: of the first images with another p-value, number, score and p-value of detector and model.
    """

    n_images: int
    source: str
    alpha: float
    score: float
    spread: float
    p_value: float
    n_p_values: int
    n_verdicts: int
    n_near: int
    reconstruction: float
    heatmap: float
    rows: tuple[tuple[int, float, float, float, float], ...] = ()

    @property
    def relative(self) -> float:
        """The largest difference of a score, in standard deviations of the calibration scores."""
        return self.score / self.spread

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-able values."""
        return {**dataclasses.asdict(self), "relative": self.relative}

    def in_words(self) -> list[tuple[str, str]]:
        """Return what was compared, and in words how far it differs."""
        of = f"of {count(self.n_images)}"
        return [
            ("compared", f"{plural(self.n_images, 'image')}, {self.source}"),
            ("score", f"differs by up to {self.score:.1e}, {self.relative:.1e} of their standard deviation"),
            (
                "p-value",
                f"differs by up to {self.p_value:.2g}, in {count(self.n_p_values)} {of}; "
                f"{count(self.n_near)} lie that close to a limit",
            ),
            ("verdict", f"differs in {count(self.n_verdicts)} {of}, at alpha {self.alpha:g}"),
            ("pictures", f"reconstruction by up to {self.reconstruction:.1e}, heatmap {self.heatmap:.1e}"),
        ]


def compare(
    detector: Detector,
    model: OnnxDetector,
    images: np.ndarray,
    source: str = "arrays",
    *,
    alpha: float | None = None,
    calibration: str | None = None,
    on_scored: Callable[[int], None] = lambda done: None,
) -> Comparison:
    """Judge images by a detector and by a model that was made from it.

    images: canonical, uint8 (N, 28, 28), at least one.
    source: where they came from, in words.
    alpha: false-alarm level; None is that of the export.
    calibration: name of the calibration that is in the model; None is the detector's own.
    on_scored: called with the number of images that both have scored.

    Returns how far they differ, images alone and in batches. Raises ConfigError for a rule or calibration that the
    detector lacks.
    """
    rule = model.rule
    alpha = float(model.told["alpha"]) if alpha is None else alpha
    scores, by_fold, held_out = _scored(detector, images, rule)
    known = detector.calibration_scores(rule, calibration=calibration)
    ps = conformal.p_values(scores, known)
    # What is measured is the score itself but for folds, and is asked for once.
    outputs = tuple(dict.fromkeys((SCORE, P_VALUE, model.measured)))
    judged = model.judge(Canonical(images), outputs, alpha=alpha, on_scored=on_scored)
    alone = [
        dict(zip(outputs, model.run(outputs, image[None], alpha), strict=True)) for image in images[:ALONE]
    ]
    there = np.stack([judged[SCORE], judged[P_VALUE]])
    apart = np.abs(judged[model.measured].reshape(len(images), -1) - by_fold)
    # Of what differs alone and among others that which is further off.
    for place, found in enumerate(alone):
        off = np.abs(found[model.measured].reshape(-1) - by_fold[place])
        if off.max() > apart[place].max():
            there[:, place], apart[place] = (found[SCORE][0], found[P_VALUE][0]), off
    differing = np.flatnonzero(there[1] != ps)
    largest = float(apart.max())
    if held_out:
        near = np.any(
            [
                _gaps(new, conformal.raised(own)) <= largest
                for new, own in zip(by_fold.T, held_out, strict=True)
            ],
            axis=0,
        )
        # Ranks that do not differ by one may do so in what orders those of one rank.
        rounding = np.abs(there[0] - scores)[~near].max(initial=0)
        near |= _gaps(scores, conformal.raised(known)) <= rounding
    else:
        near = _gaps(scores, conformal.raised(known)) <= largest
    some = Canonical(images[:DRAWN])
    heat, drawn = detector.heatmap(some, rule), model.judge(some, (RECONSTRUCTION, HEATMAP))
    spread = float((np.concatenate(held_out) if held_out else known).std())
    return Comparison(
        n_images=len(images),
        source=source,
        alpha=alpha,
        score=largest,
        spread=spread if spread > 0 else 1.0,
        p_value=float(np.abs(there[1] - ps).max()),
        n_p_values=len(differing),
        n_verdicts=int(((there[1] <= alpha) != (ps <= alpha)).sum()),
        n_near=int(near.sum()),
        reconstruction=float(np.abs(drawn[RECONSTRUCTION] - detector.reconstruct(some)).max()),
        heatmap=float(np.abs(drawn[HEATMAP] - heat).max() / max(np.abs(heat).max(), 1e-30)),
        rows=tuple(
            (int(row), float(scores[row]), float(there[0, row]), float(ps[row]), float(there[1, row]))
            for row in differing[:LISTED]
        ),
    )


def _scored(
    detector: Detector, images: np.ndarray, rule: str
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Return scores (N,), what they are made of (N, K) by the networks of each fold, and what those are ranked among.

    Without folds a score is made of itself, and is ranked among nothing.
    """
    ensemble = detector._ensemble
    if not isinstance(ensemble, FoldEnsemble):
        scores = detector.score(Canonical(images), rule)
        return scores, scores[:, None], []
    members = np.stack(list(detector.score_members(Canonical(images), (rule,))[rule].values()))
    return ensemble.combine(rule, members), ensemble.by_fold(rule, members).T, ensemble.held_out(rule)


def _gaps(scores: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return how far each score is from the nearest of those that are known."""
    ordered = np.sort(known)
    above = np.searchsorted(ordered, scores)
    return np.minimum(
        *(np.abs(scores - ordered[np.clip(above - shift, 0, len(ordered) - 1)]) for shift in (0, 1))
    )
