"""What is known of a run without loading its networks: for lists of runs, and for one in full."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from anomalae import runs
from anomalae.errors import AnomalaeError
from anomalae.runs import results
from anomalae.runs.record import read_history, read_progress, read_record


def describe_run(folder: Path, *, strictly: bool = False) -> dict[str, Any]:
    """Return what is known of a run as JSON-able values.

    folder: of a run, finished or not.
    strictly: raise the error of a broken run instead of listing it, and tell verdicts of an evaluation by an earlier
        version as they are now, which takes the scores of all test images.

    Returns `run`, `path` and `status` (finished, training, interrupted or broken), and `error` of a broken one; of the
    others what `config.json` holds, the `history` of their epochs, the `evaluation` a finished run keeps, the names of
    its own `calibrations` where it has some, and the
    `epoch` after which an unfinished one stands.
    """
    description: dict[str, Any] = {"run": folder.name, "path": str(folder), "status": "finished"}
    try:
        if runs.is_finished(folder):
            record = read_record(folder)
            evaluation = results.read_evaluation_document(folder)
            if evaluation is not None:
                today = results.document_today(folder, evaluation) if strictly else evaluation
                description["evaluation"] = today
            lines = read_history(folder)
            # Only where there are some, as most runs have none.
            if own := runs.calibration_names(folder):
                description["calibrations"] = own
        else:
            lines, record = read_progress(folder)
            description["status"] = "training" if runs.is_locked(folder) else "interrupted"
            description["epoch"] = len(lines)
    except AnomalaeError as error:
        if strictly:
            raise
        return {**description, "status": "broken", "error": str(error)}
    return {**description, **record.to_dict(), "history": lines}
