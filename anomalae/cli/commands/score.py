"""`anomalae score`: judge image files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anomalae.cli import completion, console, tables
from anomalae.cli import options as common
from anomalae.cli.lines import tell
from anomalae.cli.progress import counted, counting
from anomalae.detectors import judged_rows as rows

if TYPE_CHECKING:
    from anomalae.detectors.detector import Detector
    from anomalae.detectors.judged_rows import Judged
    from anomalae.images.inputs import Input


@click.command("score")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", shell_complete=completion.files)
@common.run_option
@common.runs_dir_option
@click.option(
    "--score", "rule", metavar="RULE", help="Another rule of the run, as in mse. Default: the run's own."
)
@common.alpha_option
@click.option(
    "--fdr",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    callback=common.no_nan,
    help="Flag by Benjamini-Hochberg instead: at most this share of the flagged images is normal, in expectation.",
)
@common.preprocess_options(None, None)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the rows to FILE.csv, .json, .jsonl or .parquet.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", *rows.TEXT_FORMATS]),
    help="Form on standard output.  [default: table on a terminal, csv when piped]",
)
@click.option(
    "--heatmaps",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write input, reconstruction and where they differ as FOLDER/ROW_NAME.png, an image each.",
)
@click.option("--fail-on-anomaly", is_flag=True, help="Exit with status 3 if something is flagged.")
@common.machine_options
@common.quiet_option
def command(**options: Any) -> None:
    """Score images; flag those that do not look like the normal ones.

    PATH is an image file, a folder (read with its subfolders), an array (.npy, .npz) or IDX file, or - for a list
    of paths on standard input, a line each. Columns: path, score (higher = more anomalous), p_value, flagged,
    error. A file that cannot be read gets a row with its error; the others are scored all the same.

    \b
    Example:
      anomalae score images/
      anomalae score scan.jpg --polarity dark --heatmaps heat/
      find . -name '*.png' | anomalae score - --output scores.csv
    """
    from anomalae.detectors.judging import judge, write_heatmaps
    from anomalae.evaluation.conformal import calibration_warning
    from anomalae.experiments.run import Run

    output, alpha, quiet = options["output"], options["alpha"], options["quiet"]
    suffix_form = tables.form_of(output) if output else None
    paths = _paths(options["paths"])
    run = Run.open(options["run"], options["runs_dir"], device=options["device"], threads=options["threads"])
    detector = run.detector
    rule = detector.check_rule(options["rule"])
    warning = None if options["fdr"] else calibration_warning(detector.n_calibration, alpha)
    if warning:
        console.warn(warning)
    inputs = _read(paths, detector, options)
    n_images = sum(entry.image is not None for entry in inputs)
    with counting("scoring", n_images, quiet=quiet) as done:
        judged = judge(detector, inputs, rule, alpha=alpha, fdr=options["fdr"], run=run.name, on_scored=done)
    if output:
        rows.write(output, judged, suffix_form)
    if options["heatmaps"]:
        with counting("heatmaps", n_images, quiet=quiet) as done:
            write_heatmaps(options["heatmaps"], detector, inputs, rule, alpha=alpha, on_drawn=done)
    _print(judged, options, inputs)
    _exit(judged, options["fail_on_anomaly"])


def _paths(words: tuple[str, ...]) -> list[Path]:
    """Return the paths as they were typed; `-` stands for the lines of standard input."""
    paths: list[Path] = []
    for path in words:
        if path == "-":
            lines = sys.stdin.buffer.read().decode(sys.getfilesystemencoding(), "surrogateescape").split("\n")
            paths += [Path(line) for line in lines if line]
        elif path:
            paths.append(Path(path))
        else:
            raise click.UsageError("a path is empty")
    if not paths:
        raise click.UsageError("standard input holds no paths")
    return paths


def _read(paths: list[Path], detector: Detector, options: dict[str, Any]) -> list[Input]:
    from anomalae.images.inputs import count_inputs, list_files, read_inputs

    data = detector.data
    files = list_files(paths)
    read = read_inputs(files, options["preprocess"] or data.preprocess, options["polarity"] or data.polarity)
    return list(counted(read, "reading", count_inputs(files), quiet=options["quiet"]))


def _print(judged: Judged, options: dict[str, Any], inputs: list[Input]) -> None:
    form = options["form"] or ("table" if sys.stdout.isatty() else "csv")
    wanted = options["form"] is not None or not options["output"]
    if wanted and form == "table":
        blank = {entry.name for entry in inputs if entry.blank}
        tables.show(judged, blank, console.out_console())
    elif wanted:
        click.echo(rows.text(form, judged), nl=False)
    if not options["quiet"]:
        n, failed, flagged = len(judged.rows), judged.n_failed, judged.n_flagged
        by = f"FDR {options['fdr']:g}" if options["fdr"] else f"alpha {options['alpha']:g}"
        unread = f", {failed} could not be read" if failed else ""
        run = f"run {judged.run}, score {judged.score}"
        tell(f"{n} image{'' if n == 1 else 's'}: {flagged} flagged at {by}{unread} ({run})")
        if options["output"]:
            click.echo(f"written: {options['output']}", err=True)
        if options["heatmaps"]:
            click.echo(f"heatmaps: {options['heatmaps']}", err=True)


def _exit(judged: Judged, fail_on_anomaly: bool) -> None:
    if judged.n_failed == len(judged.rows):
        raise SystemExit(1)
    if judged.n_failed:
        raise SystemExit(common.IN_PART)
    if fail_on_anomaly and judged.n_flagged:
        raise SystemExit(common.FLAGGED)
