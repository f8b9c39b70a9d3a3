"""`anomalae report`: one HTML file that says what a run, several runs, scored images or a benchmark found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anomalae.cli import console, tables
from anomalae.cli import options as common
from anomalae.cli.progress import downloads
from anomalae.text import interval, number, percent, plural

if TYPE_CHECKING:
    from anomalae.reports.content import RunReport


@click.command("report")
@common.runs_operands
@common.runs_dir_option
@click.option(
    "--scores",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Report on scored images instead: FILE.csv as `anomalae score --output` wrote it, judged by RUN.",
)
@click.option(
    "--benchmark",
    type=click.Path(file_okay=False, path_type=Path),
    help="Report on a benchmark instead: the folder that `anomalae benchmark` wrote.",
)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the report.  [default: reports/NAME; the benchmark's own]",
)
@click.option("--open", "show", is_flag=True, help="Open the report in the web browser.")
@common.data_dir_option
@common.machine_options
@common.json_option
@common.quiet_option
def command(
    names: tuple[str, ...],
    runs_dir: Path,
    scores: Path | None,
    benchmark: Path | None,
    output: Path | None,
    show: bool,
    data_dir: str | None,
    device: str,
    threads: int | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Write a report: OUTPUT/index.html, a file that needs nothing else and can be mailed.

    Beside it lie its figures as SVG and PNG, metrics.json, scores.csv and card.md, the run's model card. A run that was
    not evaluated is evaluated first; several runs make one report that compares them. A report made again replaces the
    old one; a folder that holds other files of the same names is left alone.

    \b
    Example:
      anomalae report
      anomalae report mnist-8-ae mnist-8-vae --output reports/eights --open
      anomalae report mnist-8-ae --scores scores.csv
      anomalae report --benchmark reports/benchmark-mnist-ae
    """
    if benchmark is not None and (names or scores):
        raise click.UsageError("--benchmark stands alone: neither RUN nor --scores goes with it")
    if scores is not None and len(names) > 1:
        raise click.UsageError(f"--scores takes one RUN, the one that judged; got {len(names)}")
    machine = {"device": device, "threads": threads}
    if benchmark is not None:
        done = _benchmark(benchmark, output)
    elif scores is not None:
        done = _scores(names[0] if names else None, runs_dir, scores, output, machine)
    else:
        done = _runs(names, runs_dir, output, {**machine, "data_dir": data_dir, "progress": downloads(quiet)})
    if as_json:
        click.echo(json.dumps(done))
    elif not quiet:
        _summary(done)
    if show:
        import webbrowser

        webbrowser.open(Path(done["report"]).resolve().as_uri())


def _runs(
    names: tuple[str, ...], runs_dir: Path, output: Path | None, machine: dict[str, Any]
) -> dict[str, Any]:
    from anomalae import runs
    from anomalae.reports import collect as gather
    from anomalae.reports.pages import render

    folders = [runs.resolve(name, runs_dir) for name in names or (None,)]
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise click.UsageError("a run is named twice")
    name = "+".join(folder.resolve().name for folder in folders)
    output = output or Path("reports") / runs.slug(name)
    reports = [gather.run_report(folder, pictures=len(folders) == 1, **machine) for folder in folders]
    if len(reports) == 1:
        files = render.write_run(reports[0], output)
        notes = list(reports[0].missing)
    else:
        comparison = gather.compare(reports)
        files = render.write_comparison(comparison, output)
        notes = [*comparison.differences, *comparison.missing]
    return _done(files, notes, {"runs": [_numbers(report) for report in reports]})


def _scores(
    name: str | None, runs_dir: Path, scores: Path, output: Path | None, machine: dict[str, Any]
) -> dict[str, Any]:
    from anomalae import runs
    from anomalae.reports import collect as gather
    from anomalae.reports.pages import render
    from anomalae.reports.pages.folder import check_source

    folder = runs.resolve(name, runs_dir)
    report = gather.scored_report(folder, scores, **machine)
    output = output or Path("reports") / runs.slug(f"{folder.resolve().name}-{scores.stem}")
    check_source(output, scores)
    files = render.write_scored(report, output)
    numbers = {
        "run": report.trained.name,
        "score": report.trained.rule,
        "n": report.scores.size,
        "n_flagged": sum(row.flagged for row in report.rows),
        "threshold": report.threshold,
        "alpha": report.alpha,
    }
    return _done(files, list(report.missing), numbers)


def _benchmark(folder: Path, output: Path | None) -> dict[str, Any]:
    from anomalae.reports.collect import benchmarks as grid
    from anomalae.reports.pages import render

    report = grid.read_benchmark(folder)
    files = render.write_benchmark(report, output or folder)
    table = report.table
    numbers = {
        "score": table["score"],
        "roc_auc": table["mean"][table["score"]]["mean"],
        "worst": table["worst"],
    }
    return _done(files, list(report.missing), {"benchmark": str(folder), **numbers})


def _done(files: list[Path], notes: list[str], numbers: dict[str, Any]) -> dict[str, Any]:
    return {"report": str(files[0]), "files": [str(file) for file in files], "notes": notes, **numbers}


def _numbers(report: RunReport) -> dict[str, Any]:
    e = report.evaluation
    return {
        "run": report.trained.name,
        "roc_auc": e.roc_auc,
        "roc_auc_interval": None if e.roc_auc_interval is None else list(e.roc_auc_interval),
        "threshold": e.threshold,
        "alpha": e.alpha,
        "false_alarm_rate": e.false_alarm_rate,
        "false_alarm_band": None if report.band is None else list(report.band),
        "detection_rate": e.detection_rate,
        "n_normal": e.n_normal,
        "n_anomalous": e.n_anomalous,
    }


def _summary(done: dict[str, Any]) -> None:
    out = console.out_console()
    for run in done.get("runs", ()):
        auc = f"ROC-AUC {number(run['roc_auc'])} {interval(run['roc_auc_interval'], brackets=True)}".rstrip()
        if not run["n_anomalous"]:
            alarms = f"{percent(run['false_alarm_rate'])} of {plural(run['n_normal'], 'normal test image')} flagged"
            auc = f"no ROC-AUC, for no test image is anomalous; {alarms}"
        tables.say(f"{run['run']}: {auc}", out)
    if "n_flagged" in done:
        tables.say(f"{done['n_flagged']} of {done['n']} flagged by {done['run']}", out)
    if "benchmark" in done:
        tables.say(f"mean ROC-AUC {number(done['roc_auc'])} by {done['score']}", out)
    for note in done["notes"]:
        tables.say(note, out, style="yellow")
    tables.say(f"report: {done['report']}", out, style="bold")
