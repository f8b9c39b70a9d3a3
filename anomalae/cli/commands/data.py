"""`anomalae data`: which data sets are here, fetch one, export images to files."""

from __future__ import annotations

import json
from pathlib import Path

import click

from anomalae.cli import completion, console
from anomalae.cli import options as common
from anomalae.cli.progress import downloads
from anomalae.cli.tables import Column, print_table


@click.group("data")
def command() -> None:
    """List, fetch and export data sets.

    \b
    Example:
      anomalae data list
      anomalae data export digits images/ --limit 20
    """


@command.command("list")
@common.data_dir_option
@common.json_option
def list_(data_dir: str | None, as_json: bool) -> None:
    """List the data sets, and which of them are here.

    \b
    Example:
      anomalae data list --data-dir data
    """
    from anomalae.datasets.load import DATASETS, locate

    statuses = [locate(name, data_dir) for name in DATASETS]
    if as_json:
        click.echo(json.dumps([status.to_dict() for status in statuses]))
        return
    columns = (
        Column("name", "name"),
        Column("here", "name"),
        Column("where", "path", rank=1),
        Column("what", "words"),
    )
    rows = [(status.name, status.state, str(status.where or ""), status.description) for status in statuses]
    print_table(columns, rows, console.out_console(), elsewhere="--json has it")


@command.command("fetch")
@click.argument("name", shell_complete=completion.datasets)
@common.data_dir_option
@common.quiet_option
def fetch_(name: str, data_dir: str | None, quiet: bool) -> None:
    """Download the data set NAME and check its hashes; nothing is done if it is here already.

    \b
    Example:
      anomalae data fetch mnist
    """
    from anomalae.datasets.load import fetch

    where = fetch(name, data_dir, downloads(quiet))
    if not quiet:
        click.echo(f"{name}: {where}")


@command.command("export")
@click.argument("name", metavar="NAME|FOLDER|FILE.npz", shell_complete=completion.datasets)
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--split", type=common.OneOf(["train", "test"]), default="test", show_default=True, help="Which part."
)
@click.option(
    "--limit", type=click.IntRange(1), help="At most this many images in all, spread over the classes."
)
@click.option(
    "--class", "classes", multiple=True, metavar="CLASSES", help="Only these classes, as in 3 or 0,4-6."
)
@common.data_dir_option
@common.preprocess_options("auto", "auto")
@common.quiet_option
def export_(
    name: str,
    folder: Path,
    split: str,
    limit: int | None,
    classes: tuple[str, ...],
    data_dir: str | None,
    preprocess: str,
    polarity: str,
    quiet: bool,
) -> None:
    """Write images of a data set as FOLDER/CLASS/INDEX.png, INDEX being the place in the part.

    \b
    Example:
      anomalae data export mnist images/ --split test --limit 50 --class 3
    """
    from anomalae.datasets.load import export, parse_classes

    how = {"preprocess": preprocess, "polarity": polarity, "quiet": quiet}
    dataset = common.load({"dataset": name, "data_dir": data_dir, **how})
    wanted = parse_classes(classes, dataset.classes, dataset.short_name) if classes else None
    written = export(dataset.train if split == "train" else dataset.test, folder, limit=limit, classes=wanted)
    if not quiet:
        click.echo(f"{len(written)} images of {name} written to {folder}")
