"""`anomalae generate`: digits drawn from a vae's prior."""

from __future__ import annotations

from pathlib import Path

import click

from anomalae.cli import options as common


@click.command("generate")
@click.option(
    "--count", type=click.IntRange(1, 10_000), default=64, show_default=True, help="How many images."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the draws.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="FILE.png for a grid of pictures, or FILE.npy for the images, float32 (N, 28, 28).",
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

    An autoencoder has no prior, so it refuses: it rebuilds, a vae generates.

    \b
    Example:
      anomalae generate --count 64 --output grid.png
    """
    from anomalae import files, plots, runs
    from anomalae.detectors.detector import Detector

    common.check_suffix(output, ".png", ".npy")
    folder = runs.resolve(run, runs_dir)
    images = Detector.load(folder, device=device, threads=threads).generate(count, seed)
    if output.suffix.lower() == ".npy":
        files.write_npy(output, images)
    else:
        files.write_png(output, plots.grid(images))
    if not quiet:
        click.echo(f"{count} images drawn from {folder.name}: {output}")
