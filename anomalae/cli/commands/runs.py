"""`anomalae runs`: the runs there are, or one in full."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from anomalae.cli import console, terminal_pictures
from anomalae.cli import options as common
from anomalae.settings import Settings
from anomalae.text import interval, listed, number, setting


@click.command("runs")
@click.argument("run", required=False)
@common.runs_dir_option
@common.json_option
def command(run: str | None, runs_dir: Path, as_json: bool) -> None:
    """List runs, newest first, or show the one named RUN.

    An interrupted run is listed with the command that resumes it.

    \b
    Example:
      anomalae runs
      anomalae runs mnist-0-ae
    """
    from anomalae import runs

    if run is not None:
        folder = runs.resolve(run, runs_dir, finished=False)
        _show(_described(folder, strictly=True), as_json)
        terminal_pictures.show_run(folder, as_json=as_json)
        return
    descriptions = [_described(folder) for folder in runs.list_runs(runs_dir)]
    if as_json:
        click.echo(json.dumps(descriptions))
    elif not descriptions:
        click.echo(f"No runs in {runs_dir}; train one: anomalae train --normal 0", err=True)
    else:
        console.out_console().print(_table(descriptions))


def _described(folder: Path, *, strictly: bool = False) -> dict[str, Any]:
    """Return what is known of a run, with the command that goes on where it was interrupted."""
    from anomalae.runs.listing import describe_run

    description = describe_run(folder, strictly=strictly)
    if description["status"] == "interrupted":
        history = description.pop("history")
        description |= {"resume": f"anomalae train --resume {folder.name}", "history": history}
    return description


def _table(descriptions: list[dict[str, Any]]) -> Any:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("run", "data", "normal", "model", "score", "ROC-AUC", "age", "status"):
        table.add_column(title, justify="right" if title in ("ROC-AUC", "age") else "left", overflow="fold")
    for description in descriptions:
        if description["status"] == "broken":
            table.add_row(escape(description["run"]), *[""] * 6, escape(f"broken: {description['error']}"))
            continue
        settings, data = description["settings"], description["data"]
        table.add_row(
            escape(description["run"]),
            escape(str(data["name"] or "arrays")),
            escape(listed(data["normal"], ",")),
            Settings.from_dict(settings).short,
            settings["score"],
            number(description.get("evaluation", {}).get("roc_auc")),
            _age(description["created"]),
            _status(description),
        )
    return table


def _show(description: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(description))
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table(show_header=False, box=None, pad_edge=False)
    data, evaluation = description["data"], description.get("evaluation", {})
    rows: list[tuple[str, str]] = [
        ("run", description["path"]),
        ("status", _status(description)),
        ("data", f"{data['name'] or 'arrays'}" + (f" in {data['root']}" if data["root"] else "")),
        ("normal", listed(data["normal"], ",")),
        ("images", f"{data['n_train']} training, {data['n_validation']} validation, "
                   f"{data['n_calibration']} calibration, {data['n_test']} test"),
        *((key.replace("_", " "), setting(v, ",")) for key, v in description["settings"].items() if v is not None),
    ]  # fmt: skip
    if description["history"]:
        last = description["history"][-1]
        held_out = "" if last["validation_loss"] is None else f", validation {last['validation_loss']:.3f}"
        rows.append(("loss", f"{last['loss']:.3f}{held_out} after epoch {last['epoch']}"))
    if description["validation"]:
        rows.append(("on validation images", _elbo_parts(description["validation"])))
    if evaluation:
        rows += [
            ("threshold", f"{number(evaluation['threshold'], 6)} at alpha {evaluation['alpha']:g}"),
            (
                "test ROC-AUC",
                f"{number(evaluation['roc_auc'])} {interval(evaluation['roc_auc_interval'], brackets=True)}",
            ),
        ]
    environment = description["environment"]
    rows.append(("trained", f"{description['created']}, {description['seconds']:.0f} s, {environment['device']}, "
                            f"{environment['threads']} threads"))  # fmt: skip
    if description.get("parts"):
        rows.append(
            ("parts", ", ".join(f"{part} of {origin}" for part, origin in description["parts"].items()))
        )
    rows.append(("versions", ", ".join(f"{k} {v}" for k, v in environment["versions"].items())))
    for name, value in rows:
        table.add_row(f"[bold]{name}[/bold]", escape(value))
    console.out_console().print(table)


def _elbo_parts(means: dict[str, float]) -> str:
    parts = f"log-likelihood {means['log_likelihood']:.2f} - KL {means['kl']:.2f}"
    return f"ELBO {means['elbo']:.2f} nats = {parts}; {means['active_units']:.0f} active latent units"


def _status(description: dict[str, Any]) -> str:
    if description["status"] == "finished":
        return "finished"
    at = f"{description['status']} after epoch {description['epoch']} of {description['settings']['epochs']}"
    return f"{at}; go on: {description['resume']}" if "resume" in description else at


def _age(created: str) -> str:
    from datetime import UTC, datetime

    if not created:
        return ""
    seconds = (datetime.now(UTC) - datetime.fromisoformat(created)).total_seconds()
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
