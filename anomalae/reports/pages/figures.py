"""The figures of a report: made once, written beside it, and put into its page with the page's own colours."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from anomalae import plots
from anomalae.evaluation.metrics import Evaluation, evaluate
from anomalae.plots import style
from anomalae.reports.content import (
    BenchmarkReport,
    ComparisonReport,
    Picture,
    RunReport,
    ScoredReport,
    StudyReport,
    Trained,
)
from anomalae.reports.pages import words
from anomalae.text import count, distinct_names, interval, plural, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Most baselines in one figure, the best of them; the table has all.
MOST_CURVES = 4
COLOURS = {
    style.INK: "ink",
    style.MUTED: "muted",
    style.GRID: "grid",
    style.PAPER: "paper",
    style.NORMAL: "normal",
    style.ANOMALY: "anomaly",
    style.MODEL: "model",
}
# Widths in inches: figures between the two are made narrow, so that their text is read on a phone.
NARROW, WIDE = 4.7, 6.5


@dataclass(frozen=True, eq=False)
class Drawn:
    """A figure of a report.

    name: of its files, and in the page.
    alt: what it shows, with its numbers.
    svg: for the page; empty where it is not part of it.
    frames: where its panels lie, for what the page draws on it.
    wide: whether it has two panels.
    """

    name: str
    title: str
    alt: str
    figure: Figure
    svg: str = ""
    frames: list[dict[str, Any]] = field(default_factory=list)
    wide: bool = False


def of_run(report: RunReport) -> dict[str, Drawn]:
    """Draw the figures that this run's content gives."""
    e, trained = report.evaluation, report.trained
    plans: list[tuple[str, str, str, Callable[[], Figure]]] = []
    baselines = best(report.baselines.evaluations if report.baselines else {})
    if e.roc_auc is not None:
        at = ""
        if e.threshold is not None:
            at = (
                f" At the threshold {words.percent(e.false_alarm_rate)} of the normal images are flagged and "
            )
            at += f"{words.percent(e.detection_rate)} of the anomalies."
        auc = f"ROC curve: area {words.number(e.roc_auc)}, 95% interval {interval(e.roc_auc_interval)}."
        plans.append(("roc", "ROC curve", auc + at, lambda: plots.roc(e, baselines=baselines)))
        alt = f"Precision-recall curve: average precision {words.number(e.average_precision)}; "
        alt += f"{words.percent(e.prevalence)} of the test images are anomalies."
        plans.append(("pr", "Precision and recall", alt, lambda: plots.pr(e, baselines=baselines)))
    kinds = " and ".join(kind for kind, n in (("normal", e.n_normal), ("anomalous", e.n_anomalous)) if n)
    alt = f"Histogram of the scores of {kinds} test images."
    plans.append(("scores", "Scores", alt, lambda: plots.scores(e, rule=trained.rule)))
    if e.p_values is not None and e.n_normal:
        # The band is that of images that were put aside.
        n = None if trained.folds else trained.n_calibration
        alt = "Share of normal test images with a p-value of at most alpha, at every alpha"
        alt += "." if trained.folds else ", with the 95% band."
        draw = lambda: plots.calibration(e, n_calibration=n)  # noqa: E731
        plans.append(("calibration", "p-values of normal images", alt, draw))
    if e.has_classes and (e.roc_auc is not None or e.threshold is not None):
        alt = "ROC-AUC with interval of each anomalous class, and the share flagged of each class; the table has them."
        plans.append(("classes", "Each class", alt, lambda: plots.classes(e)))
    if report.latent is not None:
        latent = report.latent
        alt = f"Codes of {count(len(latent.points))} test images, by class and by score."
        plans.append(("latent", "Codes of test images", alt, lambda: plots.latent(
            latent.points, latent.labels, normal=trained.normal, scores=latent.scores, axes=latent.axes,
            rule=trained.rule)))  # fmt: skip
    plans += _of_model(trained)
    drawn = dict(_draw(plans))
    if report.galleries:
        drawn["reconstructions"] = _reconstructions(report)
    return drawn


def of_scores(report: ScoredReport) -> dict[str, Drawn]:
    """Draw the histogram of scores whose truth is not known, and the model's figures."""
    alt = f"Histogram of the scores of {plural(report.scores.size, 'image')}."
    plans = [("scores", "Scores", alt, lambda: _unlabelled(report))]
    return dict(_draw([*plans, *_of_model(report.trained)]))


def of_comparison(report: ComparisonReport) -> dict[str, Drawn]:
    """Draw the curves of all runs; the first one's stands out."""
    names = distinct_names(run.trained.name for run in report.runs)
    named = zip(names, (run.evaluation for run in report.runs), strict=True)
    rated = [(name, e) for name, e in named if e.roc_auc is not None]
    plans: list[tuple[str, str, str, Callable[[], Figure]]] = []
    if rated:
        (name, e), more = rated[0], dict(rated[1:])
        aucs = ", ".join(f"{other_name} {words.number(other.roc_auc)}" for other_name, other in rated)
        plans = [
            ("roc", "ROC curves", f"ROC curves; areas: {aucs}.", lambda: plots.roc(e, baselines=more, name=name)),
            ("pr", "Precision and recall", "Precision-recall curves of the runs.",
             lambda: plots.pr(e, baselines=more, name=name)),
        ]  # fmt: skip
    return dict(_draw(plans))


