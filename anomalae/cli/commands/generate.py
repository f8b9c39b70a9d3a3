"""`anomalae generate`: digits drawn from a vae's prior."""

from __future__ import annotations

import math
from pathlib import Path

import click

from anomalae.cli import options as common
from anomalae.cli.commands.interpolate import scored
from anomalae.text import plural

# Pictures up to which each has its score.
MOST_SCORED = 100


@click.command("generate")
@click.option(
    "--count", type=click.IntRange(1, 10_000), default=64, show_default=True, help="How many images."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the draws.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="FILE.png, .svg or .pdf for pictures, or FILE.npy for the images, float32 (N, 28, 28).",
)
@common.run_option
@common.runs_dir_option
@common.machine_options
@common.quiet_option
def command(
    count: int,
    seed: int,
    output: Path,
    run: str | None,
    runs_dir: Path,
    device: str,
    threads: int | None,
    quiet: bool,
) -> None:
    """Draw new digits from the prior of a vae: codes from N(0, I), decoded.

    Up to 100 pictures have their scores below them. An autoencoder has no prior, so it refuses: it rebuilds, a vae
    generates.

    \b
    Example:
      anomalae generate --count 64 --output grid.png
    """
    from anomalae import files, plots, runs
    from anomalae.detectors.detector import Detector

    common.check_suffix(output, ".png", ".svg", ".pdf", ".npy")
    folder = runs.resolve(run, runs_dir)
    detector = Detector.load(folder, device=device, threads=threads)
    images = detector.generate(count, seed)
    title = f"{folder.name}: {plural(count, 'draw')} from the prior, seed {seed}"
    if output.suffix.lower() == ".npy":
        files.write_npy(output, images)
    elif count > MOST_SCORED:
        plots.save(plots.samples(images, title=title), output)
    else:
        captions, note = scored(detector, images)
        columns = math.ceil(math.sqrt(count))
        plots.save(plots.strip(images, captions, title=title, note=note, columns=columns), output)
    if not quiet:
        click.echo(f"{count} images drawn from {folder.name}: {output}")
