"""A benchmark's table as Markdown and CSV; knows nothing but the JSON-able table itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from anomalae import files, text
from anomalae.evaluation.significance import WORDING

NORMAL = "normal"
# After a ROC-AUC that is not told apart from ours.
EQUAL = " ="


@dataclass(frozen=True)
class Part:
    """One table of a benchmark, as text, and what a reader of it must know.

    head: titles of the columns, from left to right.
    rows: a row a class, or a method; each cell with whether it is bold.
    notes: lines below the table.
    title: line above it.
    ranks: of columns that can be left out where there is no room; the highest goes first.
    """

    head: list[str]
    rows: list[list[tuple[str, bool]]]
    notes: list[str] = field(default_factory=list)
    title: str = ""
    ranks: dict[str, int] = field(default_factory=dict)


def parts(table: dict[str, Any]) -> list[Part]:
    """Return the tables of a benchmark: its own, that of an ensemble's members, that of the baselines."""
    found = [_main_part(table)]
    if table.get("members"):
        found.append(_members_part(table))
    if "baselines" in table:
        found.append(_baselines_part(table))
    return found


def markdown(table: dict[str, Any]) -> str:
    """Return the tables for people, with what is needed to measure them again."""
    return "\n".join(map(_part_markdown, parts(table)))


def _part_markdown(part: Part) -> str:
    lines = ["| " + " | ".join(map(text.table_cell, part.head)) + " |", "|" + "---|" * len(part.head)]
    lines += ["| " + " | ".join(map(_cell_markdown, row)) + " |" for row in part.rows]
    title = f"{part.title}:\n\n" if part.title else ""
    return title + "\n".join(lines) + "\n" + "".join(f"\n{note}\n" for note in part.notes)


def _cell_markdown(cell: tuple[str, bool]) -> str:
    shown, bold = text.table_cell(cell[0]), cell[1]
    number = shown.removesuffix(EQUAL)
    return f"**{number}**{shown[len(number) :]}" if bold else shown


def _main_part(table: dict[str, Any]) -> Part:
    main, settings = table["score"], table["settings"]
    others = [rule for rule in table["mean"] if rule != main]
    seeds = len(table["seeds"])
    side = table.get("side", NORMAL)
    head = [
        side,
        "train images",
        f"ROC-AUC ({main})",
        *(f"({rule})" for rule in others),
        "detected",
        "false alarms",
        "95% band",
    ]
    rows = []
    for row in table["rows"]:
        low, high = row["false_alarm_band"]
        cells = [
            str(row[side]),
            str(row["n_train"]),
            text.spread(row["roc_auc"][main]),
            *(text.spread(row["roc_auc"][rule]) for rule in others),
            text.percent(row["detection_rate"]["mean"]),
            " ".join(text.percent(rate) for rate in row["false_alarm_rates"]),
            f"{100 * low:.1f} to {100 * high:.1f}%",
        ]
        rows.append([(cell, False) for cell in cells])
    means = [text.spread(table["mean"][rule]) for rule in (main, *others)]
    rows.append([("mean", True), ("", False), *((mean, True) for mean in means), *[("", False)] * 3])
    interval = table["mean"][main]["interval"]
    roles = "anomalies are all other classes" if side == NORMAL else "all other classes are normal"
    images = "test part" if table["part"] == "test" else "development images"
    notes = [
        f"Data: {table['dataset']}, {images}; "
        f"{roles}. Seeds: {text.setting(table['seeds'], ',')}. "
        f"Values are means{' ± standard deviation' if seeds > 1 else ''} over seeds"
        + (f"; in the last row over the {seeds} seeds' means." if seeds > 1 else "."),
    ]
    if interval:
        notes.append(
            f"95% bootstrap interval of the mean ({main}), test images resampled once for all cells: "
            f"{text.interval(interval)}."
        )
    notes.append(
        f"False alarms: share of normal images flagged at alpha {table['alpha']:g}, a value a seed; the band is where "
        "one such rate lies 95 times in 100 for exchangeable images (beta-binomial)."
    )
    chosen = {key: value for key, value in settings.items() if value is not None}
    notes.append(
        "Settings: " + ", ".join(f"{key} {text.setting(value, ',')}" for key, value in chosen.items()) + "."
    )
    if len(chosen) < len(settings):
        notes[-1] += " Epochs and batch size by the number of images, see `Settings.for_images`."
    notes.append(f"Measure it again: `{table['command']}`")
    if "environment" in table:
        versions = table["environment"]["versions"]
        notes.append(
            "Versions: " + ", ".join(f"{name} {version}" for name, version in versions.items()) + "."
        )
    ranks = {**{f"({rule})": 4 for rule in others}, "train images": 3, "95% band": 2, "false alarms": 1}
    return Part(head, rows, notes, ranks=ranks)


