"""`anomalae evaluate`: score a labelled test part and say how well the run separates it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from anomalae.cli import completion, console, tables
from anomalae.cli import options as common
from anomalae.cli.progress import counting, downloads
from anomalae.cli.tables import Column
from anomalae.text import interval, listed, number, percent


@click.command("evaluate")
@common.run_option
@common.runs_dir_option
@click.option("--score", metavar="RULE", help="Another rule of the run, as in mse. Default: the run's own.")
@click.option(
    "--dataset",
    metavar="NAME|FOLDER",
    shell_complete=completion.datasets,
    help="Other labelled data with the run's classes. Default: the run's own.",
)
@common.data_dir_option
@common.alpha_option
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
    data_dir: str | None,
    alpha: float,
    device: str,
    threads: int | None,
    output: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Evaluate a run on the held-out test part: ROC-AUC with intervals, error rates, each class.

    Anomalies are the positives. The numbers are kept in the run as evaluation.json and scores.csv when they are
    of the run's own data and score; those of --dataset or --score are only printed, and written with --output.

    \b
    Example:
      anomalae evaluate
      anomalae evaluate --run mnist-0-ae --score mse --json
    """
    from anomalae import files
    from anomalae.datasets.load import load_dataset
    from anomalae.evaluation.conformal import calibration_warning
    from anomalae.experiments.run import Run, check_classes

    judged = Run.open(run, runs_dir, device=device, threads=threads)
    data, other = judged.detector.data, None
    if dataset is None:
        test = judged.dataset(data_dir, downloads(quiet)).test
    else:
        other = load_dataset(
            dataset,
            data_dir,
            preprocess=data.preprocess,
            polarity=data.polarity,
            progress=downloads(quiet),
            warn=console.warn,
        )
        check_classes(other, data.normal)
        test = other.test
    warning = calibration_warning(judged.detector.n_calibration, alpha)
    if warning:
        console.warn(warning)
    is_own = other is None and judged.is_own_rule(score)
    with counting("scoring test images", len(test), quiet=quiet) as scored:
        evaluation = judged.evaluate(alpha, rule=score, dataset=other, keep=is_own, on_scored=scored)
    document = judged.document(evaluation, rule=score, dataset=other)
    if output is not None:
        files.write_json(output, document)
    if as_json:
        click.echo(json.dumps(document))
    elif not quiet:
        _table(document, judged.detector, judged.folder if is_own else None)


def _table(evaluation: dict[str, Any], detector: Any, kept: Path | None) -> None:
    from anomalae.evaluation.conformal import false_alarm_band

    out = console.out_console()
    normal = listed(evaluation["normal"], ",")
    tables.say(
        f"{evaluation['run']}: {evaluation['dataset']}, normal {normal}, score {evaluation['score']}; "
        f"{evaluation['n_normal']} normal and {evaluation['n_anomalous']} anomalous test images",
        out,
        style="bold",
    )
    band = ""
    if evaluation["threshold"] is not None and evaluation["n_normal"]:
        low, high = false_alarm_band(detector.n_calibration, evaluation["n_normal"], evaluation["alpha"])
        band = f"  expected {percent(low)} to {percent(high)} for images like the training ones"
    pairs = [
        (
            "ROC-AUC",
            f"{number(evaluation['roc_auc'])}  {interval(evaluation['roc_auc_interval'], brackets=True)}",
        ),
        (
            "average precision",
            f"{number(evaluation['average_precision'])}  at {percent(evaluation['prevalence'])} anomalies",
        ),
        ("FPR at 95% TPR", number(evaluation["fpr_at_95_tpr"])),
        (f"threshold at alpha {evaluation['alpha']:g}", number(evaluation["threshold"], 6)),
        ("false-alarm rate", percent(evaluation["false_alarm_rate"]) + band),
        ("detection rate", percent(evaluation["detection_rate"])),
    ]
    tables.print_pairs(pairs, out)
    if evaluation["roc_auc"] is None:
        tables.say("The test part holds one kind of image only, so there is no ROC curve.", out)
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
    if kept:
        tables.say(f"kept: {kept / 'evaluation.json'}, {kept / 'scores.csv'}", out)
