"""`anomalae export`: a run as an ONNX model whose verdicts are the run's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anomalae.cli import completion, console, tables
from anomalae.cli import options as common
from anomalae.cli.lines import tell
from anomalae.cli.progress import counting, downloads
from anomalae.detectors.export.names import TOLERANCE
from anomalae.text import count

if TYPE_CHECKING:
    import numpy as np

    from anomalae.experiments.run import Run


@click.command("export")
@click.argument(
    "path", type=click.Path(dir_okay=False, path_type=Path), metavar="[FILE.onnx]", required=False
)
@common.run_option
@common.runs_dir_option
@click.option(
    "--score", "rule", metavar="RULE", help="Another rule of the run, as in mse. Default: the run's own."
)
@common.calibration_option
@common.own_alpha_option
@click.option(
    "--images",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="PATH",
    shell_complete=completion.files,
    help="Compare on these files and folders; repeatable. Default: the test part of the run's data.",
)
@click.option(
    "--tolerance",
    type=click.FloatRange(0),
    callback=common.no_nan,
    default=TOLERANCE,
    show_default=True,
    help="Write nothing if a score differs by more than this many standard deviations of the calibration scores.",
)
@click.option(
    "--decoder",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write the first network's decoder, from codes to images, to this file.",
)
@common.data_dir_option
@common.json_option
@common.quiet_option
def command(path: Path | None, decoder: Path | None, **options: Any) -> None:
    """Export a run as an ONNX model that scores images without PyTorch. Needs: pip install 'anomalae[onnx]'.

    Canonical images, uint8 (N, 28, 28), go in; score, p-value, flag, reconstruction and heatmap come out. The
    calibration scores are in the file, and so is the alpha, which may be given with the images. Before it is kept the
    model is compared with the run; how far they differ is printed, and told in its metadata. Without FILE it is
    model.onnx in the run's folder, which `anomalae score --engine onnx` takes.

    \b
    Example:
      anomalae export --run mnist-0-ae model.onnx
      anomalae export --run mnist-0-ae --calibration scans --images scans/more model.onnx
      anomalae score --engine onnx --run model.onnx images/
    """
    from anomalae import runs
    from anomalae.detectors import export as onnx
    from anomalae.detectors.export.writing import check_packages
    from anomalae.experiments.run import Run
    from anomalae.settings import DEFAULT_ALPHA

    check_packages()
    common.end_on_signals()
    run = Run.open(options["run"], options["runs_dir"], device="cpu")
    alpha = next(a for a in (options["alpha"], run.kept_alpha, DEFAULT_ALPHA) if a is not None)
    path = path or runs.own_file(run.folder, runs.MODEL)
    images, source = _images(run, options)
    with counting("comparing", len(images), quiet=options["quiet"]) as done:
        compared = onnx.export(
            run.detector,
            path,
            images,
            source=source,
            rule=options["rule"],
            alpha=alpha,
            calibration=options["calibration"],
            run=run.name,
            tolerance=options["tolerance"],
            on_scored=done,
        )
    if decoder is not None:
        onnx.export_decoder(run.detector, decoder)
    if options["as_json"]:
        size = path.stat().st_size
        click.echo(json.dumps({"run": run.name, "path": str(path), "bytes": size, **compared.to_dict()}))
        return
    if not options["quiet"]:
        tables.print_pairs(compared.in_words(), console.out_console())
        for written in (path, decoder):
            if written is not None:
                tell(f"written: {written} ({count(round(written.stat().st_size / 1000))} kB)")


def _images(run: Run, options: dict[str, Any]) -> tuple[np.ndarray, str]:
    """Return the images by which run and model are compared, and in words where they came from."""
    from anomalae.images.sources import Preparation, gather_images

    if not options["images"]:
        dataset = run.dataset(options["data_dir"], downloads(options["quiet"]))
        return dataset.test.images, f"test part of {run.record.data.name}"
    data = run.detector.data
    paths = [str(path) for path in options["images"]]
    return gather_images(paths, preparation=Preparation(data.preprocess, data.polarity)), ", ".join(paths)
