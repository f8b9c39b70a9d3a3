"""Side by side with PyOD's AutoEncoder at its defaults: ROC-AUC and training time, presets in full, short schedules.

    python benchmarks/against_pyod.py            # --dataset mnist --normal 2,8 --epochs 1,3,10 --seed 0

All trainings of a digit are done one after another in this process, on the same images (training and validation
images for PyOD, which has no use for a calibration set), with the same number of threads, and the test part is scored
whole. Times are CPU seconds of the fit alone, which a busy machine changes little; only their ratios mean anything
elsewhere, and speed.py measures them in several rounds. Writes reports/against-pyod/table.md and table.json.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from anomalae import Detector, evaluate, files, load_dataset
from anomalae.datasets.load import parse_classes
from anomalae.experiments.baselines.registry import BaselineDetector
from anomalae.runs.environment import record_environment
from anomalae.settings import PRESETS

PYOD = "PyOD AutoEncoder, defaults"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--data-dir")
    parser.add_argument("--normal", default="2,8")
    parser.add_argument("--epochs", default="1,3,10", help="short schedules of ours, with commas between")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("reports/against-pyod"))
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    dataset = load_dataset(given.dataset, given.data_dir)
    short = [int(word) for word in given.epochs.split(",")]
    cells = []
    BaselineDetector("autoencoder (defaults)").fit(dataset.train.images[:200])
    Detector(epochs=1).fit(dataset.train.images[:200])  # what is set up on first use is nobody's training
    for normal in parse_classes(given.normal, dataset.classes):
        split = dataset.one_class(normal=[normal], seed=given.seed)
        is_anomaly = split.test.labels != normal
        for name, fit in methods(split, given.seed, short).items():
            begun = time.process_time()
            detector = fit()
            seconds = time.process_time() - begun
            found = evaluate(detector.score(split.test.images), is_anomaly)
            cells.append({"normal": normal, "method": name, "roc_auc": found.roc_auc, "seconds": seconds})
            print(f"digit {normal}, {name}: {found.roc_auc:.4f} in {seconds:.1f} CPU s", flush=True)
    given.output.mkdir(parents=True, exist_ok=True)
    versions = record_environment(torch.device("cpu")).versions | {"pyod": _version("pyod")}
    table = {
        "dataset": dataset.name,
        "seed": given.seed,
        "threads": given.threads,
        "cells": cells,
        "versions": versions,
    }
    files.write_json(given.output / "table.json", table)
    files.write_bytes(given.output / "table.md", markdown(table).encode())
    print(markdown(table))


def methods(split, seed, short):
    """Names and functions that fit."""
    ours = (split.train.images, split.validation.images, split.calibration.images)
    pyods = np.concatenate(ours[:2])
    found = {PYOD: lambda: BaselineDetector("autoencoder (defaults)", seed).fit(pyods)}
    for epochs in short:
        found[f"anomalae, --epochs {epochs}"] = lambda epochs=epochs: Detector(epochs=epochs, seed=seed).fit(
            *ours
        )
    kinds = {"default": {}, "--model vae": {"model": "vae"}}
    kinds |= {f"--preset {name}": preset for name, preset in PRESETS.items()}
    for name, asked in kinds.items():
        found[f"anomalae, {name}"] = lambda asked=asked: Detector(**{"seed": seed, **asked}).fit(*ours)
    return found


def markdown(table) -> str:
    """A row a method, two columns a digit: ROC-AUC and CPU time as a multiple of PyOD's."""
    cells = {(cell["normal"], cell["method"]): cell for cell in table["cells"]}
    normals = list(dict.fromkeys(normal for normal, _ in cells))
    lines = [
        "| method | " + " | ".join(f"{n}: ROC-AUC | {n}: CPU time / PyOD's" for n in normals) + " |",
        "|---|" + "---|" * (2 * len(normals)),
    ]
    for method in dict.fromkeys(method for _, method in cells):
        row = []
        for normal in normals:
            cell, base = cells[normal, method], cells[normal, PYOD]
            row += [f"{cell['roc_auc']:.4f}", f"{cell['seconds'] / base['seconds']:.1f}"]
        lines.append(f"| {method} | " + " | ".join(row) + " |")
    listed = ",".join(map(str, normals))
    short = ",".join(
        method.rsplit(" ", 1)[1] for _, method in cells if "--epochs" in method and _ == normals[0]
    )
    versions = ", ".join(f"{name} {version}" for name, version in table["versions"].items())
    other = "" if table["dataset"] == "mnist" else f" --dataset {table['dataset']}"
    return "\n".join(
        [
            *lines,
            "",
            f"Data: {table['dataset']}, test part; one digit normal, seed {table['seed']}, "
            f"{table['threads']} thread(s), one training after another in one process.",
            "",
            f"Measure it again: `python benchmarks/against_pyod.py{other} --normal {listed} --epochs {short}`",
            "",
            f"Versions: {versions}.",
            "",
        ]
    )


def _version(package: str) -> str:
    from importlib.metadata import version

    return version(package)


if __name__ == "__main__":
    main()
