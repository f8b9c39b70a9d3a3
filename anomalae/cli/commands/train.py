"""`anomalae train`: learn the normal classes, keep a run, say how well it separates the rest."""

from __future__ import annotations

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
    from anomalae.experiments.run import Run

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
    document = run.document(run.evaluation())
    if options["as_json"]:
        click.echo(json.dumps(document))
    elif not options["quiet"]:
        _summary(options, run, document)


def _summary(options: dict[str, Any], run: Run, document: dict[str, Any]) -> None:
    data, settings = run.detector.data, run.detector.settings
    threshold = number(document["threshold"], 6)
    rows = [
        ("run", str(run.folder)),
        ("data", f"{data.name}: {data.n_train} training, {data.n_validation} validation, "
                 f"{data.n_calibration} calibration images of {listed(data.normal, ',')}"),
        ("model", f"{settings.short}, latent {settings.latent_dim}, {settings.epochs} epochs"),
        *started_from(run.detector.start),
        ("threshold", f"{threshold} on the {settings.rule} score, at alpha {document['alpha']:g}"),
        *tables.test_rates(document),
    ]  # fmt: skip
    if document["n_anomalous"]:
        rows.append(
            ("detected", f"{percent(document['detection_rate'])} of {document['n_anomalous']} anomalous ones")
        )
    out = console.out_console()
    tables.print_pairs(rows, out)
    more = f" --run {run.name}{runs_dir_flag(options['runs_dir'])}"
    tables.say_commands("next:", [f"anomalae score IMAGES/{more}", f"anomalae evaluate{more}"], out)
