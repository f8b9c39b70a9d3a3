"""`anomalae drift`: whether a scored folder still looks as normal images did."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anomalae.cli import console, tables
from anomalae.cli import options as common
from anomalae.cli.console import said
from anomalae.errors import ConfigError, DataError
from anomalae.text import count, plural, printable

if TYPE_CHECKING:
    from anomalae.reports.content import ScoredRow

# Relative difference up to which a p-value is the one that a score has among a run's calibration scores.
SAME = 1e-6
# Share of rows with other p-values from which on the scores are not of this run.
OTHERS = 0.01


@click.command("drift")
@click.argument("scores", type=click.Path(dir_okay=False, path_type=Path), metavar="SCORES.csv")
@common.run_option
@common.runs_dir_option
@click.option("--score", "rule", metavar="RULE", help="By which they were scored. Default: the run's own.")
@common.calibration_option
@click.option(
    "--order",
    type=common.OneOf(["rows", "time"]),
    default="rows",
    show_default=True,
    help="Order in which images came: that of the rows, or of their files' times.",
)
@click.option(
    "--odds",
    type=click.FloatRange(1, min_open=True),
    default=20.0,
    show_default=True,
    callback=common.no_nan,
    help="Odds against no drift at which there is an alarm; without drift there is one in at most 1 of so many files.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of what orders equal scores.")
@click.option(
    "--output", "-o", type=click.Path(dir_okay=False, path_type=Path), help="Draw it: FILE.png, .svg or .pdf."
)
@common.json_option
@common.quiet_option
def command(scores: Path, **options: Any) -> None:
    """Say whether scored images look as the run's normal images did, and stay so.

    Each row is ranked among the calibration scores and all rows before it. A game bets that these ranks are not as
    drawn by lot, and begins with 1: its capital is the odds against there being no drift. Images that are anomalous,
    of another scanner or other hands, or that change on the way raise it; so do rows in an order that has to do with
    what is on them, as sorted by class.

    \b
    Example:
      anomalae score scans/ --output scores.csv
      anomalae drift scores.csv --order time --output drift.png
    """
    from anomalae.evaluation import detect_drift
    from anomalae.experiments.run import Run
    from anomalae.reports.collect.scores_file import read_scores

    output = options["output"]
    if output is not None:
        common.check_suffix(output, ".png", ".svg", ".pdf")
    run = Run.open(options["run"], options["runs_dir"])
    rule = run.detector.check_rule(options["rule"])
    rows = [row for row in read_scores(scores) if row.score is not None]
    name = options["calibration"]
    calibration = run.detector.calibration_scores(rule, calibration=name)
    by = f"run {run.name}, score {rule}{f', calibration {name}' if name else ''}"
    _check_run(scores, rows, calibration, by)
    if options["order"] == "time":
        rows = _by_time(rows)
    try:
        found = detect_drift(
            [row.score or 0.0 for row in rows], calibration, odds=options["odds"], seed=options["seed"]
        )
    except ConfigError as error:
        raise click.UsageError(said(error)) from None
    if output is not None:
        from anomalae import plots

        plots.save(plots.drift(found), output)
    at = found.alarm
    alarm = None if at is None else {"row": at + 1, "path": rows[at].path}
    if options["as_json"]:
        document = {
            "run": run.name,
            "score": rule,
            **({} if name is None else {"calibration": name}),
            "n": len(rows),
            "n_calibration": len(calibration),
            "odds": found.odds,
            "highest": found.highest,
            "alarm": alarm,
        }
        click.echo(json.dumps(document))
        return
    out = console.out_console()
    against = f"highest odds against no drift {_odds(found.highest)} : 1"
    if at is None:
        tables.say(
            f"no drift in {plural(len(rows), 'row')}: {against}, an alarm is at {found.odds:g} : 1", out
        )
    else:
        where = f"row {count(at + 1)} ({printable(rows[at].path)})"
        tables.say(
            f"drift: {found.odds:g} : 1 reached at {where}; {against} in {plural(len(rows), 'row')}", out
        )
    if output is not None and not options["quiet"]:
        tables.say(f"written: {output}", out)


def _check_run(scores: Path, rows: list[ScoredRow], calibration: Any, by: str) -> None:
    """See that p-values are those of the scores among a run's calibration scores."""
    import numpy as np

    from anomalae.evaluation import p_values

    written = np.array([row.p_value or 0.0 for row in rows])

    def differ(ties: bool) -> bool:
        own = p_values([row.score or 0.0 for row in rows], calibration, ties=ties)
        return bool((np.abs(own - written) > SAME * own).mean() > OTHERS)

    # Files of before knew no ties.
    if differ(ties=True) and differ(ties=False):
        raise DataError(
            f"{scores}: its p-values are not those of {by}: it was scored by another run, rule or calibration"
        )


def _by_time(rows: list[ScoredRow]) -> list[ScoredRow]:
    """Order rows by when their files were last changed; those of one file stay as they are."""
    from anomalae.detectors.shards import file_of

    times: dict[str, int] = {}
    for row in rows:
        file = file_of(row.path)
        if file not in times:
            try:
                times[file] = Path(file).stat().st_mtime_ns
            except OSError as error:
                raise DataError(f"{printable(file)}: has no time: {error.strerror}") from None
    return sorted(rows, key=lambda row: times[file_of(row.path)])


def _odds(value: float) -> str:
    if value >= 1e6:
        return f"{value:.1e}"
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"
