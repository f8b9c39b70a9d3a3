"""`anomalae evaluate`: score labelled images and say how well the run separates them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anomalae.cli import completion, console, tables
from anomalae.cli import options as common
from anomalae.cli.progress import counting, downloads
from anomalae.cli.tables import Column
from anomalae.settings import DEFAULT_ALPHA
from anomalae.text import interval, listed, number, percent

if TYPE_CHECKING:
    import numpy as np

    from anomalae.evaluation.metrics import Evaluation
    from anomalae.experiments.run import Run


@click.command("evaluate")
@common.run_operand
@common.runs_dir_option
@click.option("--score", metavar="RULE", help="Another rule of the run, as in mse. Default: the run's own.")
@click.option(
    "--dataset",
    metavar="NAME|FOLDER|FILE.npz",
    shell_complete=completion.datasets,
    help="Other labelled data with the run's normal classes. Default: the run's own.",
)
@click.option(
    "--part",
    type=common.OneOf(["test", "all"]),
    default="test",
    show_default=True,
    help="Score the test part, or all images of another --dataset; the data that the run was trained on are "
    "refused then.",
)
@common.calibration_option
@common.data_dir_option
@common.preprocess_options(None, None)
@common.own_alpha_option
@click.option(
    "--keep",
    is_flag=True,
    help="Keep the numbers at this --alpha in the run, in place of those that are there.",
)
@common.machine_options
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write the JSON to this file as well."
)
@common.json_option
@common.quiet_option
def command(
    run: str | None,
    runs_dir: Path,
    score: str | None,
    dataset: str | None,
    part: str,
    calibration: str | None,
    data_dir: str | None,
    preprocess: str | None,
    polarity: str | None,
    alpha: float | None,
    keep: bool,
    device: str,
    threads: int | None,
    output: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Evaluate RUN on the held-out test part: ROC-AUC with intervals, error rates, each class.

    Anomalies are the positives. Of normal images alone there is no ROC-AUC: then the false-alarm rate is told, beside
    what is expected. A run keeps the numbers of its own data, score and alpha, as evaluation.json and
    scores.csv; those of another --dataset, --score, --calibration or --alpha are only printed, and written with
    --output. Classes of another data set are told by their names.

    \b
    Example:
      anomalae evaluate
      anomalae evaluate mnist-0-ae --alpha 0.01
      anomalae evaluate mnist-0-ae --score mse --json
      anomalae evaluate mnist-0-ae --calibration mine
      anomalae evaluate mnist-0-ae --dataset others.npz --part all
    """
    from anomalae import files
    from anomalae.datasets.load import check_dataset
    from anomalae.evaluation.conformal import calibration_warning
    from anomalae.experiments.run import Run, check_classes, check_unseen

    if keep and any(given is not None for given in (score, dataset, calibration)):
        raise click.UsageError(
            "--keep is of the run's own data, score and calibration: none of --dataset, --score, --calibration"
        )
    if dataset is None and part == "all":
        raise click.UsageError("--part all needs another --dataset: the run was trained on images of its own")
    if dataset is None and (preprocess, polarity) != (None, None):
        raise click.UsageError(
            "--preprocess and --polarity are of another --dataset: the run's own is as it was"
        )
    if dataset is not None:
        check_dataset(dataset)
    judged = Run.open(run, runs_dir, device=device, threads=threads)
    judged.detector.check_rule(score)
    n_calibration = len(judged.detector.calibration_scores(score, calibration=calibration))
    data, other = judged.detector.data, None
    if dataset is None:
        n_scored = len(judged.dataset(data_dir, downloads(quiet)).test)
    else:
        how = {
            "preprocess": preprocess or data.preprocess,
            "polarity": polarity or data.polarity,
            "quiet": quiet,
        }
        other = common.load({"dataset": dataset, "data_dir": data_dir, **how})
        check_classes(other, data.normal)
        if part == "all":
            check_unseen(other, data.name, data.hashes)
        n_scored = len(other.test if part == "test" else other.whole)
    own_alpha = judged.kept_alpha or DEFAULT_ALPHA
    alpha = own_alpha if alpha is None else alpha
    warning = calibration_warning(n_calibration, alpha)
    if warning:
        console.warn(warning)
    with counting(
        "scoring test images" if part == "test" else "scoring images", n_scored, quiet=quiet
    ) as scored:
        evaluation = judged.evaluate(
            alpha, rule=score, dataset=other, part=part, calibration=calibration, on_scored=scored
        )
    document = judged.document(evaluation, rule=score, dataset=other, part=part, calibration=calibration)
    if output is not None:
        files.write_json(output, document)
    if as_json:
        click.echo(json.dumps(document))
    elif not quiet:
        _table(document, evaluation.p_values, judged.false_alarm_band(evaluation, calibration))
        if judged.record.data.folds and calibration is None:
            tables.say(f"In folds: {tables.promised(judged.record.data, alpha)}.", console.out_console())
    if other is not None:
        note = "not kept: the run keeps the numbers of its own data, without --dataset"
    elif calibration is not None:
        note = "not kept: the run keeps the numbers of its own calibration, without --calibration"
    elif not judged.is_own_rule(score):
        note = f"not kept: the run keeps its numbers by its own score, {judged.detector.settings.rule}"
    elif alpha != own_alpha and not keep and judged.kept_alpha is None:
        note = f"not kept: without --keep a run keeps its numbers at alpha {own_alpha:g} only"
    elif alpha != own_alpha and not keep:
        note = f"not kept: the run keeps its numbers at alpha {own_alpha:g}; --keep puts these in their place"
    else:
        note = _keep(judged, evaluation)
    if note and not (as_json or quiet):
        tables.say(note, console.out_console())


