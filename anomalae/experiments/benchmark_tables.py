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
    """Return the tables of a benchmark: its own, those of other data, of an ensemble's members, of the baselines."""
    found = [_main_part(table), *(_other_part(table, label) for label in table.get("also", {}))]
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
    also = table.get("also", {})
    head += [title for label in also for title in (f"ROC-AUC on {label}", f"false alarms on {label}")]
    rows = []
    for row in table["rows"]:
        band = row["false_alarm_band"]
        cells = [
            str(row[side]),
            _whole(row["n_train"]),
            text.spread(row["roc_auc"][main]),
            *(text.spread(row["roc_auc"][rule]) for rule in others),
            text.percent(row["detection_rate"]["mean"]),
            _rates(row["false_alarm_rates"]),
            f"{100 * band[0]:.1f} to {100 * band[1]:.1f}%" if band else text.MISSING,
        ]
        for label in also:
            of_other = row["also"][label]
            cells += [text.spread(of_other["roc_auc"][main]), _rates(of_other["false_alarm_rates"])]
        rows.append([(cell, False) for cell in cells])
    means = [text.spread(table["mean"][rule]) for rule in (main, *others)]
    rows.append([("mean", True), ("", False), *((mean, True) for mean in means), *[("", False)] * 3])
    for of_other in also.values():
        shown = text.spread(of_other["mean"][main]), text.percent(of_other["false_alarm_rate"]["mean"])
        rows[-1] += [(cell, True) for cell in shown]
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
    failed = table.get("failed", {})
    if failed:
        notes.append("Failed, twice, so that what hangs on it is left out:")
        notes += [f"{name}: {problem}" for name, problem in failed.items()]
    ranks = {**{f"({rule})": 4 for rule in others}, "train images": 3, "95% band": 2, "false alarms": 1}
    ranks |= {f"false alarms on {label}": 2 for label in also}
    return Part(head, rows, notes, ranks=ranks)


def _whole(value: int | None) -> str:
    return text.MISSING if value is None else str(value)


def _rates(rates: list[float | None]) -> str:
    return " ".join(text.percent(rate) for rate in rates)


def _other_part(table: dict[str, Any], label: str) -> Part:
    """Return what the cells give on all of another data set: a row a class, by each rule and by each member alone."""
    main, side, of_all = table["score"], table["side"], table["also"][label]
    rules, members = list(of_all["mean"]), list(of_all["members"])
    rules.sort(key=lambda rule: rule != main)
    rows = []
    for row in table["rows"]:
        judged = row["also"][label]
        cells = [str(row[side]), _whole(judged["n_normal"]), _whole(judged["n_anomalous"])]
        cells += [text.spread(judged["roc_auc"][rule]) for rule in rules]
        cells += [text.spread(judged["members"][name]) for name in members]
        cells += [text.percent(judged["detection_rate"]["mean"]), _rates(judged["false_alarm_rates"])]
        rows.append([(cell, False) for cell in cells])
    means = [text.spread(of_all["mean"][rule]) for rule in rules]
    means += [text.spread(of_all["members"][name]) for name in members]
    means += [text.percent(of_all[rate]["mean"]) for rate in ("detection_rate", "false_alarm_rate")]
    rows.append([("mean", True), *[("", False)] * 2, *((mean, True) for mean in means)])
    head = [side, "normal images", "anomalous", f"ROC-AUC ({main})", *(f"({rule})" for rule in rules[1:])]
    alone = [name if name == "all networks" else f"{name} alone" for name in members]
    head += [*alone, "detected", "false alarms"]
    notes = [
        f"All {text.count(of_all['n'])} images of {of_all['dataset']}, none of them trained on, flagged by the "
        f"thresholds of the data trained on. 95% bootstrap interval of the mean ({main}): "
        f"{text.interval(of_all['interval'], text.MISSING)}."
    ]
    low = {"normal images": 4, "anomalous": 4, **{f"({rule})": 3 for rule in rules[1:]}}
    ranks = low | dict.fromkeys(alone, 2) | {"detected": 1}
    return Part(head, rows, notes, title=f"The same detectors on {label}", ranks=ranks)


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
    """Return a line a normal class, seed and rule, and such lines of other data; below them those of baselines."""
    writer = files.CsvText()
    side = table.get("side", NORMAL)
    writer.writerow([side, "seed", "method", "score", "roc_auc", "false_alarm_rate"])
    for row in table["rows"]:
        others = {f"anomalae on {label}": judged for label, judged in row.get("also", {}).items()}
        for method, judged in {"anomalae": row, **others}.items():
            for rule, spread in judged["roc_auc"].items():
                rates = (
                    judged["false_alarm_rates"] if rule == table["score"] else [None] * len(table["seeds"])
                )
                for seed, value, rate in zip(table["seeds"], spread["values"], rates, strict=True):
                    writer.writerow([row[side], seed, method, rule, _exact(value), _exact(rate)])
        for name, spread in row.get("members", {}).items():
            for seed, value in zip(table["seeds"], spread["values"], strict=True):
                writer.writerow(
                    [row[side], seed, f"anomalae, {name} alone", table["score"], _exact(value), ""]
                )
    for label, column in table.get("baselines", {}).items():
        for chosen, values in column["values"].items():
            for seed, value in zip(column["seeds"], values, strict=True):
                writer.writerow([chosen, seed, label, "", _exact(value), ""])
    return writer.text()


def _exact(value: float | None) -> str:
    return "" if value is None else repr(value)


def _baselines_part(table: dict[str, Any]) -> Part:
    """Return the baselines: a row a method, a column a normal class, the best in bold."""
    normals = [str(row[table["side"]]) for row in table["rows"]]
    main = table["score"]
    ours = {str(row[table["side"]]): row["roc_auc"][main]["mean"] for row in table["rows"]}
    mean_of_run = table["mean"][main]
    methods = {f"anomalae ({main})": (ours, mean_of_run["mean"], mean_of_run["interval"], None)}
    ranked = sorted(table["baselines"].items(), key=lambda item: -(item[1]["mean"] or 0.0))
    methods |= {label: (b["rows"], b["mean"], b["interval"], b) for label, b in ranked}
    best = {
        n: max((rows[n] for rows, *_ in methods.values() if rows[n] is not None), default=0.0)
        for n in normals
    }
    top = max((mean for _, mean, *_ in methods.values() if mean is not None), default=0.0)
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
    # Tables of before do not say.
    fitted_on = table.get("baseline_images", "training and validation images")
    notes = [
        f"Baselines are PyOD's, fitted on the {fitted_on} of the same split; random ones once a "
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
        there = [row["seconds"]["mean"] for row in table["rows"] if row["seconds"]["mean"] is not None]
        return ["", text.number(float(np.median(there)) if there else None, 1), "", ""]
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
