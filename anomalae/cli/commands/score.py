"""`anomalae score`: judge image files."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import shutil
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from anomalae.cli import completion, console, tables
from anomalae.cli import options as common
from anomalae.cli.lines import tell
from anomalae.cli.progress import counting
from anomalae.cli.sources import (
    TOGETHER,
    Sources,
    check_segment,
    gathered,
    reading,
    take_sources,
    with_flag,
)
from anomalae.detectors import judged_rows as rows
from anomalae.settings import DEFAULT_ALPHA
from anomalae.text import plural, printable

if TYPE_CHECKING:
    from anomalae.detectors.export import OnnxDetector
    from anomalae.detectors.judging import Judge
    from anomalae.detectors.row_files import RowFile, Summary
    from anomalae.detectors.shards import Shard
    from anomalae.experiments.executors.cluster import Cluster
    from anomalae.experiments.run import Run
    from anomalae.experiments.spread import Spread
    from anomalae.images.inputs import Input, Reading
    from anomalae.images.stream import Stream


@click.command("score")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", shell_complete=completion.files)
@common.run_option
@common.runs_dir_option
@click.option(
    "--score", "rule", metavar="RULE", help="Another rule of the run, as in mse. Default: the run's own."
)
@common.calibration_option
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
@click.option(
    "--top",
    type=click.IntRange(1, 100_000),
    metavar="K",
    help="Print the K rows with the highest scores alone, the highest first; --output has all.",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Go on with the rows in FILE.part, as a call of the same options left them, whatever ended it.",
)
@click.option(
    "--shard",
    metavar="I/N",
    help="Score the I-th of N parts alone, chosen by a hash of each file's path in its folder; `anomalae merge` puts "
    "the files together, and flags by an FDR.",
)
@click.option(
    "--spreadsheet",
    is_flag=True,
    help="In CSV, put ' before a path or error that begins with = + - @ or ', a tab or the end of a line.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1, 1024),
    help="Processes that read pictures, where there are many.  [default: the number of cores]",
)
@click.option(
    "--backend",
    type=common.OneOf(["joblib", "dask"]),
    help="Who reads and scores: this machine, or a Dask cluster (pip install 'anomalae[dask]') whose workers see the "
    "files and the run under the same paths.  [default: joblib]",
)
@click.option("--scheduler", metavar="ADDRESS", help="Of a Dask scheduler, as in tcp://HOST:8786.")
@click.option(
    "--engine",
    type=common.OneOf(["torch", "onnx"]),
    help="Who computes: PyTorch, or onnxruntime (pip install 'anomalae[onnx]') by what `anomalae export` wrote: RUN is "
    "then FILE.onnx, or a run whose folder holds model.onnx.  [default: onnx where RUN is FILE.onnx, else torch]",
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
    error; the others are scored all the same. Rows are written as they are ready, to FILE.part until all are there.

    In CSV a path is the file's name as it is, for programs to read. A spreadsheet runs what begins with = + - @ as a
    formula: give --spreadsheet where names are others' and the file is opened by hand.

    \b
    Example:
      anomalae score images/
      anomalae score scan.jpg --polarity dark --heatmaps heat/
      find . -name '*.png' | anomalae score - --output scores.csv
      anomalae score page.jpg --segment --heatmaps heat/
    """
    from anomalae.detectors.judging import Judge
    from anomalae.evaluation.conformal import calibration_warning, fdr_warning

    if options["as_json"] and options["form"] not in (None, "json"):
        raise click.UsageError(f"--json and --format {options['form']}: give one of them")
    options["form"] = "json" if options["as_json"] else options["form"]
    if options["resume"] and not options["output"]:
        raise click.UsageError("--resume goes on with the rows of --output FILE")
    if options["output"]:
        tables.form_of(options["output"])
    if options["spreadsheet"] and "csv" not in _forms(options):
        raise click.UsageError("--spreadsheet is for CSV: give --format csv or --output FILE.csv")
    shard = _shard(options)
    check_segment(options)
    common.end_on_signals()
    with contextlib.ExitStack() as stack:
        sources = take_sources(options["paths"], stack)
        cluster = _cluster(options, sources)
        run = _opened(options)
        judge = Judge(
            run.detector,
            options["rule"],
            alpha=options["alpha"],
            fdr=options["fdr"],
            calibration=options["calibration"],
        )
        n, alpha, fdr = len(judge.calibration), options["alpha"], options["fdr"]
        if fdr is not None and alpha != DEFAULT_ALPHA:
            console.warn(f"--alpha {alpha:g}: flags nothing beside --fdr")
        warning = calibration_warning(n, alpha) if fdr is None else fdr_warning(n, fdr)
        if warning:
            console.warn(warning)
        work = _Work(run, judge, options, sources, shard, stack, cluster)
        try:
            work.do()
        except KeyboardInterrupt:
            tell(work.interrupted)
            raise SystemExit(common.INTERRUPTED) from None
        work.tell()
    work.exit()


