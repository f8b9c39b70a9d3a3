"""`anomalae check`: whether a network, a score or a view, ours or one's own, does what it must."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import TYPE_CHECKING, Any

import click

from anomalae.cli import console, tables
from anomalae.cli import options as common
from anomalae.cli.tables import Column
from anomalae.text import printable

if TYPE_CHECKING:
    from anomalae.contract import Result


@click.command("check")
@click.argument("name", required=False)
@click.option(
    "--model", "sort", flag_value="model", help="NAME is a kind of network, where others have that name."
)
@click.option("--score", "sort", flag_value="score", help="NAME is a score, where others have that name.")
@click.option("--view", "sort", flag_value="view", help="NAME is a view, where others have that name.")
@click.option(
    "--list", "as_list", is_flag=True, help="List all networks, scores and views, and where they come from."
)
@common.json_option
@common.quiet_option
def command(name: str | None, sort: str | None, as_list: bool, as_json: bool, quiet: bool) -> None:
    """Check the network, score or view NAME: a line a property that it must have.

    Networks are trained for a moment on drawn strokes. The status is 0 where all properties hold, else 1. How to make
    a part of one's own: docs/extending.md.

    \b
    Example:
      anomalae check --list
      anomalae check vae
      anomalae check smooth --json
    """
    if as_list:
        if name is not None or sort is not None:
            raise click.UsageError("--list names all parts: NAME, --model, --score and --view exclude it")
        _list(as_json)
        return
    if name is None:
        raise click.UsageError(
            "say which part is checked, as in: anomalae check vae; `anomalae check --list` names all"
        )
    results = []
    for result in _run(name, sort):
        results.append(result)
        if not as_json and (result.error or not quiet):
            _tell(result)
    failed = [result for result in results if result.error]
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(result) for result in results]))
    elif failed:
        click.echo(f"Error: {name}: {len(failed)} of {len(results)} properties do not hold", err=True)
    if failed:
        raise SystemExit(1)


def _run(name: str, sort: str | None) -> Any:
    """The results as they come; an unknown or an ambiguous name is a usage error."""
    from anomalae import contract
    from anomalae.errors import ConfigError, PartError

    try:
        yield from contract.run(name, sort)
    except PartError:
        raise
    except ConfigError as error:
        raise click.UsageError(console.said(error)) from None


def _tell(result: Result) -> None:
    if not sys.stdout.isatty():
        click.echo(
            f"{'failed' if result.error else 'ok'}: {result.check}{f': {result.error}' if result.error else ''}"
        )
        return
    out = console.out_console()
    tables.say(f"{'✗' if result.error else '✓'} {result.check}", out, style="" if result.error else "green")
    if result.error:
        tables.say(f"  {result.error}", out, style="red")


def _list(as_json: bool) -> None:
    from anomalae import contract

    rows = contract.listed()
    if as_json:
        click.echo(json.dumps(rows))
        return
    from rich.text import Text

    columns = (
        Column("sort", "name"),
        Column("name", "words"),
        Column("what", "words"),
        Column("from", "name", rank=1),
    )
    cells = [
        (
            row["sort"],
            row["name"],
            Text(printable(f"broken: {row['error']}"), style="red") if row["error"] else row["line"],
            row["origin"],
        )
        for row in rows
    ]
    tables.print_table(columns, cells, console.out_console(), elsewhere="--json has it")
