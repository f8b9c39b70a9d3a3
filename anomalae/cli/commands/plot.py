"""`anomalae plot`: figures of a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from anomalae.cli import options as common
from anomalae.cli.progress import downloads
from anomalae.settings import DENSITIES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from anomalae.datasets.load import Dataset
    from anomalae.detectors.detector import Detector
    from anomalae.evaluation.metrics import Evaluation

MOST_POINTS = 3000  # of the latent space; more hide each other
A_GROUP = 8  # images of each group of reconstructions
SAMPLES = 100


class _Run(NamedTuple):
    """A run, and how to get at what figures need of it."""

    folder: Path
    data_dir: str | None
    device: str
    threads: int | None
    quiet: bool

    @property
    def name(self) -> str:
        return self.folder.name

    def detector(self) -> Detector:
        from anomalae.detectors.detector import Detector

        return Detector.load(self.folder, device=self.device, threads=self.threads)

    def dataset(self, detector: Detector) -> Dataset:
        from anomalae.experiments import run as experiment

        return experiment.reload_dataset(detector.data, self.data_dir, downloads(self.quiet))

    def evaluation(self) -> Evaluation:
        """The evaluation kept in the run, made and kept first where there is none."""
        from anomalae.experiments import run as experiment
        from anomalae.runs import results
        from anomalae.settings import DEFAULT_ALPHA

        kept = results.read_evaluation(self.folder)
        if kept is not None:
            return kept
        if not self.quiet:
            click.echo(f"{self.name} is not evaluated yet: evaluating it first", err=True)
        detector = self.detector()
        dataset = self.dataset(detector)
        evaluation = experiment.evaluate_part(detector, dataset.test, alpha=DEFAULT_ALPHA)
        document = experiment.evaluation_document(self.name, detector, evaluation, dataset=dataset.name)
        results.write_evaluation(self.folder, document, evaluation)
        return evaluation

    def baselines(self, evaluation: Evaluation) -> dict[str, Evaluation]:
        """The other methods of the run's comparison, where one was made."""
        from anomalae import runs
        from anomalae.errors import BundleError
        from anomalae.evaluation.metrics import evaluate
        from anomalae.runs import results

        path = self.folder / runs.COMPARISON_SCORES
        arrays = results.read_comparison_scores(self.folder)
        for method, scores in arrays.items():
            if scores.shape != evaluation.scores.shape:
                n = evaluation.scores.size
                raise BundleError(f"{path}: {method!r} has shape {list(scores.shape)}, expected [{n}]")
        return {
            method: evaluate(scores, evaluation.is_anomaly)
            for method, scores in sorted(arrays.items())
            if method != results.OWN
        }


def _roc(run: _Run) -> Figure:
    from anomalae import plots

    evaluation = run.evaluation()
    return plots.roc(evaluation, baselines=run.baselines(evaluation), title=f"{run.name}: ROC curve")


def _pr(run: _Run) -> Figure:
    from anomalae import plots

    evaluation = run.evaluation()
    return plots.pr(
        evaluation, baselines=run.baselines(evaluation), title=f"{run.name}: precision and recall"
    )


def _scores(run: _Run) -> Figure:
    from anomalae import plots
    from anomalae.runs.record import read_record

    rule = read_record(run.folder).settings.rule
    return plots.scores(run.evaluation(), rule=rule, title=f"{run.name}: scores")


def _calibration(run: _Run) -> Figure:
    from anomalae import plots
    from anomalae.runs.record import read_record

    n = read_record(run.folder).data.n_calibration
    return plots.calibration(run.evaluation(), n_calibration=n, title=f"{run.name}: false alarms")


def _classes(run: _Run) -> Figure:
    from anomalae import plots

    return plots.classes(run.evaluation(), title=f"{run.name}: each class")


def _latent(run: _Run) -> Figure:
    import numpy as np

    from anomalae import plots

    evaluation, detector = run.evaluation(), run.detector()
    test = run.dataset(detector).test
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


def _reconstructions(run: _Run) -> Figure:
    import numpy as np

    from anomalae import plots
    from anomalae.evaluation import examples

    evaluation, detector = run.evaluation(), run.detector()
    picked = {name: which for name, which in examples.pick(evaluation, A_GROUP).items() if which.size}
    shown = np.unique(np.concatenate(list(picked.values())))
    images = run.dataset(detector).test.images[shown]
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
    from anomalae.plots.style import label

    lines = [f"score {evaluation.scores[index]:.4g}"]
    if evaluation.labels is not None:
        lines.insert(0, f"class {label(evaluation.labels[index], 9)}")
    if evaluation.p_values is not None:
        lines.append(f"p {evaluation.p_values[index]:.2g}")
    if evaluation.threshold is not None:
        lines.append("flagged" if evaluation.flagged[index] else "not flagged")
    return "\n".join(lines)


def _samples(run: _Run) -> Figure:
    from anomalae import plots

    return plots.samples(run.detector().generate(SAMPLES), title=f"{run.name}: draws from the prior")


def _history(run: _Run) -> Figure:
    from anomalae import plots, runs
    from anomalae.models.training.loop import read_history
    from anomalae.runs.record import read_record

    unit = "nats" if read_record(run.folder).settings.model in DENSITIES else "squared error"
    epochs = read_history(run.folder / runs.HISTORY)
    return plots.history(epochs, title=f"{run.name}: training", unit=unit)


def _traverse(run: _Run) -> Figure:
    from anomalae import plots
    from anomalae.detectors import latent as traverse

    detector = run.detector()
    data = detector.data
    split = run.dataset(detector).one_class(normal=data.normal, seed=data.seed)
    walked = traverse.traverse(detector, split.validation.images)
    return plots.walk(walked.images, walked.rows, walked.values, run.name, walked.title)


FIGURES: dict[str, Callable[[_Run], Any]] = {
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
    from anomalae import plots, runs

    common.check_suffix(output, ".png", ".svg", ".pdf")
    folder = runs.resolve(run, runs_dir)
    drawn = FIGURES[figure](_Run(folder, data_dir, device, threads, quiet))
    plots.save(drawn, output)
    if not quiet:
        click.echo(f"{figure} of {folder.name}: {output}")
