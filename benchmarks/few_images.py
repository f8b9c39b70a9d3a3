"""What few normal images give: ROC-AUC, false alarms and detection of the default recipe, by their number.

    python benchmarks/few_images.py            # --data-dir DIR --draws 20 --minutes 60 --digits 0,3,4,8,9

Each cell is a training: of a digit of MNIST so many images of the train part are drawn, by the number of the draw, and
`Detector().fit` is left all its defaults: with fewer than 400 images five folds, else a tenth put aside. All test
images of the digit, and as many as 1,000 of the others, are judged at alpha 0.05.

The digits 0, 3, 4, 8 and 9 are those of the development images: easy, middling and hard ones. Cells are kept in
reports/few-images/cells.jsonl as they are done, and what is there is not done again; --minutes ends it after so much
CPU time, between two cells. Whatever cells there are make reports/few-images/table.md, table.csv and table.json, and
anomalae/experiments/few_images.json, from which `anomalae train` tells the nearest row.
"""

import argparse
import csv
import io
import json
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch

from anomalae import Detector, evaluate, files, load_dataset
from anomalae.datasets.dataset import Dataset
from anomalae.datasets.splits import FEW, FOLDS
from anomalae.evaluation.cross_conformal import proved_rate
from anomalae.experiments import few_images
from anomalae.images.sources import Canonical
from anomalae.runs.environment import record_environment

ALPHA, MOST_ANOMALIES = 0.05, 1000
NUMBERS = (30, 100, 300, 1000)
MEASURES = ("roc_auc", "false_alarm_rate", "detection_rate")
Cell = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir")
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--digits", default="0,3,4,8,9")
    parser.add_argument("--numbers", default=",".join(map(str, NUMBERS)))
    parser.add_argument("--output", type=Path, default=Path("reports/few-images"))
    parser.add_argument("--packaged", type=Path, default=few_images.TABLE)
    given = parser.parse_args()
    dataset = load_dataset(given.dataset, given.data_dir)
    given.output.mkdir(parents=True, exist_ok=True)
    kept = given.output / "cells.jsonl"
    cells = read_cells(kept)
    done = {(cell["n"], cell["digit"], cell["draw"]) for cell in cells}
    digits, numbers = ([int(word) for word in text.split(",")] for text in (given.digits, given.numbers))
    # A draw of all digits and numbers at a time, so that the table is even whenever it ends. `--draws 0` adds none.
    for draw in range(given.draws):
        for digit in digits:
            for n in numbers:
                if (n, digit, draw) in done:
                    continue
                if time.process_time() > 60 * given.minutes:
                    continue
                cells.append(measure(dataset, n, digit, draw))
                keep(kept, cells[-1])
                print(cells[-1], flush=True)
    write(given.output, given.packaged, given.dataset, cells)


def measure(dataset: Dataset, n: int, digit: int, draw: int) -> Cell:
    """Train on n images of a digit and judge the test part."""
    begun, rng = time.process_time(), np.random.default_rng([draw, digit])
    own = dataset.train.images[dataset.train.labels == digit]
    drawn = own[rng.permutation(len(own))[:n]]
    is_anomaly = dataset.test.labels != digit
    others = np.flatnonzero(is_anomaly)
    chosen = np.concatenate([np.flatnonzero(~is_anomaly), rng.permutation(others)[:MOST_ANOMALIES]])
    detector = Detector(device="cpu", threads=1).fit(Canonical(drawn))
    images = Canonical(dataset.test.images[chosen])
    judged = evaluate(
        detector.score(images), is_anomaly[chosen], alpha=ALPHA, threshold=detector.threshold(ALPHA)
    )
    return {
        "n": len(drawn),
        "digit": digit,
        "draw": draw,
        "roc_auc": judged.roc_auc,
        # Without a threshold nothing is flagged.
        "false_alarm_rate": judged.false_alarm_rate or 0.0,
        "detection_rate": judged.detection_rate or 0.0,
        "n_normal": judged.n_normal,
        "n_anomalous": judged.n_anomalous,
        "folds": detector.data.folds,
        "calibration": detector.n_calibration,
        "seconds": round(time.process_time() - begun, 2),
    }


def read_cells(path: Path) -> list[Cell]:
    """Read the cells that are kept, but for a last line that was torn."""
    if not path.exists():
        return []
    text = path.read_text()
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        files.write_bytes(path, whole.encode())
    return [json.loads(line) for line in whole.splitlines()]


def keep(path: Path, cell: Cell) -> None:
    """Add a cell to those that are kept."""
    with path.open("a") as file:
        file.write(json.dumps(cell) + "\n")
        file.flush()
        os.fsync(file.fileno())


