"""What a run keeps of its evaluation and its comparison: each file with its reader and its writer, both strict.

`evaluation.json` holds the numbers, `scores.csv` an image a line; `comparison.json` holds the table of methods,
`comparison.safetensors` their scores of the same images.
"""

from __future__ import annotations

import csv
import io
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from anomalae import files, runs, text
from anomalae.errors import AnomalaeError, BundleError
from anomalae.evaluation import conformal
from anomalae.evaluation.metrics import Evaluation, evaluate
from anomalae.runs.record import read_record

SCORES_HEADER = ["index", "label", "is_anomaly", "score", "p_value", "flagged"]
# Name of the method that is the run itself, beside its baselines.
OWN = "anomalae"

# Of the text of `scores.csv`: some million images.
MOST_TEXT = 2**28
# What a table of methods shows of each as numbers.
_NUMBERS = (
    "roc_auc", "average_precision", "fpr_at_95_tpr", "fit_seconds", "score_seconds", "peak_memory_bytes",
    "p_value_vs_run",
)  # fmt: skip
# What a list of runs shows of an evaluation.
_SHOWN = ("roc_auc", "roc_auc_interval", "threshold", "alpha")
# What of an evaluation depends on the threshold.
_JUDGED = ("threshold", "false_alarm_rate", "detection_rate")
_NUMBERS_SHOWN = (
    "roc_auc",
    "roc_auc_interval",
    "false_alarm_rate",
    "false_alarm_band",
    "n_normal",
    "n_anomalous",
)


# --- evaluation ---------------------------------------------------------------------------------------------------


def evaluation_document(
    evaluation: Evaluation,
    *,
    run: str,
    dataset: str,
    normal: Sequence[int | str],
    rule: str,
    part: str = "test",
    calibration: str | None = None,
    band: tuple[float, float] | None = None,
    proved_rate: float | None = None,
) -> dict[str, Any]:
    """Return what `evaluation.json` holds and the command line prints as JSON: the numbers, and whose they are.

    evaluation: numbers of one part, by one rule.
    run: name of the run.
    dataset: name of the data set that was scored.
    normal: the run's normal classes.
    rule: name of the score.
    part: of the data set; only another than the test part is named.
    calibration: that it was judged by; only another than the run's own is named.
    band: in which the false-alarm rate is expected to lie; None leaves it out.
    proved_rate: that it is proved not to exceed on the average, of folds; None leaves it out.
    """
    scored = {} if part == "test" else {"part": part}
    whose = {"run": run, "dataset": dataset, **scored, "normal": list(normal), "score": rule}
    if calibration is not None:
        whose["calibration"] = calibration
    expected: dict[str, Any] = {} if band is None else {"false_alarm_band": list(band)}
    if proved_rate is not None:
        expected["proved_rate"] = proved_rate
    return {**whose, **evaluation.to_dict(), **expected}


def write_evaluation(folder: Path, document: dict[str, Any], evaluation: Evaluation) -> None:
    """Write `evaluation.json` and `scores.csv` into the run."""
    files.write_bytes(runs.own_file(folder, runs.SCORES), scores_csv(evaluation).encode())
    files.write_json(runs.own_file(folder, runs.EVALUATION), document)


def scores_csv(evaluation: Evaluation) -> str:
    """Return `index,label,is_anomaly,score,p_value,flagged`, an image a line, in the order of the test part."""
    writer = files.CsvText()
    writer.writerow(SCORES_HEADER)
    for index, (score, anomaly, flag) in enumerate(
        zip(evaluation.scores, evaluation.is_anomaly, evaluation.flagged, strict=True)
    ):
        label = "" if evaluation.labels is None else evaluation.labels[index]
        p_value = "" if evaluation.p_values is None else repr(float(evaluation.p_values[index]))
        writer.writerow([index, label, int(anomaly), repr(float(score)), p_value, int(flag)])
    return writer.text()


def read_evaluation_document(folder: Path) -> dict[str, Any] | None:
    """Read `evaluation.json` alone; None where there is none. BundleError where a list of runs lacks a number."""
    path = folder / runs.EVALUATION
    if not path.is_file():
        return None
    document = files.read_json(path)
    for key in _SHOWN:
        if not isinstance(document, dict) or key not in document:
            raise BundleError(f"{path}: has no {key!r}; evaluate the run again")
    _judged_by(document, path)
    for name, value in ((name, document.get(name)) for name in _NUMBERS_SHOWN):
        pair = name in ("roc_auc_interval", "false_alarm_band")
        numbers = value if pair else [value]
        whole = isinstance(numbers, list) and len(numbers) == 1 + pair and all(map(_is_number, numbers))
        if value is not None and not whole:
            raise BundleError(f"{path}: {name} is {text.shown(document[name])}, of the wrong kind")
    return dict(document)


