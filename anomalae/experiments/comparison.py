"""A run beside baselines: scores on the same test images turned into one table, kept in the run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from anomalae import files, text
from anomalae.datasets.load import Part
from anomalae.errors import DataError
from anomalae.evaluation.metrics import Evaluation, evaluate
from anomalae.evaluation.significance import WORDING, delong_test, holm
from anomalae.experiments.baselines.trials import OK, Trial, versions
from anomalae.experiments.command_lines import compare_command
from anomalae.experiments.run import Run, truth
from anomalae.runs import results
from anomalae.runs.results import OWN
from anomalae.version import __version__


@dataclass(frozen=True)
class Row:
    """A row is one method. Numbers are None where there are none; `status` is "ok" or says what went wrong.

    method: "anomalae", or a baseline's label.
    roc_auc_interval: 95%, DeLong.
    score_seconds: of all test images.
    peak_memory_bytes: of a baseline's process; None for the run, whose training was not watched.
    p_value_vs_run: paired DeLong test of the two AUCs, Holm-corrected over the rows.
    """

    method: str
    settings: str
    roc_auc: float | None
    roc_auc_interval: list[float] | None
    average_precision: float | None
    fpr_at_95_tpr: float | None
    fit_seconds: float | None
    score_seconds: float | None
    peak_memory_bytes: int | None
    p_value_vs_run: float | None
    status: str


@dataclass(frozen=True, eq=False)
class Problem:
    """A problem is what run and baselines are compared on.

    train: uint8 (N, 28, 28): the run's training and validation images.
    is_anomaly: bool (n_test,).
    seed: of the run's split.
    """

    run: Run
    dataset: str
    normal: tuple[int | str, ...]
    train: np.ndarray
    test: Part
    is_anomaly: np.ndarray
    seed: int


def find_problem(run: Run) -> Problem:
    """Find the images that a run was trained on and is tested on.

    Baselines have no use for a calibration set and get the validation images instead; the calibration images are
    left out, so that no method has seen them. Beside a run of folds, which has seen all, they get all. Raises DataError
    where the run's data are gone or have changed.
    """
    data = run.record.data
    dataset = run.dataset()
    split = dataset.one_class(normal=data.normal, seed=data.seed)
    parts = (split.in_folds(data.folds).train,) if data.folds else (split.train, split.validation)
    train = np.concatenate([part.images for part in parts])
    is_anomaly = truth(split.test.labels, data.normal)
    if is_anomaly.all() or not is_anomaly.any():
        kind = "normal" if is_anomaly.all() else "anomalous"
        raise DataError(
            f"data set {dataset.name}: its test part has no {kind} image, so nothing can be compared"
        )
    return Problem(run, dataset.name, data.normal, train, split.test, is_anomaly, data.seed)


@dataclass(frozen=True, eq=False)
class RunScores:
    """Scores of the run itself, made in this call, with what they took.

    scores: float64 (n_test,).
    """

    rule: str
    settings: str
    scores: np.ndarray
    fit_seconds: float
    score_seconds: float


def score_run(problem: Problem) -> RunScores:
    """Score the test images with the run's own rule, and measure how long that takes."""
    detector = problem.run.detector
    settings = detector.settings
    # What PyTorch sets up on its first call is no part of scoring.
    detector.score(problem.test.images[:1])
    begun = time.perf_counter()
    scores = detector.score(problem.test.images)
    seconds = time.perf_counter() - begun
    words = f"{settings.short}, latent {settings.latent_dim}, {settings.epochs} epochs, score {settings.rule}"
    return RunScores(settings.rule, words, scores, problem.run.record.seconds, seconds)


def rows(problem: Problem, run_scores: RunScores, trials: Sequence[Trial]) -> list[Row]:
    """Return the run's row, then the baselines', in the order of `trials`."""
    p_values = iter(
        holm([delong_test(_scores(t), run_scores.scores, problem.is_anomaly).p_value for t in trials if t.ok])
    )
    mine = Row(
        OWN,
        run_scores.settings,
        *_numbers(run_scores.scores, problem),
        run_scores.fit_seconds,
        run_scores.score_seconds,
        None,
        None,
        OK,
    )
    return [mine, *(_row(trial, problem, next(p_values, None) if trial.ok else None) for trial in trials)]


def _row(trial: Trial, problem: Problem, p_value: float | None) -> Row:
    numbers = _numbers(trial.scores, problem)
    times = trial.fit_seconds, trial.score_seconds, trial.peak_memory_bytes
    return Row(trial.baseline.label, trial.settings, *numbers, *times, p_value, trial.status)


def _numbers(
    scores: np.ndarray | None, problem: Problem
) -> tuple[float | None, list[float] | None, float | None, float | None]:
    if scores is None:
        return None, None, None, None
    evaluation: Evaluation = evaluate(scores, problem.is_anomaly)
    interval = None if evaluation.roc_auc_interval is None else list(evaluation.roc_auc_interval)
    return evaluation.roc_auc, interval, evaluation.average_precision, evaluation.fpr_at_95_tpr


def _scores(trial: Trial) -> np.ndarray:
    assert trial.scores is not None
    return trial.scores


def best(table: Sequence[Row]) -> str | None:
    """Return the method with the highest ROC-AUC among those that are ok; the first of equals."""
    there = [row for row in table if row.status == OK and row.roc_auc is not None]
    return max(there, key=lambda row: row.roc_auc or 0.0).method if there else None


