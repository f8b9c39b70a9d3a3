"""`anomalae benchmark`: one-vs-rest over classes and seeds."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anomalae.cli import completion, console, tables
from anomalae.cli import options as common
from anomalae.cli.lines import tell
from anomalae.cli.progress import TrainingDisplay
from anomalae.cli.setting_options import config_option, make_settings, settings_options
from anomalae.cli.tables import Column
from anomalae.text import number, printable

if TYPE_CHECKING:
    from anomalae.experiments.baselines.registry import Baseline
    from anomalae.experiments.baselines.trials import Trial
    from anomalae.experiments.grid import Grid

# Cells that are named in a line.
MOST_NAMED = 5


@click.command("benchmark")
@click.option(
    "--normal",
    multiple=True,
    metavar="each|CLASSES",
    help="Classes that are normal in turn, as in 2,5,8,9.  [default: each]",
)
@click.option(
    "--anomalous",
    multiple=True,
    metavar="each|CLASSES",
    help="The other way round: classes that are anomalous in turn, all the others normal.",
)
@click.option("--seeds", default="0", show_default=True, metavar="SEEDS", help="Seeds, as in 0,1,2.")
@click.option(
    "--part",
    type=common.OneOf(["test", "development"]),
    default="test",
    show_default=True,
    help="Judge on the test part, or on validation normals against train-part images of the other classes: "
    "compare settings there.",
)
@click.option(
    "--also",
    multiple=True,
    metavar="NAME|FOLDER|FILE.npz",
    shell_complete=completion.datasets,
    help="Score all images of other data as well, by each detector as it is; repeatable. They need the normal classes, "
    "by name, and are read with the same --preprocess and --polarity.",
)
@click.option(
    "--baseline",
    "baselines",
    multiple=True,
    metavar="all|NAMES",
    help="Add columns of PyOD's detectors, as in knn,lof; `anomalae compare --list` names them.",
)
@click.option(
    "--time-limit",
    type=float,
    callback=common.seconds,
    metavar="SECONDS",
    help="End a baseline that takes longer.",
)
@common.dataset_options
@settings_options
@common.machine_options
@common.executor_options("1; a cell has one thread unless it has neighbours or --threads")
@common.alpha_option
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the cells and tables.  [default: reports/benchmark-DATA-MODEL, and the preset's name]",
)
@config_option
@common.json_option
@common.quiet_option
def command(**options: Any) -> None:
    """Train and evaluate each class against the rest, for several seeds, and print the table.

    Each cell is written as it is done; called again, the benchmark goes on where it was, and classes or seeds can
    be added. A cell of another revision, version, device, arithmetic or number of threads is left as it is, and made
    anew. One that fails is done once more, then left out of the table, which says why (exit status 4). The tables are
    OUTPUT/table.md, table.csv and table.json. Baselines are fitted on the training and
    validation images of each cell, with --part development on the training images alone, and score the same images.
    No weights are kept: a cell without scores of an --also, or of what it held then, is trained again.

    \b
    Example:
      anomalae benchmark --normal each --seeds 0,1,2 --jobs 2
      anomalae benchmark --normal each --part development --also others.npz
      anomalae benchmark --normal each --baseline lof,knn,pca
      anomalae benchmark --normal 2,8 --part development --latent-dim 16 --output reports/latent-16
    """
    from anomalae.datasets.load import check_dataset, parse_classes
    from anomalae.experiments import benchmark
    from anomalae.experiments.grid import CELLS, Grid
    from anomalae.runs.locks import lock

    common.end_on_signals()
    if options["normal"] and options["anomalous"]:
        raise click.UsageError("--normal and --anomalous exclude each other")
    chosen = common.baselines(options["baselines"])
    side = "anomalous" if options["anomalous"] else "normal"

    settings = make_settings(options)
    for name in options["also"]:
        check_dataset(name)
    dataset = common.load(options)
    also = tuple(common.load(options, name) for name in options["also"])
    every_class = list(options[side] or ["each"]) == ["each"]
    short = dataset.short_name
    classes = dataset.classes if every_class else parse_classes(options[side], dataset.classes, short)
    seeds = common.seed_list(options["seeds"])
    grid = Grid(dataset, classes, seeds, settings, options["part"], options["alpha"], side, also)
    which = "" if side == "normal" else "-anomalous"
    which += f"-{options['preset']}" if options["preset"] else ""
    folder = options["output"] or Path("reports") / f"benchmark-{short}-{settings.model}{which}"
    total, quiet = len(classes) * len(seeds), options["quiet"]
    executor = common.make_executor(options, 1)
    done: list[str] = []
    failed: list[str] = []
    displays: list[TrainingDisplay] = []

    def close() -> None:
        while displays:
            displays.pop().__exit__()

    def on_start(name: str, split: Any) -> Any:
        # Of one that failed meanwhile.
        close()
        if not quiet:
            tell(f"[{len(done) + len(failed) + 1}/{total}] {name}")
        epochs = settings.for_images(len(split.train)).epochs or 0
        display = TrainingDisplay(
            epochs, len(split.train) * settings.n_networks, quiet=quiet or not console.watched()
        )
        # Before it starts, so that an interruption meanwhile leaves no bar.
        displays.append(display)
        display.__enter__()
        return display.on_epoch, display.on_batch

    def on_cell(name: str, cell: dict[str, Any], new: bool) -> None:
        done.append(name)
        close()
        if not quiet:
            auc = number(cell["scores"][settings.rule]["roc_auc"])
            for label, other in zip(grid.also_labels, also, strict=True):
                auc += f", on {label} {number(cell['also'][other.name]['scores'][settings.rule]['roc_auc'])}"
            how = f"trained in {cell['seconds']:.0f} s" if new else "kept"
            tell(f"[{len(done) + len(failed)}/{total}] {name}: ROC-AUC {auc} ({how})")

    def on_failed(name: str, problem: str) -> None:
        failed.append(name)
        close()
        if not quiet:
            tell(f"[{len(done) + len(failed)}/{total}] {name}: failed twice: {printable(problem)}")

    def on_others(names: list[str], differing: list[str]) -> None:
        more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
        tell(
            f"{folder / CELLS}: cells of another {', '.join(differing)} are left as they are, and made anew: "
            f"{', '.join(map(printable, names[:MOST_NAMED]))}{more}"
        )

    what = "cells"
    benchmark.prepare(grid, folder)
    try:
        with lock(folder / CELLS, "another benchmark is at work here"):
            table = benchmark.run(
                grid,
                folder,
                device=options["device"],
                threads=options["threads"],
                executor=executor,
                on_cell=on_cell,
                on_failed=on_failed,
                on_others=on_others,
                on_broken=common.tell_of_broken,
                on_start=on_start,
            )
            if chosen:
                what = "baselines"
                table = _baselines(grid, folder, table, chosen, options)
    except KeyboardInterrupt:
        at = f"{len(done)} of {total} cells done" if what == "cells" else "the cells done, in their baselines"
        tell(f"Interrupted with {at}; the same command goes on.")
        raise SystemExit(common.INTERRUPTED) from None
    finally:
        close()
    if options["as_json"]:
        click.echo(json.dumps(table))
    elif not quiet:
        _print(table)
        tell(f"kept: {folder / 'table.md'}, table.csv, table.json")
    if failed and not done and not chosen:
        raise SystemExit(1)
    if failed or (chosen and any(column["failures"] for column in table["baselines"].values())):
        raise SystemExit(common.IN_PART)


def _print(table: dict[str, Any]) -> None:
    """Print the tables: Markdown where it is piped, and for a terminal what there is room for."""
    from rich.text import Text

    from anomalae.experiments import benchmark_tables

    if not sys.stdout.isatty():
        click.echo(benchmark_tables.markdown(table))
        return
    out = console.out_console()
    for part in benchmark_tables.parts(table):
        if part.title:
            tables.say(part.title, out, style="bold")
        columns = [
            Column(title, "number" if at else "words", part.ranks.get(title, 0))
            for at, title in enumerate(part.head)
        ]
        cells = [
            [Text(printable(text), style="bold" if bold else "") for text, bold in row] for row in part.rows
        ]
        tables.print_table(columns, cells, out, elsewhere="table.md has them")
        for note in part.notes:
            tables.say(note, out)
        click.echo()


def _baselines(
    grid: Grid, folder: Path, table: dict[str, Any], chosen: tuple[Baseline, ...], options: dict[str, Any]
) -> dict[str, Any]:
    """Fit the baselines, and write the tables again with their columns."""
    from anomalae.experiments import benchmark
    from anomalae.experiments.baselines import columns as benchmark_baselines

    def on_start(name: str, baseline: Baseline) -> None:
        if not options["quiet"]:
            tell(f"{name}, {baseline.label}: fitting")

    def on_done(name: str, trial: Trial) -> None:
        if not options["quiet"]:
            how = "kept" if trial.kept else f"{trial.fit_seconds:.1f} s" if trial.ok else "failed"
            tell(f"{name}, {trial.baseline.label}: {trial.status} ({how})")

    columns = benchmark_baselines.run_baselines(
        grid,
        folder,
        chosen,
        time_limit=options["time_limit"],
        threads=options["threads"],
        on_start=on_start,
        on_done=on_done,
    )
    limits = {"time_limit": options["time_limit"], "threads": options["threads"]}
    table = benchmark_baselines.add(table, grid, folder, columns, **limits)
    benchmark.write(table, folder)
    return table
