"""`anomalae calibrate`: a threshold of one's own, from images that are known to be normal."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from anomalae.cli import completion, console, tables
from anomalae.cli import options as common
from anomalae.cli.lines import tell
from anomalae.cli.progress import counting
from anomalae.cli.sources import check_segment, gathered, reading, take_sources, with_flag
from anomalae.cli.tables import Column
from anomalae.text import count, number, percent, plural, printable

if TYPE_CHECKING:
    from anomalae.cli.sources import Sources
    from anomalae.evaluation.two_calibrations import TwoCalibrations
    from anomalae.experiments.run import Run
    from anomalae.images.inputs import Reading
    from anomalae.runs.calibrations import OwnCalibration

# Bytes of a path that are kept as where images came from.
MOST_SOURCE = 500


@click.command("calibrate")
@click.argument("paths", nargs=-1, metavar="[PATH]...", shell_complete=completion.files)
@common.run_option
@common.runs_dir_option
@click.option(
    "--name",
    callback=common.calibration_name,
    help="Name of the calibration, for `score --calibration NAME`.",
)
@click.option("--replace", is_flag=True, help="Replace the calibration of that name.")
@click.option("--list", "as_list", is_flag=True, help="List the run's calibrations.")
@click.option("--delete", is_flag=True, help="Delete the calibration that --name names.")
@click.option(
    "--score",
    "rule",
    metavar="RULE",
    help="Another rule of the run, for what is printed. Default: the run's own.",
)
@common.alpha_option
@common.preprocess_options(None, None)
@click.option("--segment", is_flag=True, help="Cut each picture into its digits, as `score --segment` does.")
@click.option(
    "--jobs",
    type=click.IntRange(1, 1024),
    help="Processes that read pictures, where there are many.  [default: the number of cores]",
)
@common.machine_options
@common.json_option
@common.quiet_option
def command(**options: Any) -> None:
    """Make p-values and thresholds for images of one's own, without training anew.

    PATH is what `score` takes: files, folders, arrays, or - for standard input. The images must be normal, all of them,
    and come from where those do that will be judged: the same scanner, the same hands. At least 40 are needed; 100 make
    a threshold that is nearly as good as 1,000 do. Do not judge them by it: it has seen them.

    The run keeps their scores by each of its rules beside its own, and `score --calibration NAME` judges by them. A
    file that cannot be read is named and not counted.

    \b
    Example:
      anomalae calibrate normal-scans/ --run mnist-0-ae --name mine
      anomalae score scans/ --run mnist-0-ae --calibration mine
      anomalae calibrate --run mnist-0-ae --list
    """
    from anomalae import runs
    from anomalae.experiments.run import Run

    _check_usage(options)
    common.end_on_signals()
    run = Run.open(options["run"], options["runs_dir"], device=options["device"], threads=options["threads"])
    if options["as_list"]:
        _list(run, options["as_json"])
        return
    if options["delete"]:
        tell(f"deleted: {runs.delete_calibration(run.folder, options['name'])}")
        return
    rule, detector = run.detector.check_rule(options["rule"]), run.detector
    # What could not be kept is told before anything is scored.
    with runs.lock(run.folder, runs.HOLDER):
        detector.check_free_calibration(options["name"], replace=options["replace"], folder=run.folder)
    with contextlib.ExitStack() as stack:
        sources = take_sources(options["paths"], stack)
        how = reading(options, detector.data)
        try:
            scores, failed = _scores(run, sources, how, options)
        except KeyboardInterrupt:
            tell("Interrupted; nothing is kept.")
            raise SystemExit(common.INTERRUPTED) from None
    _tell_failed(failed)
    made = detector.calibrate_by_scores(
        scores,
        options["name"],
        source=_source(sources),
        preprocess=how.preprocess,
        polarity=how.polarity,
        segment=how.segment,
        replace=options["replace"],
        folder=run.folder,
    )
    _report(run, made, rule, failed, options)
    if failed:
        raise SystemExit(common.IN_PART)


def _check_usage(options: dict[str, Any]) -> None:
    if options["as_list"] and (options["delete"] or options["name"] is not None):
        raise click.UsageError("--list names all: it excludes --name and --delete")
    if (options["as_list"] or options["delete"]) and options["paths"]:
        raise click.UsageError(f"{'--list' if options['as_list'] else '--delete'}: excludes PATH")
    if options["as_list"]:
        return
    if options["name"] is None:
        raise click.UsageError("say what the calibration is called: --name NAME")
    if options["delete"] and options["as_json"]:
        raise click.UsageError("--delete and --json exclude each other")
    if not options["delete"] and not options["paths"]:
        raise click.UsageError("name the images, normal all: anomalae calibrate FOLDER --name NAME")
    check_segment(options)


def _scores(
    run: Run, sources: Sources, how: Reading, options: dict[str, Any]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Score what can be read, by every rule of the run; returns the scores, and the rows of what cannot be."""
    import numpy as np

    from anomalae import runs
    from anomalae.images.inputs import count_inputs, iter_files, passed_over_line
    from anomalae.images.sources import Canonical
    from anomalae.images.stream import Stream
    from anomalae.runs.calibrations import MOST_IMAGES

    quiet, passed_over = options["quiet"], Counter[str]()
    total = None if quiet or how.segment else count_inputs(iter_files(sources.paths))
    parts: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    stream = Stream(dataclasses.replace(how, names=sources.names), options["jobs"] or os.cpu_count() or 1)
    n = n_read = 0
    with counting("scoring", total, quiet=quiet) as done:
        for inputs in gathered(stream.read(iter_files(sources.paths, passed_over))):
            images = [entry.image for entry in inputs if entry.image is not None]
            failed += [
                {"path": entry.name, "error": with_flag(entry).error}
                for entry in inputs
                if entry.image is None
            ]
            n_read += len(images)
            # No reason to score them all to find out that they are too many.
            if n_read > MOST_IMAGES:
                runs.check_number(n_read, options["name"])
            if images:
                parts.append(run.detector.score_all(Canonical(np.stack(images))))
            n += len(inputs)
            done(n)
    if passed_over and not quiet:
        tell(passed_over_line(passed_over))
    rules = run.detector.rules
    return {rule: np.concatenate([part[rule] for part in parts] or [np.zeros(0)]) for rule in rules}, failed


