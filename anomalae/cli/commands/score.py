"""`anomalae score`: judge image files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anomalae.cli import console, tables
from anomalae.cli import options as common
from anomalae.cli.progress import counted, counting

if TYPE_CHECKING:
    import numpy as np

    from anomalae.detectors.detector import Detector
    from anomalae.images.inputs import Input


@click.command("score")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
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
    type=click.Choice(["table", *tables.TEXT_FORMATS]),
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
def command(**given: Any) -> None:
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
    from anomalae import runs
    from anomalae.detectors.detector import Detector
    from anomalae.evaluation.conformal import calibration_warning

    suffix_form = tables.form_of(given["output"]) if given["output"] else None
    paths = _paths(given["paths"])
    folder = runs.resolve(given["run"], given["runs_dir"])
    detector = Detector.load(folder, device=given["device"], threads=given["threads"])
    rule = detector.check_rule(given["rule"])
    warning = None if given["fdr"] else calibration_warning(detector.n_calibration, given["alpha"])
    if warning:
        console.warn(warning)
    inputs = _read(paths, detector, given)
    rows = _judge(detector, inputs, rule, given)
    result = tables.Scored(
        run=folder.name,
        score=rule,
        alpha=None if given["fdr"] else given["alpha"],
        fdr=given["fdr"],
        threshold=None if given["fdr"] else detector.threshold(given["alpha"], rule),
        rows=rows,
    )
    if given["output"]:
        tables.write(given["output"], suffix_form or "csv", result)
    if given["heatmaps"]:
        _heatmaps(given["heatmaps"], detector, inputs, rule, given)
    _print(result, given, inputs)
    _exit(result, given["fail_on_anomaly"])


def _paths(given: tuple[str, ...]) -> list[Path]:
    """The paths as given; `-` stands for the lines of standard input."""
    paths: list[Path] = []
    for path in given:
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


def _read(paths: list[Path], detector: Detector, given: dict[str, Any]) -> list[Input]:
    from anomalae.images.inputs import count_inputs, list_files, read_inputs

    data = detector.data
    files = list_files(paths)
    read = read_inputs(files, given["preprocess"] or data.preprocess, given["polarity"] or data.polarity)
    return list(counted(read, "reading", count_inputs(files), quiet=given["quiet"]))


def _judge(detector: Detector, inputs: list[Input], rule: str, given: dict[str, Any]) -> list[tables.Row]:
    import numpy as np

    from anomalae.evaluation.conformal import benjamini_hochberg, p_values

    good = [index for index, one in enumerate(inputs) if one.image is not None]
    rows = [tables.Row(one.name, None, None, None, one.error) for one in inputs]
    if good:
        scores = _scores(detector, np.stack([_image(inputs[index]) for index in good]), rule, given["quiet"])
        ps = p_values(scores, detector.calibration_scores(rule))
        flagged = benjamini_hochberg(ps, given["fdr"]) if given["fdr"] else ps <= given["alpha"]
        for place, index in enumerate(good):
            verdict = bool(flagged[place])
            rows[index] = tables.Row(
                inputs[index].name, float(scores[place]), float(ps[place]), verdict, None
            )
    return rows


def _scores(detector: Detector, images: np.ndarray, rule: str, quiet: bool) -> np.ndarray:
    import numpy as np

    parts = []
    with counting("scoring", len(images), quiet=quiet) as done:
        for start in range(0, len(images), 4096):
            parts.append(detector.score(images[start : start + 4096], rule))
            done(min(start + 4096, len(images)))
    return np.concatenate(parts)


def _heatmaps(
    folder: Path, detector: Detector, inputs: list[Input], rule: str, given: dict[str, Any]
) -> None:
    """Write `00017_name.png`: the row's number keeps apart what has the same name in different folders."""
    import numpy as np

    from anomalae import plots
    from anomalae.errors import BundleError
    from anomalae.images.inputs import IMAGE_SUFFIXES
    from anomalae.images.png import write_png
    from anomalae.runs.folder import slug

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BundleError(f"{folder}: cannot be written: {error.strerror}") from None
    scale = plots.heat_scale(detector.heatmap_level(given["alpha"], rule))
    good = [(index, one) for index, one in enumerate(inputs) if one.image is not None]
    with counting("heatmaps", len(good), quiet=given["quiet"]) as done:
        for start in range(0, len(good), 512):
            some = good[start : start + 512]
            images = np.stack([_image(one) for _, one in some])
            rebuilt, terms = detector.reconstruct(images), detector.heatmap(images, rule)
            for place, (index, one) in enumerate(some):
                strip = plots.heat_strip(images[place], rebuilt[place], terms[place], scale)
                name = Path(one.name).name
                name = Path(name).stem if name.lower().endswith(tuple(IMAGE_SUFFIXES)) else name
                write_png(folder / f"{index:05d}_{slug(name)}.png", strip)
            done(start + len(some))


def _image(one: Input) -> np.ndarray:
    if one.image is None:
        raise ValueError(one.name)
    return one.image


def _print(result: tables.Scored, given: dict[str, Any], inputs: list[Input]) -> None:
    form = given["form"] or ("table" if sys.stdout.isatty() else "csv")
    wanted = given["form"] is not None or not given["output"]
    if wanted and form == "table":
        blank = {one.name for one in inputs if one.blank}
        tables.show(result, blank, console.out_console())
    elif wanted:
        click.echo(tables.text(form, result), nl=False)
    if not given["quiet"]:
        n, failed, flagged = len(result.rows), result.n_failed, result.n_flagged
        by = f"FDR {given['fdr']:g}" if given["fdr"] else f"alpha {given['alpha']:g}"
        unread = f", {failed} could not be read" if failed else ""
        run = f"run {result.run}, score {result.score}"
        click.echo(f"{n} image{'' if n == 1 else 's'}: {flagged} flagged at {by}{unread} ({run})", err=True)
        if given["output"]:
            click.echo(f"written: {given['output']}", err=True)
        if given["heatmaps"]:
            click.echo(f"heatmaps: {given['heatmaps']}", err=True)


def _exit(result: tables.Scored, fail_on_anomaly: bool) -> None:
    if result.n_failed == len(result.rows):
        raise SystemExit(1)
    if result.n_failed:
        raise SystemExit(common.IN_PART)
    if fail_on_anomaly and result.n_flagged:
        raise SystemExit(common.FLAGGED)
