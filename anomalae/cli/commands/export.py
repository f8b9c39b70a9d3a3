"""`anomalae export`: a run as an ONNX model whose verdicts are the run's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from anomalae.cli import console, tables
from anomalae.cli import options as common
from anomalae.cli.exporting import model_options, opened
from anomalae.cli.lines import tell
from anomalae.cli.progress import counting
from anomalae.text import count


@click.command("export")
@click.argument(
    "path", type=click.Path(dir_okay=False, path_type=Path), metavar="[FILE.onnx]", required=False
)
@model_options
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

    for given in (path, decoder):
        if given is not None and given.suffix != ".onnx":
            raise click.UsageError(f"{given}: must end in .onnx; a run is named by --run")
    run, asked = opened(options)
    path = path or runs.own_file(run.folder, runs.MODEL)
    if decoder is not None and path.resolve() == decoder.resolve():
        raise click.UsageError(f"--decoder {decoder}: is the file of the model")
    with counting("comparing", len(asked["images"]), quiet=options["quiet"]) as done:
        compared = onnx.export(run.detector, path, decoder=decoder, on_scored=done, **asked)
    if options["as_json"]:
        size = path.stat().st_size
        click.echo(json.dumps({"run": run.name, "path": str(path), "bytes": size, **compared.to_dict()}))
        return
    if not options["quiet"]:
        tables.print_pairs(compared.in_words(), console.out_console())
        for written in (path, decoder):
            if written is not None:
                tell(f"written: {written} ({count(round(written.stat().st_size / 1000))} kB)")