def _members_part(table: dict[str, Any]) -> Part:
    """Return what each member of an ensemble does alone: a row a normal class, a column a member."""
    main, side = table["score"], table.get("side", NORMAL)
    rows = []
    for row in table["rows"]:
        values = [*row["members"].values(), row["roc_auc"][main]]
        rows.append([(str(row[side]), False), *((text.spread(value), False) for value in values)])
    means = [*table["members"].values(), table["mean"][main]]
    rows.append([("mean", True), *((text.spread(value), True) for value in means)])
    head = [side, *map(str, table["members"]), "together"]
    return Part(head, rows, title=f"ROC-AUC ({main}) of each member alone")


def csv_table(table: dict[str, Any]) -> str:
    """Return a line a normal class, seed and rule; below them a line a class, seed and baseline."""
    writer = files.CsvText()
    side = table.get("side", NORMAL)
    writer.writerow([side, "seed", "method", "score", "roc_auc"])
    for row in table["rows"]:
        for rule, spread in row["roc_auc"].items():
            for seed, value in zip(table["seeds"], spread["values"], strict=True):
                writer.writerow([row[side], seed, "anomalae", rule, repr(value)])
        for name, spread in row.get("members", {}).items():
            for seed, value in zip(table["seeds"], spread["values"], strict=True):
                writer.writerow([row[side], seed, f"anomalae, {name} alone", table["score"], repr(value)])
    for label, column in table.get("baselines", {}).items():
        for chosen, values in column["values"].items():
            for seed, value in zip(column["seeds"], values, strict=True):
                writer.writerow([chosen, seed, label, "", "" if value is None else repr(value)])
    return writer.text()


def _baselines_part(table: dict[str, Any]) -> Part:
    """Return the baselines: a row a method, a column a normal class, the best in bold."""
    normals = [str(row[table["side"]]) for row in table["rows"]]
    main = table["score"]
    ours = {str(row[table["side"]]): row["roc_auc"][main]["mean"] for row in table["rows"]}
    mean_of_run = table["mean"][main]
    methods = {f"anomalae ({main})": (ours, mean_of_run["mean"], mean_of_run["interval"], None)}
    ranked = sorted(table["baselines"].items(), key=lambda item: -(item[1]["mean"] or 0.0))
    methods |= {label: (b["rows"], b["mean"], b["interval"], b) for label, b in ranked}
    best = {n: max((rows[n] for rows, *_ in methods.values() if rows[n] is not None)) for n in normals}
    top = max(mean for _, mean, *_ in methods.values() if mean is not None)
    head = [
        "method",
        *normals,
        "mean",
        "95% interval",
        "better / worse",
        "fit s",
        "µs/image",
        "peak MB",
    ]
    lines = []
    for label, (rows, mean, interval, column) in methods.items():
        cells = [_cell(rows[n], best[n], column, n) for n in normals]
        span = text.interval(interval, missing="-")
        rest = [(cell, False) for cell in (span, *_cost(column, table))]
        lines.append([(label, False), *cells, _cell(mean, top), *rest])
    seen = ", ".join(f"{name} {version}" for name, version in table["baseline_versions"].items())
    notes = [
        "Baselines are PyOD's, fitted on the training and validation images of the same split; random ones once a "
        "seed (mean shown) unless that takes minutes, the others on the first seed's split. "
        "Times are medians, one process after another, of a fresh process each: HBOS, ECOD and the deep ones "
        "compile code on first use, some seconds of it.",
        "Best of a column in bold; =: not told apart from ours. "
        "better / worse: normal classes on which our ROC-AUC is above / below the baseline's at p < 0.05, paired "
        f"DeLong test of the first seed, Holm-corrected over all classes and baselines: {WORDING}.",
        f"Versions: {seen}.",
    ]
    failed = [f"{label}, {cell}: {status}" for label, b in ranked for cell, status in b["failures"].items()]
    ranks = {
        "peak MB": 6,
        "µs/image": 5,
        "fit s": 4,
        **dict.fromkeys(normals, 3),
        "95% interval": 2,
        "better / worse": 1,
    }
    return Part(head, lines, notes + failed, ranks=ranks)


def _cost(column: dict[str, Any] | None, table: dict[str, Any]) -> list[str]:
    if column is None:
        seconds = float(np.median([row["seconds"]["mean"] for row in table["rows"]]))
        return ["", text.number(seconds, 1), "", ""]
    better = sum(t["p_value"] < 0.05 and t["difference"] > 0 for t in column["tests"].values())
    worse = sum(t["p_value"] < 0.05 and t["difference"] < 0 for t in column["tests"].values())
    micro = None if column["score_seconds"] is None else column["score_seconds"] * 1e6
    peak = None if column["peak_memory_bytes"] is None else column["peak_memory_bytes"] / 1e6
    return [
        f"{better} / {worse}",
        text.number(column["fit_seconds"], 1),
        text.number(micro, 0),
        text.number(peak, 0),
    ]


def _cell(
    value: float | None, best: float, column: dict[str, Any] | None = None, chosen: str = ""
) -> tuple[str, bool]:
    """Return a ROC-AUC, with "=" where the test does not tell it from ours, and whether it is the best."""
    test = column["tests"].get(chosen) if column else None
    equal = EQUAL if test and test["p_value"] >= 0.05 else ""
    return text.number(value) + equal, value is not None and value == best
