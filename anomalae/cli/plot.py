"""`anomalae plot`: figures of a run."""

from __future__ import annotations

from pathlib import Path

import click

from anomalae.cli import common
from anomalae.cli.progress import downloads

FIGURES = ("traverse",)


@click.command("plot")
@click.argument("figure", type=click.Choice(FIGURES))
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

    traverse: each of the most active latent units walked through, the others held still; with one or two latent
    dimensions the whole line or plane, decoded.

    \b
    Example:
      anomalae plot traverse --output traverse.png
    """
    from anomalae import experiment, plots, runs, traverse
    from anomalae.detector import Detector

    common.check_suffix(output, ".png", ".svg", ".pdf")
    folder = runs.resolve(run, runs_dir)
    detector = Detector.load(folder, device=device, threads=threads)
    data = detector.data
    dataset = experiment.reload_dataset(data, data_dir, downloads(quiet))
    split = dataset.one_class(normal=data.normal, seed=data.seed)
    walked = traverse.traverse(detector, split.validation.images)
    figure_ = plots.walk(walked.images, walked.rows, walked.values, folder.name, walked.title)
    plots.save(figure_, output)
    if not quiet:
        click.echo(f"{figure} of {folder.name}: {output}")