def document(
    problem: Problem,
    run_scores: RunScores,
    table: Sequence[Row],
    *,
    run: str | None,
    runs_dir: Path,
    baselines: str,
    seed: int,
    pca: int | None,
    time_limit: float | None,
    threads: int | None,
) -> dict[str, Any]:
    """Return what `compare --json` prints and `comparison.json` holds."""
    command = compare_command(
        run or problem.run.name,
        baselines,
        runs_dir=runs_dir,
        seed=seed,
        pca=pca,
        time_limit=time_limit,
        threads=threads,
    )
    return {
        "run": problem.run.name,
        "dataset": problem.dataset,
        "normal": list(problem.normal),
        "score": run_scores.rule,
        "n_train": len(problem.train),
        "n_test": len(problem.test),
        "n_normal": int((~problem.is_anomaly).sum()),
        "n_anomalous": int(problem.is_anomaly.sum()),
        "seed": seed,
        "pca": pca,
        "time_limit": time_limit,
        "threads": threads,
        "correction": "holm",
        "best": best(table),
        "command": command,
        "versions": {"anomalae": __version__, **versions()},
        "rows": [asdict(row) for row in table],
    }


def keep(problem: Problem, run_scores: RunScores, trials: Sequence[Trial], document: dict[str, Any]) -> None:
    """Write `comparison.json` and `comparison.safetensors` (scores of each method that is ok) into the run."""
    arrays = {OWN: run_scores.scores} | {t.baseline.label: _scores(t) for t in trials if t.ok}
    results.write_comparison(problem.run.folder, document, arrays)


# --- tables -----------------------------------------------------------------------------------------------------

COLUMNS = (
    "method",
    "settings",
    "ROC-AUC",
    "95% interval",
    "AP",
    "FPR95",
    "fit s",
    "µs/image",
    "MB",
    "p",
    "status",
)
_BEST = {"roc_auc": max, "average_precision": max, "fpr_at_95_tpr": min, "fit_seconds": min, "score_seconds": min,
         "peak_memory_bytes": min}  # fmt: skip


def cells(document: dict[str, Any]) -> list[list[tuple[str, bool]]]:
    """Return the table as text, each cell with whether it is the best of its column (among rows that are ok)."""
    table = document["rows"]
    top = {}
    for key, better in _BEST.items():
        values = [row[key] for row in table if row["status"] == OK and row[key] is not None]
        top[key] = better(values) if len(values) > 1 else None
    return [_cells(row, document, top) for row in table]


def _cells(row: dict[str, Any], document: dict[str, Any], top: dict[str, Any]) -> list[tuple[str, bool]]:
    def shown(key: str, form: str, scale: float = 1.0) -> tuple[str, bool]:
        value = row[key]
        is_best = row["status"] == OK and value is not None and value == top.get(key)
        return ("-" if value is None else format(value * scale, form)), is_best

    return [
        (row["method"], row["method"] == document["best"]),
        (row["settings"], False),
        shown("roc_auc", ".4f"),
        (text.interval(row["roc_auc_interval"], missing="-"), False),
        shown("average_precision", ".4f"),
        shown("fpr_at_95_tpr", ".4f"),
        shown("fit_seconds", ".2f"),
        shown("score_seconds", ".0f", 1e6 / document["n_test"]),
        shown("peak_memory_bytes", ".0f", 1e-6),
        (_p_value(row["p_value_vs_run"]), False),
        (row["status"], False),
    ]


def _p_value(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.2g}" if value >= 1e-4 else "<0.0001"


def notes(document: dict[str, Any]) -> list[str]:
    """Return what a reader of the table must know."""
    normal = ", ".join(str(name) for name in document["normal"])
    seen = ", ".join(f"{name} {version}" for name, version in document["versions"].items())
    return [
        f"Run {document['run']}: {document['dataset']}, normal {normal}. Baselines are fitted on its "
        f"{document['n_train']} training and validation images, seed {document['seed']}; all methods score the same "
        f"{document['n_normal']} normal and {document['n_anomalous']} anomalous test images.",
        f"p: paired DeLong test of each ROC-AUC against the run's, Holm-corrected over the rows; a small one shows "
        f"{WORDING}, not of the methods.",
        "AP: average precision. FPR95: share of normal images above the score that 95% of the anomalies reach. "
        "MB: peak memory, libraries and images included. Each baseline ran in a process of its own, on the CPU; HBOS, "
        "ECOD and the deep ones compile code on first use, some seconds of their times. The run's training "
        "was measured when it was made, its memory was not.",
        f"Versions: {seen}.",
    ]


def markdown(document: dict[str, Any]) -> str:
    """Return the table for people, the best of each column bold, with what is needed to measure it again."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    for row in cells(document):
        texts = [text.table_cell(cell) for cell, _ in row]
        marked = [f"**{cell}**" if bold else cell for cell, (_, bold) in zip(texts, row, strict=True)]
        lines.append("| " + " | ".join(marked) + " |")
    again = f"Measure it again: `{document['command']}`"
    return "\n".join(lines) + "\n\n" + "\n\n".join([*notes(document), again]) + "\n"


def csv_table(document: dict[str, Any]) -> str:
    """Return a line a method, the columns named as in the JSON, the interval in two."""
    writer = files.CsvText()
    keys = list(document["rows"][0])
    at = keys.index("roc_auc_interval")
    writer.writerow([*keys[:at], "roc_auc_low", "roc_auc_high", *keys[at + 1 :]])
    for row in document["rows"]:
        values = [row[key] for key in keys]
        writer.writerow([*values[:at], *(row["roc_auc_interval"] or ("", "")), *values[at + 1 :]])
    return writer.text()
