"""`anomalae score`: judge image files."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from anomalae.cli import completion, console, tables
from anomalae.cli import options as common
from anomalae.cli.lines import tell
from anomalae.cli.progress import counted, counting
from anomalae.detectors import judged_rows as rows
from anomalae.errors import ImageError
from anomalae.text import count, plural

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anomalae.detectors.detector import Detector
    from anomalae.detectors.judged_rows import Judged
    from anomalae.experiments.run import Run
    from anomalae.images.inputs import Input


# The first bytes of standard input, by which an image is told from a list of paths; most bytes of an image.
START, MOST = 2**16, 2**30
# Most bytes, and lines, of a list of paths; most bytes of one line.
MOST_LISTED, MOST_LINES, LONGEST = 2**26, 10**6, 2**15


@dataclass
class Sources:
    """Sources are what is to be read.

    paths: files and folders, as they were typed or listed.
    names: what stands for a path that nobody typed: `-` for what came on standard input.
    """

    paths: list[Path] = field(default_factory=list)
    names: dict[Path, str] = field(default_factory=dict)


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
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option(
    "--segment",
    is_flag=True,
    help="Cut each picture into its digits: a row each, in reading order, with its box in pixels of the page.",
)
@click.option(
    "--show",
    is_flag=True,
    help="Draw the most anomalous images and their heatmaps in the terminal; nothing when piped.",
)
@click.option("--fail-on-anomaly", is_flag=True, help="Exit with status 3 if something is flagged.")
@common.machine_options
@common.quiet_option
def command(**options: Any) -> None:
    """Score images; flag those that do not look like the normal ones.

    PATH is an image file, a folder (read with its subfolders), an array (.npy, .npz) or IDX file, or - for standard
    input: such a file itself, or a list of paths, a line each. A picture of several pages (TIFF, GIF, WebP) has a row
    a page. Columns: path, score (higher = more anomalous), p_value, flagged, error; with --segment also box: left,
    top, right, bottom. A file that cannot be read, and one that turns blank though it has ink, gets a row with its
    error; the others are scored all the same.

    \b
    Example:
      anomalae score images/
      anomalae score scan.jpg --polarity dark --heatmaps heat/
      find . -name '*.png' | anomalae score - --output scores.csv
      anomalae score page.jpg --segment --heatmaps heat/
    """
    from anomalae.evaluation.conformal import calibration_warning, fdr_warning
    from anomalae.experiments.run import Run

    if options["as_json"] and options["form"] not in (None, "json"):
        raise click.UsageError(f"--json and --format {options['form']}: give one of them")
    options["form"] = "json" if options["as_json"] else options["form"]
    output, alpha, fdr = options["output"], options["alpha"], options["fdr"]
    suffix_form = tables.form_of(output) if output else None
    if options["segment"] and options["preprocess"] in ("none", "resize"):
        raise click.UsageError(
            f"--segment fits digits as --preprocess mnist does, not {options['preprocess']}"
        )
    with contextlib.ExitStack() as stack:
        sources = _sources(options["paths"], stack)
        run = Run.open(
            options["run"], options["runs_dir"], device=options["device"], threads=options["threads"]
        )
        detector = run.detector
        rule = detector.check_rule(options["rule"])
        n = detector.n_calibration
        warning = calibration_warning(n, alpha) if fdr is None else fdr_warning(n, fdr)
        if warning:
            console.warn(warning)
        passed_over: Counter[str] = Counter()
        inputs = _read(sources, detector, options, passed_over)
        judged = _judge(run, inputs, rule, options)
        if output:
            rows.write(output, judged, suffix_form)
        if options["heatmaps"]:
            _write_heatmaps(detector, inputs, judged, rule, options)
    _print(judged, options, inputs)
    if options["show"] and _for_people(options):
        _draw(detector, inputs, judged, rule, alpha)
    if not options["quiet"]:
        _summarise(judged, options, inputs, passed_over)
    _exit(judged, options["fail_on_anomaly"])


def _sources(words: tuple[str, ...], stack: contextlib.ExitStack) -> Sources:
    """Return the paths as they were typed; `-` stands for standard input.

    stack: keeps the file that an image on standard input is put into.
    """
    sources = Sources()
    for path in words:
        if path == "-" and "-" not in sources.names.values():
            _take_standard_input(sources, stack)
        elif path and path != "-":
            sources.paths.append(Path(path))
        elif not path:
            raise click.UsageError("a path is empty")
    if not sources.paths:
        raise click.UsageError("standard input holds no paths")
    return sources


def _take_standard_input(sources: Sources, stack: contextlib.ExitStack) -> None:
    """Add what comes on standard input: the file itself where it is of images, else the paths that it lists."""
    from anomalae.images.inputs import is_image_data

    # Python has no standard input where the shell closed it, as in `<&-`.
    if sys.stdin is None:
        raise click.UsageError("standard input is closed")
    stream = sys.stdin.buffer
    start = stream.read(START)
    if is_image_data(start):
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        path = folder / "image"
        with path.open("wb") as file:
            file.write(start)
            shutil.copyfileobj(_Bounded(stream, MOST - len(start)), file)
        sources.paths.append(path)
        sources.names[path] = "-"
        return
    # The list is known to be within its bounds before a path is made, which takes far more memory than its line.
    sources.paths += map(Path, list(_listed(start, stream)))


def _listed(start: bytes, stream: BinaryIO) -> Iterator[str]:
    """Yield the paths of a list, a line each, where its first bytes were read already."""
    *lines, cut = start.split(b"\n")
    rest = iter(lambda: stream.readline(LONGEST + 1), b"")
    size = 0
    for number, line in enumerate(itertools.chain(lines, [cut + next(rest, b"")], rest), 1):
        line = line.removesuffix(b"\n")
        size += len(line) + 1
        if b"\0" in line or len(line) > LONGEST:
            problem = "holds a null byte" if b"\0" in line else f"is longer than {count(LONGEST)} bytes"
            raise click.UsageError(
                "standard input is neither an image of a known kind nor a list of paths, a line each: "
                f"line {count(number)} {problem}"
            )
        if size > MOST_LISTED or number > MOST_LINES:
            limit = f"{count(MOST_LISTED)} bytes" if size > MOST_LISTED else f"{count(MOST_LINES)} lines"
            raise click.UsageError(f"the list on standard input is longer than {limit}")
        if line:
            yield line.decode(sys.getfilesystemencoding(), "surrogateescape")


class _Bounded:
    """A stream that gives at most so many bytes, and is a usage error beyond."""

    def __init__(self, stream: BinaryIO, left: int) -> None:
        self.stream, self.left = stream, left

    def read(self, size: int = -1) -> bytes:
        data = self.stream.read(self.left + 1 if size < 0 else min(size, self.left + 1))
        self.left -= len(data)
        if self.left < 0:
            raise click.UsageError(f"standard input is larger than {count(MOST)} bytes")
        return data


def _read(
    sources: Sources, detector: Detector, options: dict[str, Any], passed_over: Counter[str]
) -> list[Input]:
    from anomalae.images.inputs import count_inputs, list_files, read_inputs

    data, segment = detector.data, options["segment"]
    files = list_files(sources.paths, passed_over)
    preprocess = options["preprocess"] or data.preprocess
    if segment and preprocess in ("none", "resize"):
        raise click.UsageError(
            f"--segment fits digits as --preprocess mnist does, and this run's pictures were read by "
            f"{preprocess}: give --preprocess mnist"
        )
    read = read_inputs(
        files,
        preprocess,
        options["polarity"] or data.polarity,
        segment=segment,
        glance=not (segment or options["quiet"]),
        names=sources.names,
    )
    total = None if segment else count_inputs(files)
    return list(map(_with_flag, counted(read, "reading", total, quiet=options["quiet"])))


def _with_flag(entry: Input) -> Input:
    """Name a setting that an error speaks of by its flag."""
    if entry.error is None or entry.setting is None:
        return entry
    return replace(entry, error=console.said(ImageError(entry.error, setting=entry.setting)))


def _judge(run: Run, inputs: list[Input], rule: str, options: dict[str, Any]) -> Judged:
    from anomalae.detectors.judging import judge

    with counting("scoring", _images(inputs), quiet=options["quiet"]) as done:
        return judge(
            run.detector,
            inputs,
            rule,
            alpha=options["alpha"],
            fdr=options["fdr"],
            run=run.name,
            segmented=options["segment"],
            on_scored=done,
        )


def _write_heatmaps(
    detector: Detector, inputs: list[Input], judged: Judged, rule: str, options: dict[str, Any]
) -> None:
    from anomalae.detectors.judging import write_heatmaps, write_pages

    with counting("heatmaps", _images(inputs), quiet=options["quiet"]) as done:
        write_heatmaps(options["heatmaps"], detector, inputs, rule, alpha=options["alpha"], on_drawn=done)
    if options["segment"]:
        write_pages(options["heatmaps"], inputs, judged)


def _images(inputs: list[Input]) -> int:
    return sum(entry.image is not None for entry in inputs)


def _form(options: dict[str, Any]) -> str:
    return options["form"] or ("table" if sys.stdout.isatty() else "csv")


def _for_people(options: dict[str, Any]) -> bool:
    """Tell whether somebody looks at standard output, and no program's form goes there."""
    return sys.stdout.isatty() and (_form(options) == "table" or bool(options["output"]))


