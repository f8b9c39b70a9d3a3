"""`anomalae train`: learn the normal classes, keep a run, say how well it separates the rest."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import click

from anomalae.cli import completion, console, tables
from anomalae.cli import options as common
from anomalae.cli.progress import downloads
from anomalae.cli.setting_options import config_option, make_settings, settings_options
from anomalae.cli.training_display import (
    check_logs,
    logged,
    runs_dir_flag,
    started_from,
    train_new,
    training_shown,
)
from anomalae.text import listed, number, percent

if TYPE_CHECKING:
    from anomalae.experiments.few_images import Measured
    from anomalae.experiments.run import Run
    from anomalae.runs.record import Data

_OF_RESUME = {"resume", "runs_dir", "data_dir", "device", "threads", "alpha", "quiet", "as_json", "logs"}


@click.command("train")
@click.option(
    "--normal", multiple=True, metavar="CLASSES", help="Normal classes, as in 0 or 0,1,4-6; repeatable."
)
@click.option(
    "--anomalous", multiple=True, metavar="CLASSES", help="Anomalous classes; all the others are normal."
)
@common.dataset_options
@settings_options
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Of split, weights and noise."
)
@common.machine_options
@click.option(
    "--name", callback=common.run_name, help="Name of the run. Default: what it is, as in mnist-0-ae."
)
@common.runs_dir_option
@common.alpha_option
@click.option(
    "--conformal",
    type=common.OneOf(["auto", "split", "cross"]),
    default="auto",
    show_default=True,
    help="What p-values are made of: split puts a tenth of the normal images aside; cross trains five times, each time "
    "without a fifth of them, so that all train and all calibrate. auto is cross with fewer than 400.",
)
@config_option
@click.option(
    "--start",
    metavar="RUN",
    help="Begin with the weights of another run, whose networks have the same shapes.",
    shell_complete=completion.runs,
)
@click.option(
    "--resume",
    metavar="RUN",
    help="Go on with an interrupted training; its settings are kept.",
    shell_complete=completion.unfinished_runs,
)
@click.option(
    "--log",
    "logs",
    multiple=True,
    type=common.OneOf(["tensorboard", "mlflow"]),
    help="Log epochs, figures and final numbers: to TensorBoard, in logs/, or MLflow (pip install "
    "'anomalae[tensorboard]' or 'anomalae[mlflow]'); repeatable.",
)
@common.json_option
@common.quiet_option
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> None:
    """Train a detector on the normal classes of a data set.

    The run is kept in a folder under --runs-dir. The test part is scored after training and never used in it.
    A folder of nothing but normal images (all in one place, or one class) needs neither --normal nor --anomalous; a
    fifth of them is the test part, and such a run has a false-alarm rate but no ROC-AUC.
    With fewer than 400 normal images p-values come from five cross-conformal folds, so that 30 can flag at alpha 0.05;
    false alarms are then proved to be little more than 2 alpha at most, and are about alpha as a rule.

    \b
    Example:
      anomalae train --normal 0
      anomalae train --anomalous 1 --dataset fashion-mnist --latent-dim 32
      anomalae train --dataset scans/
      anomalae train --normal 0 --dataset scans/ --start mnist-0-ae
      anomalae train --resume mnist-0-ae
    """
    from anomalae.datasets.load import check_dataset, may_be_normal_alone

    if options["resume"] is not None:
        _refuse_settings_of_resume(ctx)
        _tell(options, _resume(options))
        return
    if options["dataset"] is not None:
        check_dataset(options["dataset"])
    if not options["normal"] and not options["anomalous"] and not may_be_normal_alone(options["dataset"]):
        raise click.UsageError(
            "say which classes are normal, as in --normal 0, or which are not: --anomalous 1"
        )
    _flag_wins_over_file(ctx, options, "normal", "anomalous")
    if options["normal"] and options["anomalous"]:
        raise click.UsageError("--normal and --anomalous exclude each other")
    settings = make_settings(options, seed=options["seed"])
    _tell(options, train_new(options, settings, options["alpha"]))


def _refuse_settings_of_resume(ctx: click.Context) -> None:
    from click.core import ParameterSource

    for name in ctx.params:
        if name not in _OF_RESUME and ctx.get_parameter_source(name) == ParameterSource.COMMANDLINE:
            flag = name.replace("_", "-")
            raise click.UsageError(f"--{flag} cannot be given with --resume: the run keeps its settings")


def _flag_wins_over_file(ctx: click.Context, options: dict[str, Any], *names: str) -> None:
    """Of options that exclude each other, drop those of the --config file where one was typed."""
    from click.core import ParameterSource

    sources = {name: ctx.get_parameter_source(name) for name in names}
    if ParameterSource.COMMANDLINE in sources.values():
        for name, source in sources.items():
            if source == ParameterSource.DEFAULT_MAP:
                options[name] = ()


def _resume(options: dict[str, Any]) -> Run:
    from anomalae import runs
    from anomalae.experiments.training import resume

    folder = runs.resolve(options["resume"], options["runs_dir"], finished=False)
    check_logs(options)
    with training_shown(options) as shown, logged(options, shown) as watcher:
        return resume(
            folder,
            data_dir=options["data_dir"],
            alpha=options["alpha"],
            device=options["device"],
            threads=options["threads"],
            watcher=watcher,
            progress=downloads(options["quiet"]),
        )


def _tell(options: dict[str, Any], run: Run) -> None:
    from anomalae.experiments.few_images import nearest

    data = run.detector.data
    document, measured = run.document(run.evaluation()), nearest(data.n_normal, data.folds)
    if options["as_json"]:
        folds = {"folds": data.folds} if data.folds else {}
        told = {} if measured is None else {"measured": dataclasses.asdict(measured)}
        click.echo(json.dumps({**document, **folds, **told}))
    elif not options["quiet"]:
        _summary(options, run, document, measured)


def _summary(options: dict[str, Any], run: Run, document: dict[str, Any], measured: Measured | None) -> None:
    data, settings = run.detector.data, run.detector.settings
    threshold = number(document["threshold"], 6)
    rows = [
        ("run", str(run.folder)),
        ("data", f"{data.name}: {data.images_in_words} images of {listed(data.normal, ',')}"),
        ("model", f"{settings.short}, latent {settings.latent_dim}, {settings.epochs} epochs"),
        *started_from(run.detector.start),
        ("threshold", f"{threshold} on the {settings.rule} score, at alpha {document['alpha']:g}"),
        *_of_folds(data, document["alpha"]),
        *tables.test_rates(document),
    ]  # fmt: skip
    if document["n_anomalous"]:
        rows.append(
            ("detected", f"{percent(document['detection_rate'])} of {document['n_anomalous']} anomalous ones")
        )
    if measured is not None:
        rows.append((f"measured with {measured.n}", measured.in_words()))
    out = console.out_console()
    tables.print_pairs(rows, out)
    more = f" --run {run.name}{runs_dir_flag(options['runs_dir'])}"
    tables.say_commands("next:", [f"anomalae score IMAGES/{more}", f"anomalae evaluate{more}"], out)


def _of_folds(data: Data, alpha: float) -> list[tuple[str, str]]:
    """Return what scores are in folds, and what is promised of false alarms; nothing of images that were put aside."""
    if not data.folds:
        return []
    return [
        ("scores", f"how many of the {data.n_train} an image is above, by networks that did not see them, 0 to "
                   f"{data.n_train + 1}"),
        ("promised", tables.promised(data, alpha)),
    ]  # fmt: skip