def of_benchmark(report: BenchmarkReport) -> dict[str, Drawn]:
    """Draw the matrix, where the cells were there."""
    if report.matrix is None:
        return {}
    rows, values = [str(row["normal"]) for row in report.table["rows"]], report.matrix
    alt = f"ROC-AUC of each normal class against each anomalous class; the lowest is {np.nanmin(values):.4f}."
    draw = lambda: plots.matrix(values, rows, report.columns)  # noqa: E731
    return dict(_draw([("matrix", "ROC-AUC, mean over seeds", alt, draw)]))


def of_study(report: StudyReport) -> dict[str, Drawn]:
    """Take the figures of a study, which are drawn already."""
    drawn = {}
    for name, title, caption, figure, wide in report.drawings:
        if not wide and NARROW < figure.get_figwidth() < WIDE:
            _narrow(figure)
        svg = paint(plots.svg(figure, name))
        svg = svg.replace("<svg ", f'<svg role="img" aria-labelledby="{name}-title {name}-alt" ', 1)
        drawn[name] = Drawn(name, title, caption, figure, svg, wide=wide)
    return drawn


def best(baselines: Mapping[str, Evaluation]) -> dict[str, Evaluation]:
    """Return the baselines with the highest ROC-AUC, as many as a figure holds."""
    rated = [(name, evaluation) for name, evaluation in baselines.items() if evaluation.roc_auc is not None]
    return dict(sorted(rated, key=lambda item: -(item[1].roc_auc or 0.0))[:MOST_CURVES])


def paint(svg: str) -> str:
    """Return the SVG with the style sheet's colours as variables of the page, so that it follows light and dark."""
    return style.in_tags("|".join(COLOURS), lambda match: f"var(--{COLOURS[match[0].lower()]})", svg)


def _of_model(trained: Trained) -> list[tuple[str, str, str, Callable[[], Figure]]]:
    plans: list[tuple[str, str, str, Callable[[], Figure]]] = []
    if trained.prior is not None:
        draws, alt = trained.prior, f"{len(trained.prior)} images drawn from the prior and decoded."
        plans.append(("samples", "Draws from the prior", alt, lambda: plots.samples(draws)))
    if trained.history:
        last = trained.history[-1]
        alt = f"Loss after each of {plural(last.epoch, 'epoch')}; at the end {last.loss:.4g}"
        alt += "." if last.validation_loss is None else f", on validation images {last.validation_loss:.4g}."
        plans.append(("history", "Loss", alt, lambda: plots.history(trained.history, unit=trained.loss_unit)))
    return plans


def _draw(plans: list[tuple[str, str, str, Callable[[], Figure]]]) -> Iterator[tuple[str, Drawn]]:
    for name, title, alt, draw in plans:
        figure = draw()
        width = figure.get_figwidth()
        if NARROW < width < WIDE and name not in ("classes", "matrix"):
            _narrow(figure)
        svg = paint(plots.svg(figure, name))
        svg = svg.replace("<svg ", f'<svg role="img" aria-labelledby="{name}-title {name}-alt" ', 1)
        yield name, Drawn(name, title, alt, figure, svg, style.frames(figure), width > WIDE)


@style.styled
def _narrow(figure: Figure) -> None:
    """Lay a figure of one panel out again, so narrow that its text can be read on a phone."""
    width, height = figure.get_size_inches()
    figure.set_size_inches(NARROW, height * (NARROW / width) ** 0.5)
    figure.set_layout_engine("constrained")
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def _unlabelled(report: ScoredReport) -> Figure:
    scores = report.scores
    normal = np.zeros(scores.shape, dtype=np.bool_)
    e = evaluate(scores, normal, threshold=report.threshold, alpha=report.alpha or 0.05)
    figure = plots.scores(e, rule=report.trained.rule)
    # The truth of these images is not known.
    for text in figure.legends[0].get_texts():
        text.set_text(text.get_text().replace(" normal image", " image"))
        if report.alpha is None:
            text.set_text(text.get_text().partition(" at alpha")[0])
    figure.axes[0].set_ylabel("% of the images in a bin")
    return figure


def _reconstructions(report: RunReport) -> Drawn:
    groups: dict[str, list[int]] = {}
    shown: list[Picture] = []
    for gallery in report.galleries:
        some = [picture for picture in gallery.pictures[:8] if picture.image is not None]
        groups[gallery.title] = list(range(len(shown), len(shown) + len(some)))
        shown += some
    captions = [f"{shortened(picture.label, 9)}\n{picture.score:.3g}" for picture in shown]
    figure = plots.reconstructions(
        np.stack([picture.image for picture in shown if picture.image is not None]),
        np.stack([picture.reconstruction for picture in shown if picture.reconstruction is not None]),
        np.stack([picture.terms for picture in shown if picture.terms is not None]),
        captions,
        scale=report.trained.heat_scale,
        groups=groups,
        note=report.trained.heat_note,
    )
    return Drawn("reconstructions", "Pictures", "", figure)
