"""Scored rows as CSV, JSON, JSON lines, Parquet, or a table for a person."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from anomalae.errors import BundleError

TEXT_FORMATS = ("csv", "json", "jsonl")
FORMATS = (*TEXT_FORMATS, "parquet")
COLUMNS = ("path", "score", "p_value", "flagged", "error")
SHOWN = 50  # rows of the table for a person, most anomalous first


@dataclass(frozen=True)
class Row:
    """One image. Score, p-value and verdict are None where there is an error."""

    path: str
    score: float | None
    p_value: float | None
    flagged: bool | None
    error: str | None


@dataclass(frozen=True)
class Scored:
    """All rows of one call, in the order of the inputs."""

    run: str
    score: str  # rule
    alpha: float | None  # None where --fdr decided
    fdr: float | None
    threshold: float | None
    rows: list[Row]

    @property
    def n_failed(self) -> int:
        """Rows with an error."""
        return sum(row.error is not None for row in self.rows)

    @property
    def n_flagged(self) -> int:
        """Rows that are flagged."""
        return sum(bool(row.flagged) for row in self.rows)


def form_of(path: Path) -> str:
    """The form that a file's suffix asks for; a usage error for any other suffix, or where Parquet is missing."""
    form = path.suffix.lower().lstrip(".")
    if form not in FORMATS:
        allowed = ", ".join(f".{name}" for name in FORMATS)
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


def text(form: str, scored: Scored) -> str:
    """The rows as CSV, JSON or JSON lines. Undecodable bytes of a path are written as escapes (JSON keeps them)."""
    if form == "json":
        head = {key: value for key, value in asdict(scored).items() if key != "rows"}
        counts = {"n": len(scored.rows), "n_flagged": scored.n_flagged, "n_failed": scored.n_failed}
        return json.dumps({**head, **counts, "rows": [asdict(row) for row in scored.rows]}, indent=1) + "\n"
    if form == "jsonl":
        return "".join(json.dumps(asdict(row)) + "\n" for row in scored.rows)
    from anomalae import files

    writer = files.CsvText()
    writer.writerow(COLUMNS)
    writer.writerows([_cell(getattr(row, column)) for column in COLUMNS] for row in scored.rows)
    return writer.text()


def write(path: Path, form: str, scored: Scored) -> None:
    """Write the rows to a file, atomically."""
    from anomalae import files

    files.write_bytes(path, _parquet(scored) if form == "parquet" else text(form, scored).encode())


def show(scored: Scored, blank: set[str], console: Any) -> None:
    """Print the most anomalous rows, then the errors."""
    from rich.markup import escape
    from rich.table import Table

    from anomalae.cli.console import one_line

    table = Table(box=None, pad_edge=False)
    table.add_column("path", overflow="fold")
    for title in ("score", "p-value"):
        table.add_column(title, justify="right")
    table.add_column("")
    failed = [row for row in scored.rows if row.score is None]
    ranked = sorted(
        (row for row in scored.rows if row.score is not None), key=lambda row: -(row.score or 0.0)
    )
    for row in ranked[:SHOWN]:
        note = " no ink" if row.path in blank else ""
        verdict = "[bold red]flagged[/bold red]" if row.flagged else ""
        name = escape(one_line(row.path))
        table.add_row(name, f"{row.score:.5f}", f"{row.p_value:.4f}", verdict + note)
    for row in failed[:SHOWN]:
        table.add_row(
            escape(one_line(row.path)), "-", "-", f"[yellow]{escape(one_line(row.error or ''))}[/yellow]"
        )
    console.print(table)
    hidden = max(len(ranked) - SHOWN, 0) + max(len(failed) - SHOWN, 0)
    if hidden:
        console.print(f"... and {hidden} more rows; --output FILE.csv has them all")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float):
        return repr(value)
    return str(value).encode("utf-8", "backslashreplace").decode()


def _parquet(scored: Scored) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    def column(name: str) -> list[Any]:
        values = [getattr(row, name) for row in scored.rows]
        return [_cell(v) if isinstance(v, str) else v for v in values]

    types = (pa.string(), pa.float64(), pa.float64(), pa.bool_(), pa.string())
    arrays = [pa.array(column(name), kind) for name, kind in zip(COLUMNS, types, strict=True)]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(dict(zip(COLUMNS, arrays, strict=True))), sink)
    return sink.getvalue().to_pybytes()
