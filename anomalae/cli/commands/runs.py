"""`anomalae runs`: the runs there are, or one in full."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from anomalae.cli import console, tables, terminal_pictures
from anomalae.cli import options as common
from anomalae.cli.lines import tell
from anomalae.cli.tables import Column
from anomalae.cli.training_display import runs_dir_flag, started_from
from anomalae.settings import Settings
from anomalae.text import listed, number, percent, plural, setting

COLUMNS = (
    Column("run", "name"),
    Column("data", "name", rank=4),
    Column("normal", "name", rank=3),
    Column("model", "words", rank=2),
    Column("score", "name", rank=5),
    Column("ROC-AUC"),
    Column("age", rank=1),
    Column("status", "words"),
)
# Beside the ROC-AUC, where a run has none: its test images are all normal.
FALSE_ALARMS, AT = Column("false alarms"), 6


@click.command("runs")
@common.runs_operands
@common.runs_dir_option
@click.option("--delete", is_flag=True, help="Delete the runs named RUN, once the question is answered.")
@click.option("--yes", is_flag=True, help="Delete without a question.")
@common.json_option
def command(names: tuple[str, ...], runs_dir: Path, delete: bool, yes: bool, as_json: bool) -> None:
    """List runs, newest first, or show the one named RUN.

    An interrupted run is listed with the command that resumes it. The JSON of the list has no epochs; that of one run
    has them, as `history`.

    \b
    Example:
      anomalae runs
      anomalae runs mnist-0-ae
      anomalae runs --delete mnist-0-ae mnist-0-ae-2
    """
    from anomalae import runs

    if yes and not delete:
        raise click.UsageError("--yes goes with --delete")
    if delete:
        if not names:
            raise click.UsageError("--delete needs the RUN that is to be deleted")
        if as_json:
            raise click.UsageError("--delete and --json exclude each other")
        _delete([runs.resolve(name, runs_dir, finished=False) for name in names], yes)
        return
    if len(names) > 1:
        raise click.UsageError(f"one RUN is shown at a time; got {len(names)}")
    if names:
        folder = runs.resolve(names[0], runs_dir, finished=False)
        _show(_described(folder, strictly=True), as_json)
        terminal_pictures.show_run(folder, as_json=as_json)
        return
    descriptions = [_described(folder) for folder in runs.list_runs(runs_dir)]
    if as_json:
        for description in descriptions:
            description.pop("history", None)
        click.echo(json.dumps(descriptions))
    elif not descriptions:
        click.echo(f"No runs in {runs_dir}; train one: anomalae train --normal 0", err=True)
    else:
        _table(descriptions, runs_dir)


def _delete(folders: list[Path], yes: bool) -> None:
    """Delete runs, all of which are checked before the first goes."""
    from anomalae import runs

    if len({folder.resolve() for folder in folders}) < len(folders):
        raise click.UsageError("a run is named twice")
    if not yes and not sys.stdin.isatty():
        raise click.UsageError("--delete asks first, and there is no terminal to answer at: give --yes")
    for folder in folders:
        content = runs.check_deletable(folder)
        size = sum(path.lstat().st_size for path in content)
        what = f"{_line(_described(folder))}; {plural(len(content), 'file')}, {size / 1e6:.1f} MB"
        if not yes:
            tell(f"{folder}: {what}")
    if not yes and not click.confirm(f"Delete {plural(len(folders), 'run')}?", err=True):
        tell("Nothing is deleted.")
        raise SystemExit(1)
    for folder in folders:
        runs.delete(folder)
        tell(f"deleted: {folder}")


def _line(description: dict[str, Any]) -> str:
    """Return in a few words what a run is."""
    if description["status"] == "broken":
        return "broken"
    data = description["data"]
    short = Settings.from_dict(description["settings"]).short
    return (
        f"{short}, {data['name'] or 'arrays'}, normal {listed(data['normal'], ',')}, {description['status']}"
    )


def _described(folder: Path, *, strictly: bool = False) -> dict[str, Any]:
    """Return what is known of a run, with the command that goes on where it was interrupted."""
    from anomalae.runs.listing import describe_run

    description = describe_run(folder, strictly=strictly)
    if description["status"] == "interrupted":
        history = description.pop("history")
        description |= {"resume": f"anomalae train --resume {folder.name}", "history": history}
    return description


def _table(descriptions: list[dict[str, Any]], runs_dir: Path) -> None:
    """Print a row a run; below them what is wrong with broken ones, and how interrupted ones go on."""
    columns, rows = list(COLUMNS), []
    for description in descriptions:
        if description["status"] == "broken":
            rows.append([description["run"], *[""] * 6, "broken"])
            continue
        settings, data = description["settings"], description["data"]
        rows.append(
            [
                description["run"],
                str(data["name"] or "arrays"),
                listed(data["normal"], ","),
                Settings.from_dict(settings).short,
                settings["score"],
                number(description.get("evaluation", {}).get("roc_auc")),
                _age(description["created"]),
                _status(description),
            ]
        )
    evaluations = [description.get("evaluation", {}) for description in descriptions]
    if any(evaluation and evaluation["roc_auc"] is None for evaluation in evaluations):
        columns.insert(AT, FALSE_ALARMS)
        for row, evaluation in zip(rows, evaluations, strict=True):
            row.insert(AT, percent(evaluation.get("false_alarm_rate")))
    out = console.out_console()
    tables.print_table(columns, rows, out, elsewhere="`anomalae runs RUN` has them")
    for description in descriptions:
        if description["status"] == "broken":
            tables.say(f"broken: {description['error']}", out, style="yellow")
    resumes = [description["resume"] for description in descriptions if "resume" in description]
    if resumes:
        tables.say_commands("go on:", [f"{resume}{runs_dir_flag(runs_dir)}" for resume in resumes], out)


def _images(data: dict[str, Any]) -> str:
    counts = {part: data[f"n_{part}"] for part in ("train", "validation", "calibration", "test")}
    if data.get("folds"):
        return f"{counts['train']} training and calibration (the same, in {data['folds']} folds), {counts['test']} test"
    return (
        f"{counts['train']} training, {counts['validation']} validation, {counts['calibration']} calibration, "
        f"{counts['test']} test"
    )


def _show(description: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(description))
        return
    data, evaluation = description["data"], description.get("evaluation", {})
    rows: list[tuple[str, str]] = [
        ("run", description["path"]),
        ("status", _status(description)),
        ("data", f"{data['name'] or 'arrays'}" + (f" in {data['root']}" if data["root"] else "")),
        ("normal", listed(data["normal"], ",")),
        ("images", _images(data)),
        *((key.replace("_", " "), setting(v, ",")) for key, v in description["settings"].items() if v is not None),
    ]  # fmt: skip
    rows += started_from(description.get("start", {}))
    if description["history"]:
        last = description["history"][-1]
        held_out = "" if last["validation_loss"] is None else f", validation {last['validation_loss']:.3f}"
        rows.append(("loss", f"{last['loss']:.3f}{held_out} after epoch {last['epoch']}"))
    if description["validation"]:
        rows.append(("on validation images", _elbo_parts(description["validation"])))
    if evaluation:
        rows += [
            ("threshold", f"{number(evaluation['threshold'], 6)} at alpha {evaluation['alpha']:g}"),
            *tables.test_rates(evaluation),
        ]
    if "calibrations" in description:
        rows.append(("calibrations", ", ".join(description["calibrations"])))
    environment = description["environment"]
    rows.append(("trained", f"{description['created']}, {description['seconds']:.0f} s, {environment['device']}, "
                            f"{plural(environment['threads'], 'thread')}{_by(environment)}"))  # fmt: skip
    if description.get("parts"):
        rows.append(
            ("parts", ", ".join(f"{part} of {origin}" for part, origin in description["parts"].items()))
        )
    rows.append(("versions", ", ".join(f"{k} {v}" for k, v in environment["versions"].items())))
    out = console.out_console()
    tables.print_pairs(rows, out)
    if "resume" in description:
        folder = Path(description["path"]).parent
        tables.say_commands("go on:", [f"{description['resume']}{runs_dir_flag(folder)}"], out)


def _by(environment: dict[str, Any]) -> str:
    arithmetic = environment.get("arithmetic", "plain")
    return "" if arithmetic == "plain" else f", arithmetic {arithmetic}"


def _elbo_parts(means: dict[str, float]) -> str:
    parts = f"log-likelihood {means['log_likelihood']:.2f} - KL {means['kl']:.2f}"
    return f"ELBO {means['elbo']:.2f} nats = {parts}; {means['active_units']:.0f} active latent units"


def _status(description: dict[str, Any]) -> str:
    if description["status"] == "finished":
        return "finished"
    return f"{description['status']}, epoch {description['epoch']} of {description['settings']['epochs']}"


def _age(created: str) -> str:
    from datetime import UTC, datetime

    if not created:
        return ""
    seconds = (datetime.now(UTC) - datetime.fromisoformat(created)).total_seconds()
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
