"""`anomalae compare`: what PyOD's detectors make of the images a run was trained and tested on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anomalae.cli import console, tables
from anomalae.cli import options as common
from anomalae.cli.lines import tell
from anomalae.cli.progress import working
from anomalae.cli.tables import Column
from anomalae.settings import DEFAULT_ALPHA, PIXELS
from anomalae.text import number, printable

if TYPE_CHECKING:
    import numpy as np

    from anomalae.experiments.baselines.registry import Baseline
    from anomalae.experiments.baselines.trials import Trial
    from anomalae.experiments.comparison import Problem
    from anomalae.experiments.run import Run

# These take a minute on a class of MNIST.
QUICK = "knn,lof,pca,iforest,autoencoder"
SUFFIXES = (".csv", ".json", ".md")
# Columns of the table that are left out where the terminal is narrow, the highest number first.
RANKS = {"settings": 7, "µs/image": 6, "AP": 5, "95% interval": 4, "MB": 3, "FPR95": 2, "fit s": 1}


@click.command("compare")
@click.option(
    "--baseline",
    "baselines",
    multiple=True,
    default=[QUICK],
    show_default=True,
    metavar="all|NAMES",
    help="Baselines, as in knn,lof; see --list.",
)
@click.option("--list", "as_list", is_flag=True, help="Name the baselines with a line each, and end.")
@common.run_operand
@click.option(
    "--normal",
    multiple=True,
    metavar="CLASSES",
    help="Instead of RUN: train a run on these classes first, with the default settings.",
)
@common.runs_dir_option
@common.dataset_options
@click.option(
    "--pca",
    type=click.IntRange(1, PIXELS),
    metavar="N",
    help="Show baselines that live on distances or densities N principal components in place of the pixels.",
)
@click.option(
    "--time-limit",
    type=float,
    callback=common.seconds,
    metavar="SECONDS",
    help="End a baseline that takes longer.",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    help="Of the baselines, and of the training with --normal.  [default: the run's; 0 with --normal]",
)
@common.machine_options
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the table to this file, FILE.csv, .json or .md, as well.",
)
@common.json_option
@common.quiet_option
def command(**options: Any) -> None:
    """Compare RUN with PyOD's detectors, fitted on the same images and scored on the same test images.

    Each baseline runs in a process of its own, one after another; its results are kept among the runs, and a second
    call only fits what is new. The table is kept in the run as comparison.json. Where PyOD's defaults do not suit
    pixels in [0, 1] a baseline has two rows, (defaults) and (fair).

    \b
    Example:
      anomalae compare
      anomalae compare mnist-0-ae --baseline all --time-limit 600
      anomalae compare --baseline knn,lof --normal 0 --output table.md
    """

    if options["as_list"]:
        _list(options["as_json"])
        return
    chosen = common.baselines(options["baselines"])
    _check_output(options["output"])
    if options["run"] is not None and options["normal"]:
        raise click.UsageError("RUN and --normal exclude each other")
    if not options["normal"]:
        _refuse_data_options()
    _compare(options, chosen)


def _list(as_json: bool) -> None:
    from anomalae.experiments.baselines.registry import BASELINES

    if as_json:
        click.echo(json.dumps([{"label": b.label, "name": b.name, "about": b.about, "settings": b.described(),
                                "random": b.random, "pca": b.few_dimensions} for b in BASELINES]))  # fmt: skip
        return
    columns = (
        Column("baseline", "words"),
        Column("what it is", "words"),
        Column("settings", "words", rank=1),
    )
    rows = [(b.label, b.about, b.described()) for b in BASELINES]
    tables.print_table(columns, rows, console.out_console(), elsewhere="--json has them")


def _check_output(path: Path | None) -> None:
    """Fail now, not after an hour of fitting."""
    from anomalae.errors import BundleError

    if path is None:
        return
    common.check_suffix(path, *SUFFIXES)
    if not path.parent.is_dir():
        raise BundleError(f"{path}: cannot be written: the folder does not exist")


def _refuse_data_options() -> None:
    from click.core import ParameterSource

    ctx = click.get_current_context()
    for name in ("dataset", "preprocess", "polarity"):
        if ctx.get_parameter_source(name) == ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{name} needs --normal: a run is compared on its own data")


def _compare(options: dict[str, Any], chosen: Sequence[Baseline]) -> None:
    from anomalae.experiments import comparison
    from anomalae.experiments.baselines import trials

    common.end_on_signals()
    problem = _problem(options)
    run_scores = comparison.score_run(problem)
    seed = problem.seed if options["seed"] is None else options["seed"]
    display = _Display(len(chosen), problem.is_anomaly, quiet=options["quiet"])
    try:
        with display:
            done = trials.run_trials(
                chosen,
                problem.train,
                problem.test.images,
                seed=seed,
                pca=options["pca"],
                time_limit=options["time_limit"],
                threads=options["threads"],
                cache=problem.run.folder.parent / trials.CACHE,
                on_start=display.on_start,
                on_done=display.on_done,
            )
    except KeyboardInterrupt:
        tell(f"Interrupted with {display.done} of {len(chosen)} baselines done; the same command goes on.")
        raise SystemExit(common.INTERRUPTED) from None
    document = comparison.document(
        problem,
        run_scores,
        comparison.rows(problem, run_scores, done),
        run=options["run"],
        runs_dir=options["runs_dir"],
        baselines=",".join(options["baselines"]),
        **{"seed": seed, **{name: options[name] for name in ("pca", "time_limit", "threads")}},
    )
    failed = sum(not trial.ok for trial in done)
    # Where all of them failed, what the run has kept is better.
    if failed < len(done):
        comparison.keep(problem, run_scores, done, document)
    _write(options["output"], document)
    if options["as_json"]:
        click.echo(json.dumps(document))
    elif not options["quiet"]:
        _table(document, problem.run.folder if failed < len(done) else None)
    if failed:
        raise SystemExit(1 if failed == len(done) else common.IN_PART)


def _problem(options: dict[str, Any]) -> Problem:
    """Return the run to compare with, trained now if need be, and its images."""
    from anomalae.cli.progress import downloads
    from anomalae.experiments import comparison
    from anomalae.experiments.run import Run

    if options["normal"]:
        return comparison.find_problem(_trained(options))
    machine = {name: options[name] for name in ("device", "threads", "data_dir")}
    run = Run.open(options["run"], options["runs_dir"], progress=downloads(options["quiet"]), **machine)
    return comparison.find_problem(run)


def _trained(options: dict[str, Any]) -> Run:
    from anomalae.cli.training_display import train_new
    from anomalae.experiments.baselines.registry import check_components
    from anomalae.settings import Settings

    def check(split: Any) -> None:
        if not split.anomalous:
            raise click.UsageError("nothing can be compared: all images of this data set are normal")
        if options["pca"] is not None:
            check_components(options["pca"], len(split.train) + len(split.validation))

    of_training = {**options, "anomalous": (), "name": None}
    return train_new(of_training, Settings.of(seed=options["seed"] or 0), DEFAULT_ALPHA, check)


def _write(path: Path | None, document: dict[str, Any]) -> None:
    from anomalae import files
    from anomalae.experiments import comparison

    if path is None:
        return
    if path.suffix.lower() == ".json":
        files.write_json(path, document)
    else:
        form = comparison.csv_table if path.suffix.lower() == ".csv" else comparison.markdown
        files.write_bytes(path, form(document).encode())


class _Display:
    """Shows which baseline is at work and for how long, and a line for each that is done."""

    def __init__(self, total: int, is_anomaly: np.ndarray, *, quiet: bool) -> None:
        self.total, self.is_anomaly, self.quiet = total, is_anomaly, quiet
        self.done = 0
        self.progress: Any = None
        if not quiet and console.watched():
            self.progress = working()

    def __enter__(self) -> _Display:
        if self.progress:
            self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.progress:
            self.progress.stop()

    def on_start(self, baseline: Baseline) -> None:
        """Show the baseline whose process is about to start."""
        text = f"[{self.done + 1}/{self.total}] {baseline.label}"
        if self.progress:
            self._clear()
            self.progress.add_task(printable(text))
        elif not self.quiet:
            tell(text)

    def on_done(self, trial: Trial) -> None:
        """Print the outcome of a baseline that is done, or whose result was there already."""
        self.done += 1
        if self.quiet:
            return
        text = f"[{self.done}/{self.total}] {trial.baseline.label}: {self._outcome(trial)}"
        self._clear()
        tell(text)

    def _outcome(self, trial: Trial) -> str:
        from anomalae.evaluation.metrics import evaluate

        if not trial.ok or trial.scores is None:
            return trial.status
        auc = number(evaluate(trial.scores, self.is_anomaly).roc_auc)
        how = "kept" if trial.kept else f"fitted in {trial.fit_seconds:.1f} s"
        return f"ROC-AUC {auc} ({how})"

    def _clear(self) -> None:
        for task in self.progress.task_ids if self.progress else ():
            self.progress.remove_task(task)


def _table(document: dict[str, Any], folder: Path | None) -> None:
    """Print the table, as much of it as there is room for; then what failed."""
    from rich.text import Text

    from anomalae import runs
    from anomalae.experiments import comparison

    out = console.out_console()
    columns = [
        Column(title, "words" if title in ("method", "settings") else "number", RANKS.get(title, 0))
        for title in comparison.COLUMNS[:-1]
    ]
    cells = [
        [Text(printable(text), style="bold" if best else "") for text, best in row[:-1]]
        for row in comparison.cells(document)
    ]
    tables.print_table(columns, cells, out, elsewhere="--output and --json have them")
    for failed in document["rows"]:
        if failed["status"] != "ok":
            tables.say(f"{failed['method']}: {failed['status']}", out, style="yellow")
    for note in comparison.notes(document):
        tables.say(note, out)
    if folder is not None:
        tables.say(f"kept: {folder / runs.COMPARISON}", out)
