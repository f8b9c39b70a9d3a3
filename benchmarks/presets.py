"""Training time of the presets in that of the default, side by side: each in turn, several rounds, one thread.

    python benchmarks/presets.py          # --normal 2 --rounds 3 --data-dir DIR

Writes reports/presets/table.md and table.json: seconds to fit (networks, neighbours, calibration) and to score 1,000
images, in those of the default.
"""

import argparse
import platform
import time
from pathlib import Path

import numpy as np
import torch

from anomalae import Detector, files, load_dataset
from anomalae.settings import PRESETS

KINDS = {"default": {}, **PRESETS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--normal", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data-dir")
    parser.add_argument("--output", type=Path, default=Path("reports/presets"))
    given = parser.parse_args()
    split = load_dataset("mnist", given.data_dir).one_class(normal=[given.normal], seed=0)
    parts = (split.train.images, split.validation.images, split.calibration.images)
    train: dict[str, list[float]] = {name: [] for name in KINDS}
    score: dict[str, list[float]] = {name: [] for name in KINDS}
    for number in range(given.rounds):
        for name, settings in KINDS.items():
            begun = time.perf_counter()
            detector = Detector(threads=1, **settings).fit(*parts)
            fitted = time.perf_counter()
            detector.score(split.test.images[:1000])
            train[name].append(fitted - begun)
            score[name].append(time.perf_counter() - fitted)
            print(number, name, f"{train[name][-1]:.1f} s, {score[name][-1]:.2f} s", flush=True)
    given.output.mkdir(parents=True, exist_ok=True)
    rows = {name: {"fit": _ratios(train, name), "score": _ratios(score, name)} for name in KINDS}
    versions = {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__}
    files.write_json(
        given.output / "table.json", {"normal": given.normal, "rows": rows, "versions": versions}
    )
    lines = ["| preset | time to fit | time to score |", "|---|---|---|"]
    lines += [f"| {name} | {_text(row['fit'])} | {_text(row['score'])} |" for name, row in rows.items()]
    note = (
        f"Wall clock in that of the default in the same round: median (least to most) of {given.rounds} rounds, one "
        f"thread, normal digit {given.normal}.\n\nMeasure it again: `python benchmarks/presets.py`\n\nVersions: "
        + ", ".join(f"{name} {version}" for name, version in versions.items())
    )
    files.write_bytes(given.output / "table.md", ("\n".join(lines) + "\n\n" + note + ".\n").encode())


def _ratios(seconds: dict[str, list[float]], name: str) -> list[float]:
    return [one / usual for one, usual in zip(seconds[name], seconds["default"], strict=True)]


def _text(ratios: list[float]) -> str:
    return f"{np.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


if __name__ == "__main__":
    main()
