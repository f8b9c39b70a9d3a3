"""`anomalae demo`: the page on which one draws, with a run in it, which needs no server."""

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


@click.command("demo")
@click.argument("path", type=click.Path(path_type=Path), metavar="FILE.html|FOLDER")
@model_options
@common.data_dir_option
@common.json_option
@common.quiet_option
def command(path: Path, **options: Any) -> None:
    """Make a page on which one draws and sees what a run makes of it. Needs: pip install 'anomalae[onnx]'.

    The page is that of `anomalae serve`, and needs no server: FILE.html has the model in it, opens by a double click
    and asks nothing of the network. FOLDER has the same in parts, for a web space. Drawings alone are judged; images of
    any other kind go through `anomalae serve`. Before it is kept the model is compared with the run, as by `anomalae
    export`. A demo that is there is replaced. Whoever has the page has the model, and of a run with neighbours the
    training images.

    \b
    Example:
      anomalae demo --run mnist-0-ae demo.html
      anomalae demo --run mnist-0-ae --calibration scans --images scans/more public/digits/
    """
    from anomalae.demo import write_demo

    run, asked = opened(options)
    with counting("comparing", len(asked["images"]), quiet=options["quiet"]) as done:
        written, compared = write_demo(run.detector, path, on_scored=done, **asked)
    size = sum(file.stat().st_size for file in written)
    if options["as_json"]:
        document = {
            "run": run.name,
            "path": str(path),
            "bytes": size,
            "files": [str(file) for file in written],
        }
        click.echo(json.dumps({**document, **compared.to_dict()}))
        return
    if not options["quiet"]:
        tables.print_pairs(compared.in_words(), console.out_console())
        tell(f"written: {path} ({count(round(size / 1000))} kB)")