def _source(sources: Sources) -> str:
    """Return in words where images came from."""
    names = [str(sources.names.get(path, path)) for path in sources.paths]
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return printable(names[0])[:MOST_SOURCE] + more


def _tell_failed(failed: list[dict[str, Any]]) -> None:
    for row in failed[: tables.SHOWN]:
        tell(row["error"])
    if len(failed) > tables.SHOWN:
        tell(f"... and {plural(len(failed) - tables.SHOWN, 'more file')} that could not be read")


def _report(
    run: Run, made: OwnCalibration, rule: str, failed: list[dict[str, Any]], options: dict[str, Any]
) -> None:
    from anomalae.evaluation.two_calibrations import compare_calibrations

    compared = compare_calibrations(
        made.scores[rule], run.detector.calibration_scores(rule), options["alpha"]
    )
    if options["as_json"]:
        document = {"run": run.name, "name": made.name, "score": rule, **dataclasses.asdict(compared)}
        click.echo(json.dumps({**document, **made.told, "failed": failed}))
        return
    out = console.out_console()
    tables.say(f"calibration {made.name} of run {run.name}, from {printable(made.source)}", out, style="bold")
    tables.print_pairs(_lines(compared, rule, len(failed), in_folds=bool(run.record.data.folds)), out)
    if not options["quiet"]:
        from anomalae.evaluation.conformal import calibration_warning

        warning = calibration_warning(compared.n, compared.alpha)
        if warning:
            console.warn(warning)
        command = f"anomalae score FOLDER --run {console.shell_word(options['run'] or run.name)}"
        tables.say_commands("judge by it:", [f"{command} --calibration {made.name}"], out)


def _lines(compared: TwoCalibrations, rule: str, n_failed: int, *, in_folds: bool) -> list[tuple[str, str]]:
    from anomalae.evaluation.conformal import smallest_alpha_shown

    least = smallest_alpha_shown(compared.n)
    n, alpha, (low, high) = compared.n, compared.alpha, compared.band
    share = compared.n_flagged / n
    # What is expected by folds, and how their scores differ, is known about, not exactly.
    about = "about " if in_folds else ""
    than = "fewer than" if share < low else "more than" if share > high else "as"
    counts = f"{count(n)} and {count(compared.n_before)} scores"
    test = f"p = {about}{compared.p_value:.2g}, two-sample Kolmogorov-Smirnov, {counts}"
    higher = "higher" if compared.median > compared.median_before else "lower"
    said = (
        f"no: theirs are {higher} as a rule ({test}); the run's own threshold is not for them"
        if compared.differs
        else f"no difference is seen ({test}), which does not prove that there is none"
    )
    unread = f", {n_failed} could not be read" if n_failed else ""
    return [
        ("images", f"{count(n)}{unread}"),
        (
            "run's own threshold",
            f"flags {count(compared.n_flagged)} of them, {percent(share)}: {than} expected at alpha {alpha:g} "
            f"({about}95 times in 100: {percent(low)} to {percent(high)})",
        ),
        ("scores like the run's?", said),
        (
            "threshold",
            f"{_threshold(compared.threshold)}, the run's own {_threshold(compared.threshold_before)} "
            f"({rule}, alpha {alpha:g})",
        ),
        ("smallest alpha", f"{least}: a smaller one flags nothing"),
        (
            "smallest FDR",
            f"{least}; below {compared.smallest_fdr:.3g} it flags more than a tenth of all images, or none",
        ),
    ]


def _threshold(value: float | None) -> str:
    return "none" if value is None else number(value, 6)


def _list(run: Run, as_json: bool) -> None:
    """Print a row a calibration; a broken one is a row with its error."""
    from anomalae import runs
    from anomalae.errors import BundleError

    rows = []
    for name in runs.calibration_names(run.folder):
        try:
            rows.append(runs.describe_calibration(run.folder, name))
        except BundleError as error:
            rows.append({"name": name, "error": str(error)})
    if as_json:
        click.echo(json.dumps(rows))
        return
    out = console.out_console()
    if not rows:
        tell(f"No calibrations in {run.folder}; make one: anomalae calibrate FOLDER --name NAME")
        return
    columns = (
        Column("name", "name"),
        Column("images"),
        Column("made", "name", rank=1),
        Column("from", "path", rank=2),
    )
    tables.print_table(
        columns,
        [
            (row["name"], "broken", "", "")
            if "error" in row
            else (row["name"], count(row["n"]), row["created"], row["source"])
            for row in rows
        ],
        out,
        elsewhere="--json has it",
    )
    for row in rows:
        if "error" in row:
            tables.say(f"broken: {row['error']}", out, style="yellow")
