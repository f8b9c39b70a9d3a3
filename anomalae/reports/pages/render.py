"""From content to a folder: one HTML file that needs nothing else, and beside it figures, numbers and scores."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from anomalae import files
from anomalae.detectors.judged_rows import COLUMNS
from anomalae.reports.content import (
    BenchmarkReport,
    ComparisonReport,
    RunReport,
    ScoredReport,
)
from anomalae.reports.pages import figures, page, tuner
from anomalae.reports.pages.card import CARD, model_card
from anomalae.reports.pages.folder import METRICS, PAGE, SCORES, claim, write
from anomalae.text import natural_order, printable

# Most rows of the table of scored images.
SHOWN = 500
_MEASURES = (
    "roc_auc",
    "roc_auc_interval",
    "average_precision",
    "fpr_at_95_tpr",
    "fit_seconds",
    "score_seconds",
    "peak_memory_bytes",
)


def write_run(report: RunReport, folder: Path) -> list[Path]:
    """Write the report of a run; returns its files, the page first. BundleError where that cannot be done."""
    claim(folder, [PAGE, METRICS])
    drawn, class_rows = figures.of_run(report), _class_rows(report)
    content = {
        "report": report,
        "drawn": drawn,
        "class_rows": class_rows,
        "baseline_rows": _baseline_rows(report),
        "most_curves": figures.MOST_CURVES,
        "n_images": report.evaluation.scores.size,
        "sections": _sections(
            ("verdict", "Verdict"),
            ("separation", "Curves"),
            ("scores", "Scores"),
            ("classes", "Classes" if class_rows else ""),
            ("pictures", "Pictures" if report.galleries else ""),
            ("latent", "Latent space" if report.latent or "samples" in drawn else ""),
            ("training", "Training"),
            ("baselines", "Baselines" if report.baselines else ""),
            ("reproduce", "Reproduce"),
        ),
        "heat_png": page.heat_png(report.trained.heat_scale),
    }
    data = {"figures": _frames(drawn), **tuner.of_evaluation(report.evaluation)}
    filled = page.fill("run", content, data)
    return write(
        folder, filled, drawn, dict(report.metrics), {SCORES: report.scores_csv, CARD: model_card(report)}
    )


def write_scored(report: ScoredReport, folder: Path) -> list[Path]:
    """Write the report of scored images; returns its files, the page first."""
    claim(folder, [PAGE, METRICS])
    drawn = figures.of_scores(report)
    good = [row for row in report.rows if row.score is not None]
    failed = [row for row in report.rows if row.score is None]
    ranked = sorted(good, key=lambda row: -(row.score or 0.0))
    metrics = {
        "source": printable(str(Path(report.source).resolve())),
        "run": report.trained.name,
        "score": report.trained.rule,
        "n": len(good),
        "n_flagged": sum(row.flagged for row in good),
        "n_failed": len(failed),
        "threshold": report.threshold,
        "alpha": report.alpha,
    }
    content = {
        "report": report,
        "drawn": drawn,
        "n": len(good),
        "n_flagged": metrics["n_flagged"],
        "n_failed": len(failed),
        "highest": float(report.scores.max()),
        "ranked": ranked[:SHOWN],
        "failed": failed[:SHOWN],
        "shown": min(len(good), SHOWN),
        "sections": _sections(
            ("verdict", "Verdict"),
            ("scores", "Scores"),
            ("pictures", "Pictures" if report.galleries else ""),
            ("images", "Each image"),
            ("training", "Model"),
            ("reproduce", "Reproduce"),
        ),
        "heat_png": page.heat_png(report.trained.heat_scale),
    }
    data = {"figures": _frames(drawn), **tuner.of_scores(report.scores, report.threshold)}
    return write(folder, page.fill("scored", content, data), drawn, metrics, {SCORES: _scored_csv(report)})


def write_comparison(report: ComparisonReport, folder: Path) -> list[Path]:
    """Write the report of several runs; returns its files, the page first."""
    claim(folder, [PAGE, METRICS])
    drawn = figures.of_comparison(report)
    aucs = [run.evaluation.roc_auc for run in report.runs if run.evaluation.roc_auc is not None]
    names = natural_order(name for run in report.runs for name in run.evaluation.per_class)
    rows = [{"name": name, "aucs": [_auc_of(run, name) for run in report.runs]} for name in names]
    content = {
        "report": report,
        "drawn": drawn,
        "names": [run.trained.name for run in report.runs],
        "best": max(aucs, default=None),
        "class_rows": rows,
        "sections": _sections(
            ("verdict", "Verdict"),
            ("separation", "Curves"),
            ("classes", "Classes" if rows else ""),
            ("reproduce", "Reproduce"),
        ),
    }
    metrics = {
        "runs": [dict(run.metrics) for run in report.runs],
        "differences": list(report.differences),
        "pairs": [vars(pair) for pair in report.pairs],
    }
    return write(folder, page.fill("comparison", content, None), drawn, metrics, {})


def write_benchmark(report: BenchmarkReport, folder: Path) -> list[Path]:
    """Write the report of a benchmark; returns its files, the page first."""
    claim(folder, [PAGE, METRICS])
    drawn, table = figures.of_benchmark(report), report.table
    main, side = table["score"], table.get("side", "normal")
    rows = table["rows"]
    # A class has no band if all its cells failed.
    banded = [row for row in rows if row["false_alarm_band"] is not None]
    rates = [(rate, row["false_alarm_band"]) for row in banded for rate in row["false_alarm_rates"]]
    inside = sum(rate is not None and low <= rate <= high for rate, (low, high) in rates)
    judged = [row for row in rows if row["roc_auc"][main]["mean"] is not None]
    matrix: list[tuple[str, list[float | None]]] = []
    if report.matrix is not None:
        for row, values in zip(rows, report.matrix.tolist(), strict=True):
            matrix.append((str(row[side]), [None if value != value else value for value in values]))
    content = {
        "report": report,
        "drawn": drawn,
        "side": side,
        "judged_on": _judged_on(table),
        "others": [rule for rule in table["mean"] if rule != main],
        "also": table.get("also") or {},
        "worst": min(judged or rows, key=lambda row: row["roc_auc"][main]["mean"] or 0.0),
        "in_band": (inside, len(rates)),
        "hardest_pair": _hardest_pair(report),
        "matrix_rows": matrix,
        "method_rows": _method_rows(report),
        "sections": _sections(
            ("verdict", "Verdict"),
            ("table", "Each class"),
            ("matrix", "Matrix" if report.matrix is not None else ""),
            ("baselines", "Other methods" if report.baselines else ""),
            ("reproduce", "Reproduce"),
        ),
    }
    metrics = {**table, "matrix": {"columns": list(report.columns), "rows": dict(matrix)} if matrix else None}
    return write(folder, page.fill("benchmark", content, None), drawn, metrics, {})


# --- what the pages list ---


def _sections(*candidates: tuple[str, str]) -> list[tuple[str, str]]:
    return [(anchor, name) for anchor, name in candidates if name]


def _frames(drawn: Mapping[str, figures.Drawn]) -> dict[str, Any]:
    return {name: drawing.frames for name, drawing in drawn.items() if name in ("roc", "pr", "scores")}


def _class_rows(report: RunReport) -> list[dict[str, Any]]:
    """Return a row for each class of the test part, the normal ones first; `group` is as in the page's data.

    One class is none to compare: its numbers are the verdict.
    """
    e = report.evaluation
    names = e.names
    if names is None or not e.has_classes:
        return []
    groups = {name: place for place, name in enumerate(dict.fromkeys(names.tolist()))}
    normal = natural_order(names[~e.is_anomaly].tolist())
    rows = []
    for name in [*normal, *e.per_class]:
        is_of_class, result = names == name, e.per_class.get(name)
        rows.append(
            {
                "name": name,
                "group": groups[name],
                "anomalous": result is not None,
                "n": int(is_of_class.sum()),
                "roc_auc": None if result is None else result.roc_auc,
                "interval": None if result is None else result.roc_auc_interval,
                "flagged": None if e.threshold is None else float(e.flagged[is_of_class].mean()),
            }
        )
    return rows


def _baseline_rows(report: RunReport) -> list[dict[str, Any]]:
    """Return the rows of the comparison, the highest ROC-AUC first and those that failed last."""
    keys = ("method", "settings", "status", "p_value_vs_run", *_MEASURES)
    rows = [
        {key: row.get(key) for key in keys} for row in (report.baselines.rows if report.baselines else ())
    ]
    return sorted(rows, key=lambda row: -(row["roc_auc"] or 0.0))


def _method_rows(report: BenchmarkReport) -> list[dict[str, Any]]:
    """Return our own row and the baselines', the highest mean first; a cell says whether it is best of its column."""
    table, main = report.table, report.table["score"]
    if not report.baselines:
        return []
    chosen = [str(row[table.get("side", "normal")]) for row in table["rows"]]
    ours = [row["roc_auc"][main]["mean"] for row in table["rows"]]
    rows = [{"method": f"anomalae ({main})", "values": [*ours, table["mean"][main]["mean"]], "verdict": ""}]
    for name, baseline in sorted(report.baselines.items(), key=lambda item: -(item[1].get("mean") or 0.0)):
        values = [*(baseline["rows"].get(key) for key in chosen), baseline.get("mean")]
        tests = [test for test in baseline.get("tests", {}).values() if test["p_value"] < 0.05]
        better = sum(test["difference"] > 0 for test in tests)
        rows.append({"method": name, "values": values, "verdict": f"{better}, {len(tests) - better}"})
    best = [
        max((v for v in column if v is not None), default=None)
        for column in zip(*(row["values"] for row in rows), strict=True)
    ]
    for row in rows:
        row["cells"] = [(v, v is not None and v == top) for v, top in zip(row["values"], best, strict=True)]
    return rows