def _draw(detector: Detector, inputs: list[Input], judged: Judged, rule: str, alpha: float) -> None:
    """Draw the most anomalous images in the terminal."""
    import numpy as np

    from anomalae.cli import terminal_pictures

    scored = [place for place, row in enumerate(judged.rows) if row.score is not None]
    scored.sort(key=lambda place: -(judged.rows[place].score or 0.0))
    shown = scored[: terminal_pictures.SHOWN]
    if shown:
        terminal_pictures.show(
            console.out_console(),
            detector,
            np.stack([inputs[place].image for place in shown]),  # type: ignore[misc]
            [judged.rows[place].path for place in shown],
            [judged.rows[place].score or 0.0 for place in shown],
            [bool(judged.rows[place].flagged) for place in shown],
            rule=rule,
            alpha=alpha,
        )


def _print(judged: Judged, options: dict[str, Any], inputs: list[Input]) -> None:
    form = _form(options)
    wanted = options["form"] is not None or not options["output"]
    if wanted and form == "table":
        blank = {entry.name for entry in inputs if entry.blank}
        tables.show(judged, blank, console.out_console())
    elif wanted:
        click.echo(rows.text(form, judged), nl=False)


def _summarise(
    judged: Judged, options: dict[str, Any], inputs: list[Input], passed_over: Counter[str]
) -> None:
    from anomalae.images.inputs import passed_over_line

    n, failed, flagged = len(judged.rows), judged.n_failed, judged.n_flagged
    by = f"FDR {options['fdr']:g}" if options["fdr"] else f"alpha {options['alpha']:g}"
    lost = sum(entry.lost for entry in inputs)
    unread = f", {failed - lost} could not be read" if failed > lost else ""
    if lost:
        unread += f", {lost} without a score: {'its' if lost == 1 else 'their'} ink was lost"
    run = f"run {judged.run}, score {judged.score}"
    what = plural(n, "digit" if judged.segmented else "image")
    tell(f"{what}: {flagged} flagged at {by}{unread} ({run})")
    if passed_over:
        tell(passed_over_line(passed_over))
    several = sum(entry.several for entry in inputs)
    if several:
        looks = "looks like several digits" if several == 1 else "look like several digits each"
        tell(f"{plural(several, 'picture')} {looks}: try --segment")
    if options["output"]:
        tell(f"written: {options['output']}")
    if options["heatmaps"]:
        tell(f"heatmaps: {options['heatmaps']}")


def _exit(judged: Judged, fail_on_anomaly: bool) -> None:
    if judged.n_failed == len(judged.rows):
        raise SystemExit(1)
    if judged.n_failed:
        raise SystemExit(common.IN_PART)
    if fail_on_anomaly and judged.n_flagged:
        raise SystemExit(common.FLAGGED)
