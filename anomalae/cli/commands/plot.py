"""`anomalae plot`: figures of a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anomalae.cli import options as common
from anomalae.cli.progress import downloads
from anomalae.text import shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from anomalae.evaluation.metrics import Evaluation
    from anomalae.experiments.run import Run

MOST_POINTS = 3000  # of the latent space; more hide each other
A_GROUP = 8  # images of each group of reconstructions
SAMPLES = 100


def _baselines(run: Run) -> dict[str, Evaluation]:
    """The other methods of the run's comparison, where one was made."""
    from anomalae import runs
    from anomalae.errors import BundleError
    from anomalae.evaluation.metrics import evaluate
    from anomalae.runs import results

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


def _roc(run: Run) -> Figure:
    from anomalae import plots

    return plots.roc(run.evaluation(), baselines=_baselines(run), title=f"{run.name}: ROC curve")


def _pr(run: Run) -> Figure:
    from anomalae import plots

    return plots.pr(run.evaluation(), baselines=_baselines(run), title=f"{run.name}: precision and recall")


def _scores(run: Run) -> Figure:
    from anomalae import plots

    rule = run.record.settings.rule
    return plots.scores(run.evaluation(), rule=rule, title=f"{run.name}: scores")


def _calibration(run: Run) -> Figure:
    from anomalae import plots

    n = run.record.data.n_calibration
    return plots.calibration(run.evaluation(), n_calibration=n, title=f"{run.name}: false alarms")


def _classes(run: Run) -> Figure:
    from anomalae import plots

    return plots.classes(run.evaluation(), title=f"{run.name}: each class")


def _latent(run: Run) -> Figure:
    import numpy as np

    from anomalae import plots

    evaluation, detector = run.evaluation(), run.detector
    test = run.dataset().test
    chosen = np.sort(np.random.default_rng(0).permutation(len(test))[:MOST_POINTS])
    points, axes = plots.principal_plane(detector.encode(test.images[chosen]))
    return plots.latent(
        points,
        test.labels[chosen],
        scores=evaluation.scores[chosen],
        axes=axes,
        title=f"{run.name}: codes of {len(chosen):,} test images",
        rule=detector.settings.rule,
    )


def _reconstructions(run: Run) -> Figure:
    import numpy as np

    from anomalae import plots
    from anomalae.evaluation import examples

    evaluation, detector = run.evaluation(), run.detector
    picked = {name: which for name, which in examples.pick(evaluation, A_GROUP).items() if which.size}
    shown = np.unique(np.concatenate(list(picked.values())))
    images = run.dataset().test.images[shown]
    rule = detector.heatmap_rule()
    return plots.reconstructions(
        images,
        detector.reconstruct(images),
        detector.heatmap(images),
        [_caption(evaluation, int(index)) for index in shown],
        scale=plots.heat_scale(detector.heatmap_level(evaluation.alpha, rule)),
        title=f"{run.name}: test images",
        groups={examples.TITLES[name]: np.searchsorted(shown, which) for name, which in picked.items()},
        rule=rule,
    )


def _caption(evaluation: Evaluation, index: int) -> str:
    lines = [f"score {evaluation.scores[index]:.4g}"]
    if evaluation.labels is not None:
        lines.insert(0, f"class {shortened(evaluation.labels[index], 9)}")
    if evaluation.p_values is not None:
        lines.append(f"p {evaluation.p_values[index]:.2g}")
    if evaluation.threshold is not None:
        lines.append("flagged" if evaluation.flagged[index] else "not flagged")
    return "\n".join(lines)


def _samples(run: Run) -> Figure:
    from anomalae import plots

    return plots.samples(run.detector.generate(SAMPLES), title=f"{run.name}: draws from the prior")


def _history(run: Run) -> Figure:
    from anomalae import plots
    from anomalae.detectors.saving import read_history

    unit = run.record.settings.kind.loss_unit
    epochs = read_history(run.folder)
    return plots.history(epochs, title=f"{run.name}: training", unit=unit)


def _traverse(run: Run) -> Figure:
    from anomalae import plots
    from anomalae.detectors import latent as traverse

    detector = run.detector
    data = detector.data
    split = run.dataset().one_class(normal=data.normal, seed=data.seed)
    walked = traverse.traverse(detector, split.validation.images)
    return plots.walk(walked.images, walked.rows, walked.values, run.name, walked.title)


FIGURES: dict[str, Callable[[Run], Any]] = {
    "roc": _roc,
    "pr": _pr,
    "scores": _scores,
    "calibration": _calibration,
    "classes": _classes,
    "latent": _latent,
    "traverse": _traverse,
    "reconstructions": _reconstructions,
    "samples": _samples,
    "history": _history,
}


# Those that are drawn from the scores of the test part.
EVALUATED = ("roc", "pr", "scores", "calibration", "classes", "latent", "reconstructions")


@click.command("plot")
@click.argument("figure", type=click.Choice(list(FIGURES)))
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="FILE.png, .svg or .pdf.",
)
@common.run_option
@common.runs_dir_option
@common.data_dir_option
@common.machine_options
@common.quiet_option
def command(
    figure: str,
    output: Path,
    run: str | None,
    runs_dir: Path,
    data_dir: str | None,
    device: str,
    threads: int | None,
    quiet: bool,
) -> None:
    """Draw a figure of a run.

    \b
    roc, pr           ROC curve with its 95% band, precision and recall; baselines where `compare` was run
    scores            histograms of normal and anomalous test images, and the threshold
    calibration       false-alarm rate at every alpha, against what calibration promises
    classes           ROC-AUC of each anomalous class, and how often each class is flagged
    latent            codes of test images: two principal components, or the 1 or 2 dimensions there are
    traverse          each of the most active latent units walked through, the others held still; with one or
                      two latent dimensions the whole line or plane, decoded
    reconstructions   the most anomalous, misses, false alarms, typical ones: image, reconstruction, heatmap
    samples           draws from the prior of a VAE
    history           loss and validation loss an epoch

    A run that is not evaluated yet is evaluated first, where the figure needs it.

    \b
    Example:
      anomalae plot roc --output roc.svg
      anomalae plot reconstructions --run mnist-0-ae -o pictures.png
    """
    from anomalae import plots
    from anomalae.experiments.run import Run

    common.check_suffix(output, ".png", ".svg", ".pdf")
    drawn = Run.open(
        run, runs_dir, device=device, threads=threads, data_dir=data_dir, progress=downloads(quiet)
    )
    if figure in EVALUATED and drawn.kept_evaluation() is None and not quiet:
        click.echo(f"{drawn.name} is not evaluated yet: evaluating it first", err=True)
    plots.save(FIGURES[figure](drawn), output)
    if not quiet:
        click.echo(f"{figure} of {drawn.name}: {output}")