def _keep(run: Run, evaluation: Evaluation) -> str:
    """Keep an evaluation in its run, and return where; where that fails warn, for the numbers are told already."""
    from anomalae import runs
    from anomalae.errors import BundleError

    try:
        run.keep(evaluation)
    except BundleError as error:
        console.warn(f"not kept: {error}")
        return ""
    return f"kept: {run.folder / runs.EVALUATION}, {run.folder / runs.SCORES}"


def _table(evaluation: dict[str, Any], p_values: np.ndarray | None, ends: tuple[float, float] | None) -> None:
    import numpy as np

    out = console.out_console()
    images, holder = "test images", "The test part holds"
    if evaluation.get("part") == "all":
        images, holder = "images, all there are", "The data hold"
    counted = f"{evaluation['n_normal']} normal and {evaluation['n_anomalous']} anomalous {images}"
    if not evaluation["n_anomalous"]:
        counted = f"{evaluation['n_normal']} {images}, all normal"
    judged_by = f", calibration {evaluation['calibration']}" if "calibration" in evaluation else ""
    tables.say(
        f"{evaluation['run']}: {evaluation['dataset']}, normal {listed(evaluation['normal'], ',')}, "
        f"score {evaluation['score']}{judged_by}; {counted}",
        out,
        style="bold",
    )
    band = ""
    if ends is not None:
        band = f"  expected {percent(ends[0])} to {percent(ends[1])} for images like the training ones"
    separation = [
        (
            "ROC-AUC",
            f"{number(evaluation['roc_auc'])}  {interval(evaluation['roc_auc_interval'], brackets=True)}",
        ),
        (
            "average precision",
            f"{number(evaluation['average_precision'])}  at {percent(evaluation['prevalence'])} anomalies",
        ),
        ("FPR at 95% TPR", number(evaluation["fpr_at_95_tpr"])),
    ]
    rates = [
        (f"threshold at alpha {evaluation['alpha']:g}", number(evaluation["threshold"], 6)),
        ("false-alarm rate", percent(evaluation["false_alarm_rate"]) + band),
    ]
    detection = [("detection rate", percent(evaluation["detection_rate"]))]
    pairs = [*separation, *rates, *detection]
    if not evaluation["n_anomalous"]:
        pairs = [("ROC-AUC", "none"), *rates]
        if p_values is not None:
            low, middle, high = np.quantile(p_values, [0, 0.5, 1])
            pairs.append(("p-values", f"{number(low)} to {number(high)}, median {number(middle)}"))
    tables.print_pairs(pairs, out)
    if evaluation["roc_auc"] is None:
        tables.say(f"{holder} one kind of image only, so there is neither a ROC-AUC nor a ROC curve.", out)
    if evaluation["per_class"]:
        tables.say("Each anomalous class against the normal images", out, style="bold")
        rows = [
            (
                str(name),
                str(results["n"]),
                number(results["roc_auc"]),
                interval(results["roc_auc_interval"], brackets=True),
            )
            for name, results in evaluation["per_class"].items()
        ]
        columns = (Column("class", "name"), Column("images"), Column("ROC-AUC"), Column("95% interval"))
        tables.print_table(columns, rows, out)
