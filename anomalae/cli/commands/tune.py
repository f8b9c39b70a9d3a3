"""`anomalae tune`: find settings with no anomalies at hand."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anomalae.cli import console, tables
from anomalae.cli import options as common
from anomalae.cli.console import said, shell_word, warn
from anomalae.cli.lines import tell
from anomalae.cli.setting_options import asked_for, flag, make_settings, settings_options
from anomalae.errors import ConfigError, DataError
from anomalae.files import file_name
from anomalae.text import classes, duration, number, plural, typed

if TYPE_CHECKING:
    from anomalae.datasets.dataset import Dataset
    from anomalae.experiments.trials import Trial
    from anomalae.experiments.tuning import Tuning

STUDIES = Path("reports") / "studies"


@click.command("tune")
@click.option(
    "--normal", multiple=True, metavar="CLASSES", help="Normal classes, as in 0 or 0,1,4-6; repeatable."
)
@click.option(
    "--anomalous", multiple=True, metavar="CLASSES", help="Anomalous classes; all the others are normal."
)
@click.option(
    "--trials",
    type=click.IntRange(1, 10_000),
    default=30,
    show_default=True,
    help="Trials in all, those of an earlier call among them.",
)
@click.option(
    "--seeds",
    metavar="SEEDS",
    default="0,1",
    show_default=True,
    help="A trial is trained by each, and judged by the mean.",
)
@click.option("--no-pruning", is_flag=True, help="Train every trial to its end; break off none.")
@common.dataset_options
@settings_options
@common.executor_options("1")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for trials and winner.  [default: reports/tuning/DATA-CLASSES]",
)
@common.json_option
@common.quiet_option
def command(**options: Any) -> None:
    """Find settings with no anomalies at all, and write them for `train --config`.

    Each trial is trained on normal images, and judged by how well its scores tell held-out ones from anomalies made of
    these: strokes removed or added, halves joined, patches swapped. Width, noise, learning rate, view, layers and score
    are searched; a setting that is given is the same for all trials. Needs Optuna (pip install 'anomalae[tune]'), which
    keeps the trials in trials.db in the output folder: called again with the same options, the search goes on; with
    others, and with other data, code or versions of what computes, it is another search, and the winner of the one
    before is kept under a name of its own. The first trial is the default. `optuna-dashboard
    sqlite:///FOLDER/trials.db` (pip install optuna-dashboard) shows it. With --jobs so many trials are asked for and
    done at once, by one thread each.

    Trials are judged after an eighth, a quarter and half of their epochs too. One that by then was never as good as the
    median of those that were trained to the end is broken off, and cannot win (Optuna's MedianPruner, from the fifth
    trial on).

    \b
    Example:
      anomalae tune --normal 3 --trials 30
      anomalae train --config reports/tuning/mnist-3/winner.toml
    """
    from anomalae.datasets.classes import choose_classes
    from anomalae.datasets.load import check_dataset, may_be_normal_alone
    from anomalae.experiments.tuning import FEW, Tuning
    from anomalae.experiments.worth import worth

    common.end_on_signals()
    named = bool(options["normal"]) + bool(options["anomalous"])
    if options["dataset"] is not None:
        check_dataset(options["dataset"])
    if named == 2 or not (named or may_be_normal_alone(options["dataset"])):
        raise click.UsageError(
            "say which classes are normal, as in --normal 3, or which are not: --anomalous 1"
        )
    seeds = common.seed_list(options["seeds"])
    # Warns of what wins over a preset, and refuses what cannot be.
    make_settings(options)
    fixed = asked_for(options)
    dataset = common.load(options)
    normal, anomalous = options["normal"] or None, options["anomalous"] or None
    try:
        choose_classes(normal, anomalous, dataset.classes, dataset.short_name)
    except DataError as error:
        raise click.UsageError(said(error)) from None
    split = dataset.one_class(normal, anomalous)
    folder = options["output"] or Path("reports") / "tuning" / _folder_name(dataset, options)
    tuning = Tuning(dataset, split.normal, folder, fixed, seeds, not options["no_pruning"])
    if tuning.n_held_out < FEW:
        warn(
            f"{plural(tuning.n_held_out, 'held-out image')}: with fewer than {FEW}, how well they are told from "
            "synthetic anomalies is a rough guess"
        )
    if not options["quiet"]:
        tell(
            f"{plural(len(tuning.searched), 'setting')} searched of {dataset.short_name}, normal "
            f"{classes(split.normal)}: {', '.join(flag(name)[2:] for name in tuning.searched)}"
        )
    executor = common.make_executor(options, 1)
    done = _Lines(options["trials"], quiet=options["quiet"])
    try:
        trials = tuning.run(options["trials"], done, executor)
    except KeyboardInterrupt:
        tell(f"Interrupted with {plural(done.n, 'trial')} done now; the same command goes on.")
        raise SystemExit(common.INTERRUPTED) from None
    except ConfigError as error:
        raise click.UsageError(said(error)) from None
    honest = worth(STUDIES)
    if options["as_json"]:
        click.echo(json.dumps({**tuning.document(trials), "worth": honest}))
    elif not options["quiet"]:
        _summary(tuning, trials, honest)


def _folder_name(dataset: Dataset, options: dict[str, Any]) -> str:
    """Return a name of data and classes, as in mnist-3 or mnist-not1."""
    side = options["normal"] or options["anomalous"] or map(str, dataset.classes)
    words = ",".join(side).replace(" ", "")
    return file_name(f"{dataset.short_name}-{'not' if options['anomalous'] else ''}{words}")


class _Lines:
    """Tells of each trial when it is done."""

    def __init__(self, total: int, *, quiet: bool) -> None:
        self.total, self.quiet, self.n, self.best = total, quiet, 0, 0.0
        self.begun = time.monotonic()

    def __call__(self, trial: Trial) -> None:
        self.n += 1
        self.best = max(self.best, trial.value or 0.0)
        if self.quiet:
            return
        what = number(trial.value) if trial.value is not None else f"broken off at {number(trial.reached)}"
        what = f"failed: {trial.problem}" if trial.problem else what
        shown = ", ".join(f"{flag(name)[2:]} {typed(value)}" for name, value in trial.settings.items())
        left = (time.monotonic() - self.begun) / self.n * (self.total - trial.number)
        more = f"; {duration(left)} left" if trial.number < self.total else ""
        tell(f"trial {trial.number} of {self.total}: {what}  {shown}{more}")


def _summary(tuning: Tuning, trials: list[Trial], honest: str) -> None:
    document = tuning.document(trials)
    shown = ", ".join(f"{flag(name)[2:]} {typed(value)}" for name, value in document["settings"].items())
    parts = [plural(document["trials"], "trial")]
    parts += [
        f"{document[key]} {word}"
        for key, word in (("pruned", "broken off"), ("failed", "failed"))
        if document[key]
    ]
    values = (
        f"{number(document['value'])} against synthetic anomalies; the default {number(document['default'])}"
    )
    rows = [
        ("trials", ", ".join(parts)),
        ("best", f"trial {document['best']}: {shown}"),
        ("ROC-AUC", values),
        ("written", document["winner"]),
    ]
    out = console.out_console()
    tables.print_pairs(rows, out)
    tables.say(honest, out)
    winner = Path(document["winner"])
    tables.say_commands(
        "next:",
        [f"anomalae train --config {shell_word(winner)}"],
        out,
    )