def read_alpha(folder: Path) -> float | None:
    """Read the alpha of the evaluation a run keeps; None where it keeps none, or a broken one."""
    path = folder / runs.EVALUATION
    try:
        return _judged_by(files.read_json(path), path)[0] if path.is_file() else None
    except BundleError:
        return None


def read_evaluation(folder: Path) -> Evaluation | None:
    """Read the evaluation a run keeps, made again from `scores.csv` and `evaluation.json`; None without both of them.

    Labels are int64 where each of them is an integer, else text, and None where no image has one. Raises BundleError,
    naming file, line and fault, for content that `write_evaluation` does not write, and for two files that do not
    belong together.
    """
    table, document = folder / runs.SCORES, folder / runs.EVALUATION
    if not (table.is_file() and document.is_file()):
        return None
    kept = files.read_json(document)
    alpha, threshold = _judged_by(kept, document)
    rows = _read_rows(table)
    columns = {name: [row[i] for row in rows] for i, name in enumerate(SCORES_HEADER)}
    try:
        evaluation = evaluate(
            np.array([float(score) for score in columns["score"]]),
            np.array([value == "1" for value in columns["is_anomaly"]]),
            _labels(columns["label"], table),
            p_values=_p_values(columns["p_value"], table),
            alpha=alpha,
            threshold=threshold,
        )
    except AnomalaeError as error:
        raise BundleError(f"{table}: {error}") from None
    counts = evaluation.to_dict()
    same = all(counts[name] == kept.get(name) for name in ("n_normal", "n_anomalous"))
    if not same or [str(int(flag)) for flag in evaluation.flagged] != columns["flagged"]:
        raise BundleError(f"{table}: does not belong to {document.name} beside it; evaluate the run again")
    return evaluation


def judged_today(folder: Path, evaluation: Evaluation) -> Evaluation:
    """Return the evaluation that a run keeps with the verdicts that its scores get now.

    folder: of the run.
    evaluation: by its own score and calibration.

    Returns it as it is unless it was made by an earlier version, whose thresholds were a little lower: calibration
    scores were not `raised`. Raises BundleError where those cannot be read.
    """
    known = _calibration(folder)
    if known is None or conformal.threshold(known, evaluation.alpha) == evaluation.threshold:
        return evaluation
    return evaluate(
        evaluation.scores,
        evaluation.is_anomaly,
        evaluation.labels,
        p_values=conformal.p_values(evaluation.scores, known),
        alpha=evaluation.alpha,
        threshold=conformal.threshold(known, evaluation.alpha),
    )


def document_today(folder: Path, document: dict[str, Any]) -> dict[str, Any]:
    """Return what `evaluation.json` of a run holds, as `read_evaluation_document` reads it, with verdicts of today.

    folder: of the run.
    document: what its file holds.

    Returns and raises as `judged_today` does, and as `read_evaluation` where that file is of an earlier version.
    """
    known = _calibration(folder)
    if known is None or conformal.threshold(known, document["alpha"]) == document["threshold"]:
        return document
    evaluation = read_evaluation(folder)
    if evaluation is None:
        return document
    found = judged_today(folder, evaluation).to_dict()
    return {**document, **{name: found[name] for name in _JUDGED if name in document}}


def _calibration(folder: Path) -> np.ndarray | None:
    """Return the scores that verdicts of a run are made by; None for ranks among those of folds, never raised."""
    record, path = read_record(folder), folder / runs.CALIBRATION
    if record.data.folds:
        return None
    scores = files.read_arrays(path)[0]
    if record.settings.rule not in scores:
        raise BundleError(f"{path}: array {record.settings.rule!r} is missing")
    return scores[record.settings.rule]


def _judged_by(kept: Any, path: Path) -> tuple[float, float | None]:
    """Return alpha and threshold of `evaluation.json`."""
    if not isinstance(kept, dict):
        raise BundleError(f"{path}: expected an object, got {type(kept).__name__}")
    for name in ("alpha", "threshold"):
        if name not in kept:
            raise BundleError(f"{path}: {name!r} is missing")
    alpha, threshold = kept["alpha"], kept["threshold"]
    if not _is_number(alpha) or not 0 < alpha < 1:
        raise BundleError(f"{path}: alpha is {text.shown(alpha)}, must be above 0 and below 1")
    if threshold is not None and not _is_number(threshold):
        raise BundleError(f"{path}: threshold is {text.shown(threshold)}, must be a finite number or null")
    return float(alpha), None if threshold is None else float(threshold)


