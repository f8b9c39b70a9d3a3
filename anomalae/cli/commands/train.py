"""`anomalae train`: learn the normal classes, keep a run, say how well it separates the rest."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anomalae.cli import console
from anomalae.cli import options as common
from anomalae.cli.progress import TrainingDisplay, counting, downloads
from anomalae.cli.settings import config_option, make_settings, settings_options

if TYPE_CHECKING:
    from anomalae.datasets.load import Dataset, OneClassSplit
    from anomalae.detectors.detector import Detector
    from anomalae.settings import Settings

    Trained = tuple[Path, Detector, dict[str, Any]]  # folder, detector, what `evaluate --json` prints

_OF_RESUME = {"resume", "runs_dir", "data_dir", "device", "threads", "alpha", "quiet", "as_json"}


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
@click.option("--name", help="Name of the run. Default: what it is, as in mnist-0-ae.")
@common.runs_dir_option
@common.alpha_option
@config_option
@click.option("--resume", metavar="RUN", help="Go on with an interrupted training; its settings are kept.")
@common.json_option
@common.quiet_option
@click.pass_context
def command(ctx: click.Context, /, **given: Any) -> None:
    """Train a detector on the normal classes of a data set.

    The run is kept in a folder under --runs-dir. The test part is scored after training and never used in it.

    \b
    Example:
      anomalae train --normal 0
      anomalae train --anomalous 1 --dataset fashion-mnist --latent-dim 32
      anomalae train --resume mnist-0-ae
    """
    if given["resume"] is not None:
        _refuse_settings_of_resume(ctx)
        _resume(given)
        return
    if not given["normal"] and not given["anomalous"]:
        raise click.UsageError(
            "say which classes are normal, as in --normal 0, or which are not: --anomalous 1"
        )
    _flag_wins_over_file(ctx, given, "normal", "anomalous")
    if given["normal"] and given["anomalous"]:
        raise click.UsageError("--normal and --anomalous exclude each other")
    settings = make_settings(given, seed=given["seed"])
    _tell(given, *start(given, settings))


def _refuse_settings_of_resume(ctx: click.Context) -> None:
    from click.core import ParameterSource

    for name in ctx.params:
        if name not in _OF_RESUME and ctx.get_parameter_source(name) == ParameterSource.COMMANDLINE:
            flag = name.replace("_", "-")
            raise click.UsageError(f"--{flag} cannot be given with --resume: the run keeps its settings")


def _flag_wins_over_file(ctx: click.Context, given: dict[str, Any], *names: str) -> None:
    """Of options that exclude each other, drop those of the --config file where one was typed."""
    from click.core import ParameterSource

    sources = {name: ctx.get_parameter_source(name) for name in names}
    if ParameterSource.COMMANDLINE in sources.values():
        for name, source in sources.items():
            if source == ParameterSource.DEFAULT_MAP:
                given[name] = ()


def start(
    given: dict[str, Any], settings: Settings, check: Callable[[OneClassSplit], None] = lambda split: None
) -> Trained:
    """Train a new run and evaluate it; `check` may refuse the split before anything is written.

    `given` holds the options dataset, data_dir, preprocess, polarity, normal, anomalous, name, runs_dir, device,
    threads, alpha and quiet.
    """
    from anomalae import runs
    from anomalae.datasets.load import parse_classes
    from anomalae.runs.environment import choose_device

    choose_device(given["device"])
    if given["name"] is not None:
        folder = given["runs_dir"] / runs.check_name(given["name"])
        if folder.exists():
            raise runs.already_there(folder)
    dataset = common.load(given)
    side = "normal" if given["normal"] else "anomalous"
    named = parse_classes(given[side], dataset.classes, Path(dataset.name).name)
    split = dataset.one_class(**{side: named}, seed=settings.seed)
    check(split)
    settings = settings.for_images(len(split.train))
    folder = runs.create(given["runs_dir"], given["name"], _automatic_name(dataset, split, settings))
    try:
        return _train(given, dataset, split, settings, folder, resume=False)
    except BaseException:
        if not runs.is_unfinished(folder) and not runs.is_finished(folder):  # nothing worth keeping yet
            with contextlib.suppress(OSError):
                runs.remove_empty(folder)
        raise


def _resume(given: dict[str, Any]) -> None:
    from anomalae import runs
    from anomalae.errors import BundleError
    from anomalae.experiments.run import reload_dataset
    from anomalae.runs.record import read_checkpoint

    folder = runs.resolve(given["resume"], given["runs_dir"], finished=False)
    if runs.is_finished(folder):
        raise BundleError(
            f"{folder}: is finished already; evaluate it: anomalae evaluate --run {folder.name}"
        )
    _, _, record = read_checkpoint(folder)
    data = record.data
    dataset = reload_dataset(data, given["data_dir"], downloads(given["quiet"]))
    split = dataset.one_class(normal=data.normal, seed=data.seed)
    if given["threads"] is None:
        given["threads"] = record.environment.threads
    _tell(given, *_train(given, dataset, split, record.settings, folder, resume=True))


def _train(
    given: dict[str, Any],
    dataset: Dataset,
    split: OneClassSplit,
    settings: Settings,
    folder: Path,
    *,
    resume: bool,
) -> Trained:
    from anomalae.evaluation.conformal import calibration_warning
    from anomalae.experiments import run as experiment
    from anomalae.runs import results
    from anomalae.runs.record import read_checkpoint

    done = len(read_checkpoint(folder)[1]) if resume else 0
    quiet = given["quiet"]
    if not quiet:
        verb = f"going on after epoch {done}" if resume else "training"
        click.echo(
            f"{verb}: {folder}  ({dataset.name}, normal {common.classes(split.normal)}, "
            f"{len(split.train)} training images)",
            err=True,
        )
    display = TrainingDisplay(
        settings.epochs or 0, len(split.train) * settings.n_networks, done=done, quiet=quiet
    )
    try:
        with display:
            detector = experiment.train_run(
                dataset,
                split,
                settings,
                folder,
                device=given["device"],
                threads=given["threads"],
                resume=resume,
                on_epoch=display.on_epoch,
                on_batch=display.on_batch,
                on_scored=display.on_scored,
            )
    except KeyboardInterrupt:
        click.echo(
            f"Interrupted; go on with: anomalae train --resume {folder.name}{_runs_dir(given)}", err=True
        )
        raise SystemExit(1) from None
    warning = calibration_warning(detector.n_calibration, given["alpha"])
    if warning:
        console.warn(warning)
    with counting("scoring test images", len(split.test), quiet=quiet) as scored:
        evaluation = experiment.evaluate_part(detector, split.test, alpha=given["alpha"], on_scored=scored)
    document = experiment.evaluation_document(folder.name, detector, evaluation, dataset=dataset.name)
    results.write_evaluation(folder, document, evaluation)
    return folder, detector, document


def _tell(given: dict[str, Any], folder: Path, detector: Detector, document: dict[str, Any]) -> None:
    if given["as_json"]:
        click.echo(json.dumps(document))
    elif not given["quiet"]:
        _summary(given, folder, detector, document)


def _summary(given: dict[str, Any], folder: Path, detector: Detector, found: dict[str, Any]) -> None:
    from rich.markup import escape
    from rich.table import Table

    data, settings = detector.data, detector.settings
    table = Table(show_header=False, box=None, pad_edge=False)
    threshold = common.number(found["threshold"], 6)
    rows = [
        ("run", str(folder)),
        ("data", f"{data.name}: {data.n_train} training, {data.n_validation} validation, "
                 f"{data.n_calibration} calibration images of {common.classes(data.normal)}"),
        ("model", f"{settings.short}, latent {settings.latent_dim}, {settings.epochs} epochs"),
        ("threshold", f"{threshold} on the {settings.rule} score, at alpha {found['alpha']:g}"),
        ("test ROC-AUC", f"{common.number(found['roc_auc'])} {common.interval(found['roc_auc_interval'])}"),
        ("false alarms", f"{common.percent(found['false_alarm_rate'])} of {found['n_normal']} normal test images"),
        ("detected", f"{common.percent(found['detection_rate'])} of {found['n_anomalous']} anomalous ones"),
    ]  # fmt: skip
    for name, value in rows:
        table.add_row(f"[bold]{name}[/bold]", escape(value))
    out = console.out_console()
    out.print(table)
    more = f" --run {folder.name}{_runs_dir(given)}"
    out.print("next:", style="bold")
    for line in (f"anomalae score IMAGES/{more}", f"anomalae evaluate{more}"):
        out.print(f"  {escape(line)}")


def _runs_dir(given: dict[str, Any]) -> str:
    return "" if given["runs_dir"] == Path("runs") else f" --runs-dir {console.shell_word(given['runs_dir'])}"


def _automatic_name(dataset: Dataset, split: OneClassSplit, settings: Settings) -> str:
    """What the run is: data, normal classes (or the one that is not), model."""
    from anomalae.runs.folder import slug

    if len(split.anomalous) == 1 and len(split.normal) > 1:
        which = f"not{split.anomalous[0]}"
    else:
        which = "+".join(str(name) for name in split.normal)
    return slug(f"{Path(dataset.name).name}-{which}-{settings.model}")