def _judged_on(table: Mapping[str, Any]) -> str:
    """Say which images judged a benchmark: only data sets of a name have an official test part."""
    if table["part"] != "test":
        return "development images"
    # We divided these ourselves.
    divided_here = Path(table["dataset"]).is_absolute() or table["dataset"] == "digits"
    return "test part" if divided_here else "official test part"


def _hardest_pair(report: BenchmarkReport) -> tuple[str, str, float] | None:
    """Return normal class, anomalous class and ROC-AUC of the lowest cell of the matrix."""
    if report.matrix is None or not np.isfinite(report.matrix).any():
        return None
    row, column = np.unravel_index(int(np.nanargmin(report.matrix)), report.matrix.shape)
    normal = str(report.table["rows"][row]["normal"])
    return normal, report.columns[column], float(report.matrix[row, column])


def _auc_of(run: RunReport, name: str) -> float | str | None:
    if name in run.evaluation.per_class:
        return run.evaluation.per_class[name].roc_auc
    return "normal" if name in run.trained.normal else ""


def _scored_csv(report: ScoredReport) -> str:
    writer = files.CsvText()
    writer.writerow(COLUMNS)
    for row in report.rows:
        verdict = (
            ["", "", ""] if row.score is None else [repr(row.score), repr(row.p_value), int(row.flagged)]
        )
        writer.writerow([row.path, *verdict, row.error])
    return writer.text()
