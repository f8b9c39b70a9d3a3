"""Draw the worst misses and false alarms of each normal digit in a benchmark's table.

    python benchmarks/worst.py reports/benchmark-mnist-ae-accurate      # --count 14 --data-dir DIR

Needs the table's cells (scores of every test image, kept beside it on the machine that made them). An image's score is
the mean over the seeds. Writes reports/worst/DIGIT.png: above, anomalies with the lowest scores (misses), below, normal
images with the highest (false alarms); and worst.json with their places in the test part, labels and those shares.
"""

import argparse
from pathlib import Path

import matplotlib
import numpy as np

from anomalae import files, load_dataset

matplotlib.use("Agg")
from matplotlib import pyplot as plt


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path)
    parser.add_argument("--count", type=int, default=14)
    parser.add_argument("--data-dir")
    parser.add_argument("--output", type=Path, default=Path("reports/worst"))
    given = parser.parse_args()
    table = files.read_json(given.table / "table.json")
    test = load_dataset(table["dataset"], given.data_dir).test
    given.output.mkdir(parents=True, exist_ok=True)
    found = {}
    for row in table["rows"]:
        digit = row["normal"]
        paths = [given.table / "cells" / f"normal-{digit}_seed-{seed}.safetensors" for seed in table["seeds"]]
        scores = np.mean([files.read_arrays(path)[0][table["score"]] for path in paths], axis=0)
        order = np.argsort(scores, kind="stable")
        normal = test.labels == digit
        misses, alarms = order[~normal[order]][: given.count], order[normal[order]][::-1][: given.count]
        below = [float((scores[normal] >= scores[i]).mean()) for i in misses]
        above = [float((scores[~normal] <= scores[i]).mean()) for i in alarms]
        found[str(digit)] = {
            "misses": _listed(misses, test.labels, below),
            "false_alarms": _listed(alarms, test.labels, above),
        }
        _draw(given.output / f"{digit}.png", test, digit, misses, below, alarms, above)
    files.write_json(given.output / "worst.json", found)


def _listed(places: np.ndarray, labels: np.ndarray, shares: list[float]) -> list[dict[str, float]]:
    """`beyond`: share of the other kind's images that score worse still (normals above a miss, anomalies below)."""
    return [
        {"image": int(i), "label": int(labels[i]), "beyond": round(s, 4)}
        for i, s in zip(places, shares, strict=True)
    ]


def _draw(path, test, digit, misses, below, alarms, above) -> None:  # type: ignore[no-untyped-def]
    figure, axes = plt.subplots(2, len(misses), figsize=(0.72 * len(misses), 2.5), dpi=110)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, i, share in zip(axes[0], misses, below, strict=True):
        axis.imshow(test.images[i], cmap="gray_r", vmin=0, vmax=255)
        axis.set_title(f"{test.labels[i]}\n{100 * share:.1f}%", fontsize=7)
    for axis, i, share in zip(axes[1], alarms, above, strict=True):
        axis.imshow(test.images[i], cmap="gray_r", vmin=0, vmax=255)
        axis.set_title(f"{100 * share:.1f}%", fontsize=7)
    figure.text(
        0.005,
        0.97,
        f"normal: {digit}. Misses: label, and share of normals that score higher",
        fontsize=7,
        va="top",
    )
    figure.text(0.005, 0.47, "False alarms: share of anomalies that score lower", fontsize=7, va="top")
    figure.subplots_adjust(left=0.005, right=0.995, bottom=0.01, top=0.8, wspace=0.05, hspace=0.55)
    figure.savefig(path, metadata={"Software": None})
    plt.close(figure)


if __name__ == "__main__":
    main()
