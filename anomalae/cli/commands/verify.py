"""`anomalae verify`: whether a run is whole, and scores as when it was trained; and so of what was exported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from anomalae.cli import completion, console, tables
from anomalae.cli import options as common


@click.command("verify")
@common.runs_operands
@common.runs_dir_option
@click.option(
    "--images",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="PATH",
    shell_complete=completion.files,
    help="Of FILE.onnx: compare it with its run on these files and folders; repeatable. A RUN beside it is taken for "
    "its run.",
)
@common.machine_options
@common.json_option
@common.quiet_option
def command(
    names: tuple[str, ...],
    runs_dir: Path,
    images: tuple[Path, ...],
    device: str,
    threads: int | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Check that runs are whole, and score as when they were trained. Without a RUN it is the newest finished one.

    Files are compared with the hashes that the run keeps of them, and read; images that were made for it are scored,
    by default on the device and with the threads of the training. A RUN that is FILE.onnx, as `anomalae export` wrote
    it, is compared with the hash that it keeps of itself, and run on such images too. The exit status is 1 where
    anything is wrong. The hashes tell of faults, not of malice: whoever can change a file can change its hash.

    \b
    Example:
      anomalae verify mnist-0-ae
      anomalae verify --json mnist-0-ae mnist-1-ae
      anomalae verify model.onnx --run mnist-0-ae --images scans/
    """
    from anomalae import runs
    from anomalae.detectors.export.engine import is_model

    models = [name for name in names if is_model(name)]
    if images:
        others = [name for name in names if name not in models]
        if len(models) != 1 or len(others) > 1:
            raise click.UsageError("--images: name one FILE.onnx, and at most one RUN that it was made from")
        compared = _compared(models[0], *others, runs_dir=runs_dir, images=images, threads=threads)
        found = [_model(models[0], threads), compared]
    else:
        folders = {name: runs.resolve(name, runs_dir) for name in names or (None,) if name not in models}
        found = [
            _model(name, threads) if name in models else _run(folders[name], device, threads)
            for name in names or (None,)
        ]
    for _, pairs in found:
        if not (as_json or quiet):
            tables.print_pairs(pairs, console.out_console())
    if as_json:
        click.echo(json.dumps([document for document, _ in found]))
    if not all(document["sound"] for document, _ in found):
        raise SystemExit(1)


Found = tuple[dict[str, Any], list[tuple[str, str]]]


def _run(folder: Path, device: str, threads: int | None) -> Found:
    """Return what is found of a run, and in words."""
    from anomalae.detectors.verifying import verify

    found = verify(folder, device=device, threads=threads)
    return found.to_dict(), found.in_words()


def _model(name: str, threads: int | None) -> Found:
    """Return how an exported model scores here, and in words."""
    from anomalae.detectors.export.verifying import verify_model

    found = verify_model(name, threads=threads)
    return found.to_dict(), found.in_words()


def _compared(
    name: str, run: str | None = None, *, runs_dir: Path, images: tuple[Path, ...], threads: int | None
) -> Found:
    """Return how far an exported model is from its run on images, and in words."""
    from anomalae.detectors.export import OnnxDetector, compare
    from anomalae.errors import BundleError
    from anomalae.experiments.run import Run
    from anomalae.images.sources import Preparation, gather_images

    # Whether it was changed is told beside.
    model = OnnxDetector(name, threads=threads, checked=False)
    opened = Run.open(run or model.name, runs_dir, device="cpu", threads=threads)
    detector = opened.detector
    if detector.fingerprint != model.fingerprint:
        raise BundleError(f"{name}: was not made from {opened.folder}, but from another training")
    data, paths = model.data, [str(path) for path in images]
    gathered = gather_images(paths, preparation=Preparation(data.preprocess, data.polarity))
    compared = compare(detector, model, gathered, ", ".join(paths), calibration=model.calibration)
    sound = compared.relative <= model.told["tolerance"]
    words = (
        "as the run does" if sound else f"not as the run does: the tolerance is {model.told['tolerance']:g}"
    )
    pairs = [*compared.in_words(), ("verdict", f"scores {words}")]
    return {"model": name, "run": opened.name, "sound": sound, **compared.to_dict()}, pairs