def _is_number(value: Any) -> bool:
    # JSON has whole numbers of any size.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _read_rows(path: Path) -> list[list[str]]:
    """Read the lines of a `scores.csv` below its header, each checked."""
    lines = csv.reader(io.StringIO(files.read_text(path, MOST_TEXT), newline=""), strict=True)
    rows = []
    try:
        if next(lines, None) != SCORES_HEADER:
            raise BundleError(f"{path}: the first line must be {','.join(SCORES_HEADER)}")
        for index, row in enumerate(lines):
            fault = _fault(row, index)
            if fault:
                raise BundleError(f"{path}: image {index}: {fault}")
            rows.append(row)
    except csv.Error as error:
        raise BundleError(f"{path}: cannot be read: {error}") from None
    return rows


def _fault(row: list[str], index: int) -> str | None:
    if len(row) != len(SCORES_HEADER):
        return f"{len(row)} columns, expected {len(SCORES_HEADER)}"
    values = dict(zip(SCORES_HEADER, row, strict=True))
    if values["index"] != str(index):
        return f"index is {text.shown(values['index'])}, expected {index}"
    for name in ("is_anomaly", "flagged"):
        if values[name] not in ("0", "1"):
            return f"{name} is {text.shown(values[name])}, must be 0 or 1"
    for name in ("score", "p_value"):
        try:
            finite = (name == "p_value" and not values[name]) or math.isfinite(float(values[name]))
        except ValueError:
            finite = False
        if not finite:
            return f"{name} is {text.shown(values[name])}, must be a finite number"
    return None


def _labels(texts: list[str], path: Path) -> np.ndarray | None:
    if not any(texts):
        return None
    if not all(texts):
        raise BundleError(f"{path}: image {texts.index('')}: the label is missing")
    short = all(text.isascii() and text.removeprefix("-").isdigit() and len(text) < 19 for text in texts)
    if short and all(str(int(text)) == text for text in texts):
        return np.array([int(text) for text in texts], dtype=np.int64)
    return np.array(texts)


def _p_values(texts: list[str], path: Path) -> np.ndarray | None:
    if not any(texts):
        return None
    if not all(texts):
        raise BundleError(f"{path}: image {texts.index('')}: the p_value is missing")
    return np.array([float(text) for text in texts])


# --- comparison ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Comparison:
    """What a comparison with baselines left in a run."""

    # A row a method, the run's own first: `anomalae.experiments.comparison.Row` as a dict.
    rows: list[dict[str, Any]]
    # float64 (n_test,) of each method that has scores.
    scores: dict[str, np.ndarray]

    def __repr__(self) -> str:
        return f"<Comparison of {text.listed(row['method'] for row in self.rows)}>"


def write_comparison(folder: Path, document: dict[str, Any], scores: dict[str, np.ndarray]) -> None:
    """Write `comparison.json` and `comparison.safetensors` into the run.

    document: the table, JSON-able, with a row a method under `rows`.
    scores: float64 (n_test,) of each method that has them, the run's own under `anomalae`.
    """
    files.write_arrays(runs.own_file(folder, runs.COMPARISON_SCORES), scores)
    files.write_json(runs.own_file(folder, runs.COMPARISON), document)


def read_comparison(folder: Path) -> Comparison | None:
    """Read the comparison a run keeps; None where none was made. BundleError for files that hold something else."""
    path = folder / runs.COMPARISON
    if not path.is_file():
        return None
    document = files.read_json(path)
    scores = read_comparison_scores(folder)
    rows = document.get("rows") if isinstance(document, dict) else None
    if not isinstance(rows, list) or not all(map(_is_row, rows)):
        raise BundleError(f"{path}: is no comparison")
    return Comparison(rows, scores)


def _is_row(row: Any) -> bool:
    """Tell whether this is a row of a table of methods, as it is shown."""
    if not isinstance(row, dict) or not isinstance(row.get("method"), str):
        return False
    interval = row.get("roc_auc_interval") or [0.0, 0.0]
    return (
        all(isinstance(row.get(name, ""), str) for name in ("settings", "status"))
        and all(row.get(name) is None or _is_number(row[name]) for name in _NUMBERS)
        and (isinstance(interval, list) and len(interval) == 2 and all(map(_is_number, interval)))
    )


def read_comparison_scores(folder: Path) -> dict[str, np.ndarray]:
    """Read the scores of each method of a comparison, float64 (n_test,); empty where there are none."""
    path = folder / runs.COMPARISON_SCORES
    return files.read_arrays(path)[0] if path.is_file() else {}
