"""`anomalae plot`: figures of a run."""

from __future__ import annotations

from pathlib import Path

import click

from anomalae.cli import options as common
from anomalae.cli.progress import downloads

# Those of `anomalae.experiments.figures`, named here so that --help need not import it.
FIGURES = (
    "roc", "pr", "scores", "calibration", "classes", "latent", "traverse", "reconstructions", "samples", "history",
)  # fmt: skip


@click.command("plot")
@click.argument("figure", type=common.OneOf(FIGURES), metavar="FIGURE")
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
    traverse          walks through the codes, as far as they lie: each latent unit of a vae, each principal
                      direction of an ae; with one or two latent dimensions the whole line or plane, decoded
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
    from anomalae.experiments import figures
    from anomalae.experiments.run import Run

    common.check_suffix(output, ".png", ".svg", ".pdf")
    drawn = Run.open(
        run, runs_dir, device=device, threads=threads, data_dir=data_dir, progress=downloads(quiet)
    )
    if figure in figures.EVALUATED and drawn.kept_evaluation() is None and not quiet:
        click.echo(f"{drawn.name} is not evaluated yet: evaluating it first", err=True)
    plots.save(figures.FIGURES[figure](drawn), output)
    if not quiet:
        click.echo(f"{figure} of {drawn.name}: {output}")
