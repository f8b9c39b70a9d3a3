"""Compare settings on the development set, one change at a time; the test part is never touched.

    python benchmarks/development.py ae            # or vae; --rows NAME,NAME --normal 2,5,8,9 --epochs 15

Normal images are validation images of the class, anomalies 10,000 train-part images of the other classes. Writes
reports/development-ae/table.md and table.json, a row a setting with the ROC-AUC by every score, means over the
normal classes; cells that are there already are kept.
"""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from denoising import trained_against

from anomalae import files, load_dataset
from anomalae.datasets.load import parse_classes
from anomalae.experiments import Grid, benchmark
from anomalae.models.training.corruption import COARSE_SIGMA, PIXEL_SIGMA, corrupt
from anomalae.settings import Settings

# name: (coarse sigma, pixel sigma, settings)
ROWS = {
    "ae": {
        "default": (0.7, 0.3, {}),
        "one pass": (0.7, 0.3, {"passes": 1}),
        "three passes": (0.7, 0.3, {"passes": 3}),
        "noise 0.5 coarse + 0.5 pixel": (0.5, 0.5, {}),
        "noise 0.7 coarse + 0.5 pixel": (0.7, 0.5, {}),
        "noise 0.5 coarse + 0.8 pixel": (0.5, 0.8, {}),
        "noise 1.0 coarse + 0.3 pixel": (1.0, 0.3, {}),
        "no noise (plain autoencoder)": (0.7, 0.3, {"noise": 0.0}),
        "batches of 64": (0.7, 0.3, {"batch_size": 64}),
        "hidden 2048-512": (0.7, 0.3, {"hidden": (2048, 512)}),
        "latent 16": (0.7, 0.3, {"latent_dim": 16}),
        "conv 32-64": (0.7, 0.3, {"architecture": "conv"}),
    },
    "vae": {
        "default: smooth-direction": (0.7, 0.3, {}),
        "smooth-gaussian": (0.7, 0.3, {"likelihood": "smooth-gaussian"}),
        "gaussian": (0.7, 0.3, {"likelihood": "gaussian"}),
        "bernoulli": (0.7, 0.3, {"likelihood": "bernoulli"}),
        "smooth-direction beta 2": (0.7, 0.3, {"beta": 2.0}),
        "smooth-direction no noise": (0.7, 0.3, {"noise": 0.0}),
        "smooth-direction latent 16": (0.7, 0.3, {"latent_dim": 16}),
        "smooth-direction conv": (0.7, 0.3, {"architecture": "conv"}),
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", choices=ROWS)
    parser.add_argument("--rows", help="names of rows, with commas between; default: all")
    parser.add_argument("--normal", default="2,5,8,9")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--data-dir")
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    folder = given.output or Path("reports") / f"development-{given.model}"
    dataset = load_dataset("mnist", given.data_dir)
    normals = parse_classes(given.normal, dataset.classes)
    rows = []
    for name in given.rows.split(",") if given.rows else ROWS[given.model]:
        coarse, pixel, changes = ROWS[given.model][name]
        settings = Settings.of(epochs=given.epochs, **_noise(given.model, coarse, pixel), **changes)
        grid = Grid(dataset, normals, (0,), settings, part="development")
        place = folder / "cells" / "".join(c if c.isalnum() else "-" for c in name)
        found = benchmark.run(grid, place, threads=given.threads, on_cell=partial(_report, name))
        means = {rule: spread["mean"] for rule, spread in found["mean"].items()}
        by_class = {str(row["normal"]): row["roc_auc"][settings.rule]["mean"] for row in found["rows"]}
        rows.append(
            {
                "row": name,
                "coarse": coarse,
                "pixel": pixel,
                "settings": found["settings"],
                "score": settings.rule,
                "roc_auc": means,
                "by_class": by_class,
                "environment": found["environment"],
            }
        )
        files.write_json(
            folder / "table.json", {"normal": list(normals), "part": "development", "rows": rows}
        )
        files.write_bytes(folder / "table.md", markdown(rows, normals, given.epochs).encode())
    print((folder / "table.md").read_text())


def _noise(model: str, coarse: float, pixel: float) -> dict[str, Any]:
    """Settings of a model that is trained against noise of these sigmas."""
    if (coarse, pixel) == (COARSE_SIGMA, PIXEL_SIGMA):
        return {"model": model}
    sigmas = {"coarse_sigma": coarse, "pixel_sigma": pixel}
    name = f"{model}-noise-{coarse:g}-{pixel:g}".replace(".", "")
    return trained_against(lambda images, source: corrupt(images, 1.0, source, **sigmas), name)


def _report(row: str, cell: str, *_: object) -> None:
    print(f"{row}: {cell}", flush=True)


def markdown(rows: list[dict], normals: tuple, epochs: int | None) -> str:
    """The table, best score of a row in bold."""
    rules = list(dict.fromkeys(rule for row in rows for rule in row["roc_auc"]))
    lines = ["| setting | " + " | ".join(rules) + " |", "|---|" + "---|" * len(rules)]
    for row in rows:
        best = max(row["roc_auc"].values())
        cells = [f"{row['roc_auc'][rule]:.4f}" if rule in row["roc_auc"] else "" for rule in rules]
        lines.append(
            f"| {row['row']} | " + " | ".join(f"**{c}**" if c == f"{best:.4f}" else c for c in cells) + " |"
        )
    schedule = f"{epochs} epochs each" if epochs else "the default schedule"
    note = (
        f"Mean ROC-AUC over the normal digits {', '.join(map(str, normals))}, development set, seed 0, {schedule}: "
        "validation normals (5% of the class) against 10,000 train-part images of the other digits."
    )
    return "\n".join([*lines, "", note, ""])


if __name__ == "__main__":
    main()