@dataclass(frozen=True)
class _Exported:
    """An exported run, as far as scoring needs it."""

    name: str
    folder: Path
    detector: OnnxDetector


def _opened(options: dict[str, Any]) -> Run | _Exported:
    """Return the run that judges, or the model that was made of it."""
    from anomalae.detectors.export.engine import is_model, open_model

    name, runs_dir, threads = options["run"], options["runs_dir"], options["threads"]
    is_file = name is not None and is_model(name)
    if options["engine"] == "torch" and is_file:
        raise click.UsageError(f"--engine torch: {name} is an exported model: name its run")
    if options["engine"] == "onnx" or is_file:
        for flag, usual in (
            ("device", ("auto", "cpu")),
            ("backend", (None, "joblib")),
            ("scheduler", (None,)),
        ):
            if options[flag] not in usual:
                raise click.UsageError(f"--{flag} {options[flag]}: --engine onnx computes on this CPU alone")
        model = open_model(name, runs_dir, threads=threads)
        # It has one.
        options["calibration"] = options["calibration"] or model.calibration
        return _Exported(model.name, model.path.parent, model)
    from anomalae.experiments.run import Run

    return Run.open(name, runs_dir, device=options["device"], threads=threads)


def _shard(options: dict[str, Any]) -> Shard | None:
    from anomalae.detectors.shards import Shard
    from anomalae.errors import ConfigError

    if options["shard"] is None:
        return None
    if options["fdr"] is not None:
        raise click.UsageError("--shard: excludes --fdr, which needs all rows: give it to `anomalae merge`")
    if not options["output"]:
        raise click.UsageError("--shard: needs --output FILE, for `anomalae merge`")
    try:
        return Shard.parse(options["shard"])
    except ConfigError as error:
        raise click.UsageError(console.said(error)) from None


def _cluster(options: dict[str, Any], sources: Sources) -> Cluster | None:
    """Return the cluster that reads and scores; None for this machine."""
    if options["backend"] != "dask" and options["scheduler"] is None:
        return None
    if sources.names:
        raise click.UsageError("--scheduler: a file on standard input is not where the workers are")
    return cast("Cluster", common.make_executor(options, 1))


def _printed_form(options: dict[str, Any]) -> str:
    return options["form"] or ("table" if sys.stdout.isatty() else "csv")


def _forms(options: dict[str, Any]) -> list[str]:
    """Return the forms in which rows are written, or may be printed."""
    return [_printed_form(options), *([tables.form_of(options["output"])] if options["output"] else [])]


