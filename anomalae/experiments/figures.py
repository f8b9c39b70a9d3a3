"""Figures of a run: what each needs of it, and its title; `anomalae.plots` draws them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from anomalae import plots, runs
from anomalae.detectors import latent as walks
from anomalae.detectors.saving import read_history
from anomalae.errors import BundleError
from anomalae.evaluation import examples
from anomalae.evaluation.metrics import Evaluation, evaluate
from anomalae.experiments.run import Run
from anomalae.runs import results
from anomalae.text import shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Points of the latent space; more hide each other.
MOST_POINTS = 3000
# Images of each group of reconstructions, and draws from the prior.
A_GROUP, SAMPLES = 8, 100

# Those that are drawn from the scores of the test part.
EVALUATED = ("roc", "pr", "scores", "calibration", "classes", "latent", "reconstructions")


def _baselines(run: Run) -> dict[str, Evaluation]:
    """Evaluate the other methods of the run's comparison, where one was made."""
    evaluation = run.evaluation()
    scores_by_method = results.read_comparison_scores(run.folder)
    for method, scores in scores_by_method.items():
        if scores.shape != evaluation.scores.shape:
            raise BundleError(
                f"{run.folder / runs.COMPARISON_SCORES}: {method!r} has shape {list(scores.shape)}, "
                f"expected [{evaluation.scores.size}]"
            )
    return {
        method: evaluate(scores, evaluation.is_anomaly)
        for method, scores in sorted(scores_by_method.items())
        if method != results.OWN
    }


def roc(run: Run) -> Figure:
    """Draw the ROC curve with its band, and those of baselines where a comparison was made."""
    return plots.roc(run.evaluation(), baselines=_baselines(run), title=f"{run.name}: ROC curve")


def pr(run: Run) -> Figure:
    """Draw precision and recall, and those of baselines where a comparison was made."""
    return plots.pr(run.evaluation(), baselines=_baselines(run), title=f"{run.name}: precision and recall")


def scores(run: Run) -> Figure:
    """Draw histograms of the scores of normal and anomalous test images, and the threshold."""
    rule = run.record.settings.rule
    return plots.scores(run.evaluation(), rule=rule, title=f"{run.name}: scores")


def calibration(run: Run) -> Figure:
    """Draw the false-alarm rate at every alpha, against what calibration promises."""
    # The band is that of images that were put aside.
    n = None if run.record.data.folds else run.record.data.n_calibration
    return plots.calibration(run.evaluation(), n_calibration=n, title=f"{run.name}: false alarms")


def classes(run: Run) -> Figure:
    """Draw the ROC-AUC of each anomalous class, and how often each class is flagged."""
    return plots.classes(run.evaluation(), title=f"{run.name}: each class")


def latent(run: Run) -> Figure:
    """Draw the codes of test images: two principal components, or the 1 or 2 dimensions there are."""
    evaluation, detector = run.evaluation(), run.detector
    test = run.dataset().test
    chosen = np.sort(np.random.default_rng(0).permutation(len(test))[:MOST_POINTS])
    points, axes = plots.principal_plane(detector.encode(test.images[chosen]))
    return plots.latent(
        points,
        test.labels[chosen],
        normal=detector.data.normal,
        scores=evaluation.scores[chosen],
        axes=axes,
        title=f"{run.name}: codes of {len(chosen):,} test images",
        rule=detector.settings.rule,
    )


def reconstructions(run: Run) -> Figure:
    """Draw the most anomalous images, misses, false alarms and typical ones: image, reconstruction, heatmap."""
    evaluation, detector = run.evaluation(), run.detector
    picked = examples.shown(evaluation, A_GROUP)
    shown = np.unique(np.concatenate(list(picked.values())))
    images = run.dataset().test.images[shown]
    return plots.reconstructions(
        images,
        detector.reconstruct(images),
        detector.heatmap(images),
        [_caption(evaluation, int(index)) for index in shown],
        scale=plots.heat_scale(detector.heatmap_level(evaluation.alpha)),
        title=f"{run.name}: test images",
        groups={examples.TITLES[name]: np.searchsorted(shown, which) for name, which in picked.items()},
        note=detector.heatmap_note(),
    )


def _caption(evaluation: Evaluation, index: int) -> str:
    lines = [f"score {evaluation.scores[index]:.4g}"]
    if evaluation.labels is not None and evaluation.has_classes:
        lines.insert(0, f"class {shortened(evaluation.labels[index], 9)}")
    if evaluation.p_values is not None:
        lines.append(f"p {evaluation.p_values[index]:.2g}")
    if evaluation.threshold is not None:
        lines.append("flagged" if evaluation.flagged[index] else "not flagged")
    return "\n".join(lines)


def samples(run: Run) -> Figure:
    """Draw samples from the prior of a model with a density."""
    draws = run.detector.generate(SAMPLES)
    return plots.samples(draws, title=f"{run.name}: {SAMPLES} draws from the prior, seed 0")


def history(run: Run) -> Figure:
    """Draw loss and validation loss an epoch."""
    unit = run.record.settings.kind.loss_unit
    epochs = read_history(run.folder)
    return plots.history(epochs, title=f"{run.name}: training", unit=unit)


def traverse(run: Run) -> Figure:
    """Draw walks through the latent space: units of a model with a prior, else principal directions of the codes."""
    detector = run.detector
    data = detector.data
    split = run.dataset().one_class(normal=data.normal, seed=data.seed)
    walked = walks.traverse(detector, split.validation.images)
    return plots.walk(
        walked.images,
        walked.rows,
        walked.values,
        title=f"{run.name}: walks through the codes",
        note=walked.title,
    )


FIGURES: dict[str, Callable[[Run], Figure]] = {
    "roc": roc,
    "pr": pr,
    "scores": scores,
    "calibration": calibration,
    "classes": classes,
    "latent": latent,
    "traverse": traverse,
    "reconstructions": reconstructions,
    "samples": samples,
    "history": history,
}
