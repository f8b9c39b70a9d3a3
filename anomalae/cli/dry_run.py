"""What a study would do: its cells, those of them that are kept, and how long the rest would take."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anomalae.cli.console import warn
from anomalae.cli.options import tell_of_broken
from anomalae.text import duration, plural, printable, typed

if TYPE_CHECKING:
    from anomalae.experiments.cells import Cell
    from anomalae.experiments.kept_cells import Shelf
    from anomalae.experiments.studies.base import Scope, Study

# Whence an estimate is.
KEPT = "kept cells"


def dry_run(studies: Sequence[Study], scope: Scope, shelves: Sequence[Path], *, as_json: bool) -> None:
    """Print each study's cells, and an estimate.

    studies, scope: what would be made.
    shelves: folder of each one's cells.
    as_json: print JSON.
    """
    from anomalae.experiments.kept_cells import Shelf

    documents: list[dict[str, Any]] = []
    for study, folder in zip(studies, shelves, strict=True):
        cells, shelf = study.cells(scope), Shelf(folder)
        tell_of_others(cells, shelf)
        missing, seconds = shelf.estimate(cells)
        documents.append(
            {
                "study": study.name,
                "cells": [{"key": cell.key, **cell.spec["arguments"]} for cell in cells],
                "kept": len(cells) - missing,
                **_estimate(study.name, scope, missing, seconds),
            }
        )
    if as_json:
        click.echo(json.dumps(documents))
        return
    for document in documents:
        for cell in document["cells"]:
            values = {**cell, **cell.get("axes", {})}
            shown = ", ".join(
                f"{key.replace('_', '-')} {typed(tuple(value) if isinstance(value, list) else value)}"
                for key, value in values.items()
                if key != "key" and not isinstance(value, dict) and value not in (None, [])
            )
            click.echo(f"{document['study']}: {printable(shown)}")
        left = len(document["cells"]) - document["kept"]
        more = "; how long they take is not known before some of them ran"
        if document["seconds"] is not None:
            rough = (
                "" if document["estimated_from"] == KEPT else "roughly, as in the published study on MNIST: "
            )
            more = f"; {rough}{duration(document['seconds'])} one after another"
        click.echo(
            f"{document['study']}: {plural(left, 'cell')} to do, {document['kept']} kept{more if left else ''}"
        )


def _estimate(name: str, scope: Scope, missing: int, seconds: float | None) -> dict[str, Any]:
    """Return the seconds that the missing cells would take, None where nobody knows, and whence that is known.

    seconds: by those of its kind that are kept; None where none is.
    """
    from anomalae.experiments.studies import PUBLISHED

    if seconds is not None or name not in PUBLISHED or scope.quick:
        return {"seconds": seconds, "estimated_from": None if seconds is None else KEPT}
    cells, total = PUBLISHED[name]
    return {"seconds": total / cells * missing, "estimated_from": "published study"}


def tell_of_others(cells: Sequence[Cell], shelf: Shelf) -> None:
    """Warn of kept cells that would be those still to do, but for data, code or versions, and of broken ones.

    cells: of a grid.
    shelf: where they are kept.
    """
    missing = [cell for cell in cells if shelf.take(cell) is None]
    tell_of_broken(shelf.broken(missing))
    for what, count in shelf.others(missing).items():
        warn(f"{plural(count, 'cell')} in {shelf.folder} of {what}: left as they are, made anew")