class _Work:
    """Reads, judges and writes, some images after others, and keeps what is told of them in the end."""

    def __init__(
        self,
        run: Run | _Exported,
        judge: Judge,
        options: dict[str, Any],
        sources: Sources,
        shard: Shard | None,
        stack: contextlib.ExitStack,
        cluster: Cluster | None = None,
    ) -> None:
        from anomalae.detectors.row_files import Summary

        self.run, self.judge, self.options = run, judge, options
        self.sources, self.shard, self.cluster = sources, shard, cluster
        self.form = _printed_form(options)
        self.printed = options["form"] is not None or options["top"] or not options["output"]
        self.how = self._reading()
        self.passed_over: Counter[str] = Counter()
        self.summary: Summary = Summary()
        self.lost = self.several = 0
        # Highest scores with the row's number, less than 0; no image where the row was kept.
        self.ranked: list[tuple[float, int, rows.Row, Input | None]] = []
        self.failed: list[rows.Row] = []
        self.pages: list[tuple[int, Input, rows.Row]] = []
        self.file = self._row_file(options["output"], stack) if options["output"] else None
        # Rows that are printed at the end: what an FDR flags, and how many there are, is not known before.
        waits = self.printed and (options["fdr"] is not None or self.form == "json") and not options["top"]
        self.waiting: RowFile | None = None
        if waits or (self.file is None and options["fdr"] is not None):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            form = self.form if self.form != "table" else "csv"
            self.waiting = self._row_file(folder / f"rows.{form}", stack)

    def _row_file(self, path: Path, stack: contextlib.ExitStack) -> RowFile:
        from anomalae.detectors.row_files import RowFile

        options = self.options
        judged_by = {
            **self._head(),
            "calibration": self.judge.calibrated_by,
            "calibration_hash": self.judge.calibration_hash,
            "preprocess": self.how.preprocess,
            "polarity": self.how.polarity,
            "segment": self.how.segment,
            "format": tables.form_of(path),
            "spreadsheet": options["spreadsheet"],
        }
        if self.shard is not None:
            paths = [str(path) for path in self.sources.paths]
            judged_by |= {
                "shard": str(self.shard),
                "paths": paths,
                "n_calibration": len(self.judge.calibration),
            }
        resume = options["resume"] and path == options["output"]
        file = RowFile(
            path,
            judged_by["format"],
            judged_by,
            resume=resume,
            segmented=options["segment"],
            spreadsheet=options["spreadsheet"],
        )
        return stack.enter_context(file)

    def _head(self) -> dict[str, Any]:
        judge = self.judge
        alpha, fdr = judge.alpha, self.options["fdr"]
        head = {
            "run": self.run.name,
            "score": judge.rule,
            "alpha": alpha,
            "fdr": fdr,
            "threshold": judge.threshold,
        }
        return head if judge.calibrated_by is None else {**head, "calibration": judge.calibrated_by}

    def _reading(self) -> Reading:
        options, detector = self.options, self.run.detector
        own = detector.calibrations.get(options["calibration"])
        how = reading(options, detector.data if own is None else own)
        if own is not None and (how.preprocess, how.polarity, how.segment) != (
            own.preprocess,
            own.polarity,
            own.segment,
        ):
            console.warn(
                f"calibration {own.name} was made with --preprocess {own.preprocess} --polarity {own.polarity}"
                f"{' --segment' if own.segment else ''}: its false-alarm rate is not promised for other ones"
            )
        return how

    @property
    def interrupted(self) -> str:
        """What is said when it is broken off."""
        if self.file is None:
            return "Interrupted."
        kept = f"{plural(self.file.n, 'row')} in {self.file.part}"
        return f"Interrupted with {kept}; the same command with --resume goes on."

    def do(self) -> None:
        """Read, judge and write all."""
        from anomalae.images.inputs import count_inputs, iter_files

        options, quiet, sources = self.options, self.options["quiet"], self.sources
        holds = None if self.shard is None else self.shard.holds
        total = None
        if not (options["segment"] or quiet):
            total = count_inputs(iter_files(sources.paths, holds=holds))
        files = iter_files(sources.paths, self.passed_over, holds)
        kept = 0 if self.file is None else self.file.n
        if kept:
            if not quiet:
                tell(f"{plural(kept, 'row')} of {self.file.part} kept")  # type: ignore[union-attr]
            self._take_kept()
            files = (path for path in files if not self._is_kept(str(sources.names.get(path, path))))
        stream = self._stream()
        with counting("scoring", total, quiet=quiet) as done:
            number = kept
            for inputs in gathered(stream.read(files)):
                some = [with_flag(entry) for entry in inputs if not (kept and self._is_kept(entry.name))]
                self._take(number, some)
                number += len(some)
                done(number)
        self._finish(number)

    def _stream(self) -> Stream | Spread:
        """Return what reads the files: processes of this machine, or a cluster, which scores them too."""
        options = self.options
        if self.cluster is None:
            from anomalae.images.stream import Stream

            jobs = options["jobs"] or os.cpu_count() or 1
            return Stream(replace(self.how, names=self.sources.names), jobs)
        from anomalae.experiments.spread import By, Spread

        by = By(
            str(self.run.folder.absolute()),
            self.run.detector.fingerprint,
            self.judge.rule,
            options["device"],
            options["threads"],
        )
        return Spread(self.cluster, self.how, by)

    def _take_kept(self) -> None:
        """Count and print the rows that are there, as if they were judged now."""
        assert self.file is not None
        number, kept = 0, self.file.kept_rows()
        while some := list(itertools.islice(kept, TOGETHER)):
            if self.waiting is not None:
                self.waiting.add(some)
            elif self._prints_now:
                self._print_now(number, some)
            for place, row in enumerate(some, number):
                if row.score is not None:
                    self._rank(place, row, None)
                elif len(self.failed) < tables.SHOWN:
                    self.failed.append(row)
            number += len(some)

    @property
    def _prints_now(self) -> bool:
        """Whether rows are printed as they come."""
        lines = self.form in ("csv", "jsonl") and not self.options["top"]
        return bool(self.printed and self.waiting is None and lines)

    def _is_kept(self, name: str) -> bool:
        return self.file is not None and self.file.is_kept(name)

    def _take(self, first: int, inputs: list[Input]) -> None:
        """Judge some, and write their rows; `first` is the number of the first of them."""
        judged = self.judge.rows(inputs)
        for file in (self.file, self.waiting):
            if file is not None:
                file.add(judged)
        if self._prints_now:
            self._print_now(first, judged)
        if self.options["heatmaps"]:
            self._draw_heatmaps(first, inputs, judged)
        failed = flagged = 0
        for place, (entry, row) in enumerate(zip(inputs, judged, strict=True)):
            self.lost += entry.lost
            self.several += entry.several
            flagged += bool(row.flagged)
            if row.score is None:
                failed += 1
                if len(self.failed) < tables.SHOWN:
                    self.failed.append(row)
            else:
                self._rank(first + place, row, entry)
        before = self.summary
        self.summary = replace(
            before,
            n=before.n + len(judged),
            n_flagged=before.n_flagged + flagged,
            n_failed=before.n_failed + failed,
        )

    def _rank(self, number: int, row: rows.Row, entry: Input | None) -> None:
        """Keep a row where it is among those with the highest scores."""
        item = (row.score or 0.0, -number, row, entry)
        if len(self.ranked) < max(self.options["top"] or 0, tables.SHOWN):
            heapq.heappush(self.ranked, item)
        elif item[:2] > self.ranked[0][:2]:
            heapq.heapreplace(self.ranked, item)

    def _print_now(self, first: int, judged: list[rows.Row]) -> None:
        columns = rows.columns_of(self.options["segment"])
        if sys.stdout.isatty():
            # A file's name may hold what a terminal obeys; where it is piped, names are as they are.
            judged = [replace(row, path=printable(row.path)) for row in judged]
        if first == 0 and self.form == "csv":
            click.echo(rows.csv_text([columns]), nl=False)
        lines = rows.lines(self.form, judged, columns, spreadsheet=self.options["spreadsheet"])
        click.echo(lines, nl=False)

    def _draw_heatmaps(self, first: int, inputs: list[Input], judged: list[rows.Row]) -> None:
        from anomalae.detectors.judging import write_heatmaps

        folder, rule = self.options["heatmaps"], self.judge.rule
        write_heatmaps(
            folder,
            self.run.detector,
            inputs,
            rule,
            alpha=self.options["alpha"],
            calibration=self.judge.calibrated_by,
            first=first,
        )
        if self.options["segment"]:
            numbered = zip(itertools.count(first), inputs, judged)
            self.pages += [(place, replace(entry, image=None), row) for place, entry, row in numbered]

    def _finish(self, n: int) -> None:
        """Put the files in their places, and print what waited for the last row."""
        fdr, head = self.options["fdr"], self._head()
        if not n and self.printed and self.waiting is None and self.form == "csv":
            self._print_now(0, [])
        if self.file is not None:
            from anomalae.detectors.shards import record_path

            record = None if self.shard is None else record_path(self.options["output"])
            self.summary = self.file.finish(head, fdr, record)
        if self.waiting is not None:
            self.summary = self.waiting.finish(head, fdr)
        if fdr is not None:
            self.ranked = [(score, at, self._by_fdr(row), entry) for score, at, row, entry in self.ranked]
        self.ranked.sort(key=lambda item: item[:2], reverse=True)
        if self.pages:
            from anomalae.detectors.judging import write_pages

            places, inputs, judged = zip(*self.pages, strict=True)
            write_pages(
                self.options["heatmaps"], inputs, [self._by_fdr(row) for row in judged], numbers=places
            )

    def _by_fdr(self, row: rows.Row) -> rows.Row:
        if self.options["fdr"] is None or row.p_value is None:
            return row
        most = self.summary.most
        return replace(row, flagged=most is not None and row.p_value <= most)

    def tell(self) -> None:
        """Print rows that are not printed yet, and a line on all."""
        options, out = self.options, console.out_console
        top = self.ranked[: options["top"] or tables.SHOWN]
        if self.printed and self.form == "table":
            blank = {entry.name for *_, entry in top if entry is not None and entry.blank}
            tables.show([row for _, _, row, _ in top], self.failed, self.summary, blank, out())
        elif self.printed and options["top"]:
            head = self._head()
            counts = {
                "n": self.summary.n,
                "n_flagged": self.summary.n_flagged,
                "n_failed": self.summary.n_failed,
            }
            columns = rows.columns_of(options["segment"])
            shown = [row for _, _, row, _ in top]
            marks = options["spreadsheet"]
            document = rows.document(self.form, shown, {**head, **counts}, columns, spreadsheet=marks)
            click.echo(document, nl=False)
        elif self.printed and self.waiting is not None:
            with self.waiting.path.open("rb") as file:
                shutil.copyfileobj(file, sys.stdout.buffer)
            sys.stdout.buffer.flush()
        if options["show"] and sys.stdout.isatty() and (self.form == "table" or options["output"]) and top:
            self._draw()
        if not options["quiet"]:
            self._summarise()

    def _draw(self) -> None:
        """Draw the most anomalous images in the terminal."""
        import numpy as np

        from anomalae.cli import terminal_pictures

        there = [item for item in self.ranked if item[3] is not None]
        shown = there[: terminal_pictures.SHOWN]
        if not shown:
            return
        terminal_pictures.show(
            console.out_console(),
            self.run.detector,
            np.stack([entry.image for *_, entry in shown]),  # type: ignore[union-attr, misc]
            [row.path for _, _, row, _ in shown],
            [score for score, *_ in shown],
            [bool(row.flagged) for _, _, row, _ in shown],
            rule=self.judge.rule,
            alpha=self.options["alpha"],
            calibration=self.judge.calibrated_by,
        )

    def _summarise(self) -> None:
        from anomalae.images.inputs import passed_over_line

        options, summary, lost = self.options, self.summary, self.lost
        by = f"FDR {options['fdr']:g}" if options["fdr"] else f"alpha {options['alpha']:g}"
        failed = summary.n_failed
        unread = f", {failed - lost} could not be read" if failed > lost else ""
        if lost:
            unread += f", {lost} without a score: {'its' if lost == 1 else 'their'} ink was lost"
        run = f"run {self.run.name}, score {self.judge.rule}"
        if self.judge.calibrated_by is not None:
            run += f", calibration {self.judge.calibrated_by}"
        what = plural(summary.n, "digit" if options["segment"] else "image")
        tell(f"{what}: {summary.n_flagged} flagged at {by}{unread} ({run})")
        if self.passed_over:
            tell(passed_over_line(self.passed_over))
        if self.several:
            looks = "looks like several digits" if self.several == 1 else "look like several digits each"
            tell(f"{plural(self.several, 'picture')} {looks}: try --segment")
        if options["output"]:
            tell(f"written: {options['output']}")
        if options["heatmaps"]:
            tell(f"heatmaps: {options['heatmaps']}")

    def exit(self) -> None:
        """End with the status that says how it went."""
        # A shard may well be empty.
        if self.summary.n_failed == self.summary.n and not (self.shard and not self.summary.n):
            raise SystemExit(1)
        if self.summary.n_failed:
            raise SystemExit(common.IN_PART)
        if self.options["fail_on_anomaly"] and self.summary.n_flagged:
            raise SystemExit(common.FLAGGED)
