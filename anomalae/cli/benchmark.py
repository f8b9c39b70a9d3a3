"""`anomalae benchmark`: one-vs-rest over classes and seeds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from anomalae.cli import common
from anomalae.cli.progress import TrainingDisplay
from anomalae.cli.settings import config_option, make_settings, settings_options


@click.command("benchmark")
@click.option(
    "--normal",
    multiple=True,
    default=["each"],
    show_default=True,
    metavar="each|CLASSES",
    help="Classes that are normal in turn, as in 2,5,8,9.",
)
@click.option("--seeds", default="0", show_default=True, metavar="SEEDS", help="Seeds, as in 0,1,2.")
@click.option(
    "--part",
    type=click.Choice(["test", "development"]),
    default="test",
    show_default=True,
    help="Judge on the test part, or on validation normals against train-part images of the other classes: "
    "compare settings there.",
)
@common.dataset_options
@settings_options
@common.machine_options
@common.alpha_option
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the cells and tables.  [default: reports/benchmark-DATA-MODEL]",
)
@config_option
@common.json_option
@common.quiet_option
def command(**given: Any) -> None:
    """Train and evaluate each class against the rest, for several seeds, and print the table.

    Each cell is written as it is done; called again, the benchmark goes on where it was, and classes or seeds can
    be added. The tables are OUTPUT/table.md, table.csv and table.json.

    \b
    Example:
      anomalae benchmark --normal each --seeds 0,1,2
      anomalae benchmark --normal 2,8 --part development --latent-dim 16 --output reports/latent-16
    """
    from anomalae import benchmark
    from anomalae.datasets import parse_classes

    settings = make_settings(given)
    dataset = common.load(given)
    each = list(given["normal"]) == ["each"]
    short = Path(dataset.name).name
    normals = dataset.classes if each else parse_classes(given["normal"], dataset.classes, short)
    seeds = _seeds(given["seeds"])
    grid = benchmark.Grid(dataset, normals, seeds, settings, given["part"], given["alpha"])
    folder = given["output"] or Path("reports") / f"benchmark-{short}-{settings.model}"
    total, quiet = len(normals) * len(seeds), given["quiet"]
    done: list[str] = []
    displays: list[TrainingDisplay] = []

    def on_start(name: str, split: Any) -> Any:
        if not quiet:
            click.echo(f"[{len(done) + 1}/{total}] {name}", err=True)
        epochs = settings.for_images(len(split.train)).epochs or 0
        display = TrainingDisplay(
            epochs, len(split.train) * settings.n_networks, quiet=quiet or not common.watched()
        )
        displays.append(display.__enter__())
        return display.on_epoch, display.on_batch

    def on_cell(name: str, cell: dict[str, Any], new: bool) -> None:
        done.append(name)
        while displays:
            displays.pop().__exit__()
        if not quiet:
            auc = common.number(cell["scores"][settings.rule]["roc_auc"])
            how = f"trained in {cell['seconds']:.0f} s" if new else "kept"
            click.echo(f"[{len(done)}/{total}] {name}: ROC-AUC {auc} ({how})", err=True)

    try:
        table = benchmark.run(
            grid, folder, device=given["device"], threads=given["threads"], on_cell=on_cell, on_start=on_start
        )
    except KeyboardInterrupt:
        click.echo(f"Interrupted with {len(done)} of {total} cells done; the same command goes on.", err=True)
        raise SystemExit(1) from None
    finally:
        while displays:
            displays.pop().__exit__()
    if given["as_json"]:
        click.echo(json.dumps(table))
    elif not quiet:
        click.echo(benchmark.markdown(table))
        click.echo(f"kept: {folder / 'table.md'}, table.csv, table.json", err=True)


def _seeds(text: str) -> tuple[int, ...]:
    try:
        seeds = tuple(int(word) for word in text.split(","))
    except ValueError:
        raise click.UsageError(f"--seeds {text!r}: expected whole numbers with commas, as in 0,1,2") from None
    if min(seeds) < 0:
        raise click.UsageError(f"--seeds {text}: must be at least 0")
    return seeds
