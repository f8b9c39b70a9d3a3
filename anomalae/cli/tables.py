"""Judged rows as a table for a person, and the form that an output file asks for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anomalae.detectors import judged_rows as rows
from anomalae.errors import BundleError
from anomalae.text import printable

if TYPE_CHECKING:
    from anomalae.detectors.judged_rows import Judged

# Rows of the table for a person, most anomalous first.
SHOWN = 50


def form_of(path: Path) -> str:
    """Return the form that a file's suffix asks for; any other suffix, or Parquet without pyarrow, is a usage error."""
    form = path.suffix.lower().lstrip(".")
    if form not in rows.FORMATS:
        allowed = ", ".join(f".{name}" for name in rows.FORMATS)
        raise click.UsageError(f"--output {path}: the suffix must be one of {allowed}")
    if form == "parquet":
        try:
            import pyarrow  # noqa: F401
        except ImportError:
            raise click.UsageError(
                "--output .parquet needs pyarrow: pip install 'anomalae[parquet]'"
            ) from None
    if not path.parent.is_dir():
        raise BundleError(f"{path}: cannot be written: the folder does not exist")
    return form


def show(judged: Judged, blank: set[str], console: Any) -> None:
    """Print the most anomalous rows, then the errors."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("path", overflow="fold")
    for title in ("score", "p-value"):
        table.add_column(title, justify="right")
    table.add_column("")
    failed = [row for row in judged.rows if row.score is None]
    ranked = sorted(
        (row for row in judged.rows if row.score is not None), key=lambda row: -(row.score or 0.0)
    )
    for row in ranked[:SHOWN]:
        note = " no ink" if row.path in blank else ""
        verdict = "[bold red]flagged[/bold red]" if row.flagged else ""
        name = escape(printable(row.path))
        table.add_row(name, f"{row.score:.5f}", f"{row.p_value:.4f}", verdict + note)
    for row in failed[:SHOWN]:
        table.add_row(
            escape(printable(row.path)), "-", "-", f"[yellow]{escape(printable(row.error or ''))}[/yellow]"
        )
    console.print(table)
    hidden = max(len(ranked) - SHOWN, 0) + max(len(failed) - SHOWN, 0)
    if hidden:
        console.print(f"... and {hidden} more rows; --output FILE.csv has them all")
