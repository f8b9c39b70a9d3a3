"""`anomalae interpolate`: the way from one image to another through the latent space."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from anomalae.cli import options as common
from anomalae.settings import DEFAULT_ALPHA
from anomalae.text import shortened

if TYPE_CHECKING:
    import numpy as np

    from anomalae.detectors.detector import Detector


@click.command("interpolate")
@click.argument("first", metavar="A.png", type=click.Path(path_type=Path))
@click.argument("second", metavar="B.png", type=click.Path(path_type=Path))
@click.option(
    "--steps",
    type=click.IntRange(2, 1000),
    default=9,
    show_default=True,
    help="Pictures, both ends included.",
)
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), required=True, help="FILE.png, .svg or .pdf."
)
@common.preprocess_options(None, None)
@common.run_option
@common.runs_dir_option
@common.machine_options
@common.quiet_option
def command(
    first: Path,
    second: Path,
    steps: int,
    output: Path,
    preprocess: str | None,
    polarity: str | None,
    run: str | None,
    runs_dir: Path,
    device: str,
    threads: int | None,
    quiet: bool,
) -> None:
    """Walk in a straight line from the code of one image to that of another, decoding on the way.

    The strip shows A, the decoded steps, and B; below each its score, and whether it is flagged.

    \b
    Example:
      anomalae interpolate a.png b.png --output strip.png
    """
    import numpy as np

    from anomalae import plots, runs
    from anomalae.detectors.detector import Detector
    from anomalae.errors import ImageError
    from anomalae.images.inputs import read_inputs
    from anomalae.images.sources import Canonical

    common.check_suffix(output, ".png", ".svg", ".pdf")
    folder = runs.resolve(run, runs_dir)
    detector = Detector.load(folder, device=device, threads=threads)
    how = (preprocess or detector.data.preprocess, polarity or detector.data.polarity)
    ends = []
    for path in (first, second):
        inputs = list(read_inputs([path], *how))
        if len(inputs) != 1:
            raise ImageError(f"{path}: holds {len(inputs)} images, one is needed")
        if inputs[0].image is None:
            raise ImageError(str(inputs[0].error), setting=inputs[0].setting)
        ends.append(inputs[0].image)
    codes = detector.encode(Canonical(np.stack(ends)))
    way = np.linspace(0, 1, steps)[:, None]
    between = detector.decode((1 - way) * codes[0] + way * codes[1])
    strip = np.concatenate([ends[0][None] / 255, between, ends[1][None] / 255])
    captions, note = scored(detector, strip)
    names = ["A", *(f"{step[0]:.3g}" for step in way), "B"]
    figure = plots.strip(
        strip,
        [f"{name}\n{caption}" for name, caption in zip(names, captions, strict=True)],
        title=f"{folder.name}: from {shortened(first.name, 40)} to {shortened(second.name, 40)}",
        note=f"A and B: the images as they are; 0 to 1: codes on the line from A's to B's, decoded. {note}",
    )
    plots.save(figure, output)
    if not quiet:
        click.echo(f"{steps} steps by {folder.name}: {output}")


def scored(detector: Detector, images: np.ndarray) -> tuple[list[str], str]:
    """Return the score of each image as a caption, and a sentence on the scores for the figure."""
    rule, threshold = detector.settings.rule, detector.threshold()
    captions = [f"{score:.4g}" for score in detector.score(images)]
    note = f"Below each picture its score {rule}"
    if threshold is None:
        return captions, f"{note}."
    flags = detector.flags(images)
    marked = [
        f"{caption}\n{'flagged' if flag else 'passes'}" for caption, flag in zip(captions, flags, strict=True)
    ]
    return marked, f"{note}: above {threshold:.4g} it is flagged (alpha {DEFAULT_ALPHA:g})."