def rows_of(cells: list[Cell]) -> list[dict[str, Any]]:
    """Return a row a number of images: means over digits and draws, and standard deviations."""
    rows = []
    for n in sorted({cell["n"] for cell in cells}):
        some = [cell for cell in cells if cell["n"] == n]
        row: dict[str, Any] = {
            "n": n,
            "folds": some[0]["folds"],
            "calibration": some[0]["calibration"],
            "cells": len(some),
            "draws": min(Counter(cell["digit"] for cell in some).values()),
        }
        for name in MEASURES:
            values = np.array([cell[name] for cell in some])
            row[name] = round(float(values.mean()), 5)
            row[f"{name}_sd"] = round(float(values.std(ddof=1)), 5) if len(values) > 1 else None
        rows.append(row)
    return rows


def write(output: Path, packaged: Path, dataset: str, cells: list[Cell]) -> None:
    """Write the tables."""
    rows = rows_of(cells)
    digits = sorted({cell["digit"] for cell in cells})
    by_digit = [
        {"digit": digit, **row}
        for digit in digits
        for row in rows_of([cell for cell in cells if cell["digit"] == digit])
    ]
    table = {"dataset": dataset, "digits": digits, "alpha": ALPHA, "rows": rows}
    versions = record_environment(torch.device("cpu")).versions
    files.write_json(output / "table.json", {**table, "by_digit": by_digit, "versions": versions})
    files.write_bytes(output / "table.csv", as_csv(rows).encode())
    files.write_bytes(output / "table.md", as_text(table, by_digit, cells, versions).encode())
    files.write_json(packaged, table)


def as_csv(rows: list[dict[str, Any]]) -> str:
    """Return a line a number of images."""
    lines = io.StringIO()
    writer = csv.DictWriter(lines, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return lines.getvalue()


def as_text(
    table: dict[str, Any], by_digit: list[dict[str, Any]], cells: list[Cell], versions: dict[str, str]
) -> str:
    """Return the table for people, with what it says and how it was made."""
    titles = "| p-values from | trainings | ROC-AUC | false alarms | detected |"
    lines = [f"| normal images {titles}", "|--:|---|--:|--:|--:|--:|", *map(_line, table["rows"])]
    lines += ["", "By digit:", "", f"| digit | normal images {titles}", "|--:|--:|---|--:|--:|--:|--:|"]
    lines += [f"| {row['digit']} {_line(row)}" for row in by_digit]
    proved = ", ".join(
        f"{proved_rate(n, FOLDS, ALPHA):.2f} with {n}"
        for n in sorted({row["n"] for row in table["rows"] if row["folds"]})
    )
    seconds = sum(cell["seconds"] for cell in cells)
    return "\n".join(
        [
            *lines,
            "",
            f"The default recipe, a digit of MNIST normal ({', '.join(map(str, table['digits']))}), its images "
            f"drawn anew in each draw (`default_rng([draw, digit])`), alpha {ALPHA:g}; means, and standard deviations "
            f"over digits and draws, {min(row['draws'] for row in table['rows'])} or more of a digit. Judged are all "
            f"test images of the digit and {MOST_ANOMALIES:,} of the others.",
            "",
            f"With fewer than {FEW} normal images p-values come from {FOLDS} cross-conformal folds; false alarms are "
            f"proved to be at most 2 alpha and a little more, on the average: {proved}. From {FEW} on a tenth is put "
            "aside, and they are at most alpha. By chance alone a rate scatters from draw to draw, more the fewer "
            "images calibrate: by n of them at alpha it is about Beta(k, n + 1 - k) with k = floor(alpha (n + 1)), "
            "whose mean is 0.032 with 30.",
            "",
            f"{len(cells)} trainings took {seconds / 60:.0f} CPU minutes. Measure it again: "
            "`python benchmarks/few_images.py`; cells that are kept are not done again, `--draws` adds to them.",
            "",
            f"Versions: {', '.join(f'{name} {version}' for name, version in versions.items())}.",
            "",
        ]
    )


def _line(row: dict[str, Any]) -> str:
    way = f"{row['folds']} folds" if row["folds"] else f"{row['calibration']} put aside"
    shown = []
    for name in MEASURES:
        form, sd = (".4f" if name == "roc_auc" else ".1%"), row[f"{name}_sd"]
        shown.append(f"{row[name]:{form}}" + ("" if sd is None else f" ± {sd:{form}}"))
    return f"| {row['n']:,} | {way} | {row['cells']} | {' | '.join(shown)} |"


if __name__ == "__main__":
    main()
