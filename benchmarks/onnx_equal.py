"""Is an exported graph the run? Every kind of network, view and score, on all 10,000 test digits of MNIST.

    python benchmarks/onnx_equal.py            # --data-dir DIR --only vae,ladder --epochs 3

Each kind is trained for a few epochs on one digit, exported, and judges all test images. Where the score of an image is
further from every raised calibration score than the largest difference there is, its p-value must be the same in both;
of the others it is counted how many have another, and the first are listed. The calibration images are judged again as
well: each should keep the p-value that its stored score has. Writes reports/onnx/equal.md and equal.json, and ends with
1 if any p-value differs that must not.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from anomalae import Detector, files, load_dataset
from anomalae.datasets import OneClassSplit
from anomalae.detectors.export import OnnxDetector, export
from anomalae.evaluation.conformal import p_values, raised
from anomalae.images.sources import Canonical
from anomalae.plugins import VIEWS
from anomalae.runs.environment import record_environment

VAE = {"model": "vae", "samples": 4}
KINDS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "default": ({}, ("worst-place", "bent", "mse", "relative", "smooth", "sap", "nap")),
    "accurate": ({"neighbours": 8}, ("worst-place",)),
    **{f"view {view}": ({"views": (view,)}, ("bent",)) for view in VIEWS.names()},
    "every view": ({"views": VIEWS.names()}, ("bent",)),
    "two members": ({"members": 2}, ("bent",)),
    "convolutions": ({"architecture": "conv", "hidden": (8, 16), "passes": 2}, ("bent", "nap")),
    "neighbours by sum": ({"views": ("deskewed",), "neighbours": 3, "distance": "sum"}, ("smooth",)),
    "vae": (VAE, ("elbo", "iwae", "reconstruction-probability", "kl")),
    "vae bernoulli": ({**VAE, "likelihood": "bernoulli"}, ("elbo", "elbo-excess")),
    "vae smooth-gaussian": ({**VAE, "likelihood": "smooth-gaussian"}, ("elbo",)),
    "vae smooth-direction": ({**VAE, "likelihood": "smooth-direction"}, ("elbo",)),
    "ladder": ({**VAE, "model": "ladder-vae", "layers": 3}, ("elbo", "llr-1", "llr-2")),
    "adgm": ({**VAE, "model": "adgm"}, ("elbo", "iwae")),
}
LISTED = 5
CAPTION = """\
`relative`: largest difference of a score, in standard deviations of the calibration scores. `near`: images that close
to a raised calibration score; of no others may the p-value differ. `p differ`, `verdicts`: images with another
p-value, and with another verdict at alpha 0.05. `calibration differ`: calibration images whose p-value is not that of
their stored score; `strict differ`: how many there were if no scores were ties."""
HEAD = ("kind", "score", "relative", "p_differ", "near", "verdicts", "calibration_differ", "strict_differ")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir")
    parser.add_argument("--only", default=",".join(KINDS))
    parser.add_argument("--normal", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--output", type=Path, default=Path("reports/onnx"))
    given = parser.parse_args()
    dataset = load_dataset("mnist", given.data_dir)
    split = dataset.one_class(normal=[given.normal], seed=0)
    images = dataset.test.images[: given.images]
    rows = [
        row
        for kind in given.only.split(",")
        for row in measure(kind, *KINDS[kind], given.epochs, split, images)
    ]
    given.output.mkdir(parents=True, exist_ok=True)
    files.write_json(
        given.output / "equal.json",
        {
            "command": " ".join(["python", *sys.argv]),
            "normal": given.normal,
            "epochs": given.epochs,
            "images": len(images),
            "versions": record_environment(torch.device("cpu")).versions,
            "rows": rows,
        },
    )
    table = "\n".join(
        [
            f"{len(images):,} test digits, {len(split.calibration.images)} calibration images of digit {given.normal}, "
            f"{given.epochs} epochs, seed 0.",
            "",
            CAPTION,
            "",
            "| " + " | ".join(name.replace("_", " ") for name in HEAD) + " |",
            "|---|---|" + "---:|" * (len(HEAD) - 2),
            *("| " + " | ".join(str(row[name]) for name in HEAD) + " |" for row in rows),
            "",
        ]
    )
    (given.output / "equal.md").write_text(table)
    print(table)
    wrong = sum(row["wrong"] for row in rows)
    if wrong:
        sys.exit(f"{wrong} p-values differ that must not")


def measure(
    kind: str,
    settings: dict[str, Any],
    rules: tuple[str, ...],
    epochs: int,
    split: OneClassSplit,
    images: np.ndarray,
) -> list[dict[str, Any]]:
    """Train a kind; return a row a rule of what its graph and it say of the images."""
    detector = Detector(device="cpu", threads=1, epochs=epochs, **settings)
    detector.fit(split.train.images, split.validation.images, split.calibration.images)
    every, rows = detector.score_all(Canonical(images)), []
    for rule in rules:
        begun, known, scores = time.process_time(), detector.calibration_scores(rule), every[rule]
        with tempfile.TemporaryDirectory() as folder:
            export(detector, Path(folder) / "model.onnx", images[:100], rule=rule)
            model = OnnxDetector(Path(folder) / "model.onnx")
            found = model.judge(Canonical(images), ("score", "p_value"))
            again = model.judge(Canonical(split.calibration.images), ("score", "p_value"))
        here, limits = p_values(scores, known), raised(known)
        apart = float(np.abs(found["score"] - scores).max())
        place = np.clip(np.searchsorted(limits, scores), 1, len(limits) - 1)
        gap = np.minimum(np.abs(scores - limits[place]), np.abs(scores - limits[place - 1]))
        near, differ = gap <= apart, found["p_value"] != here
        strict = (1 + (known >= again["score"][:, None]).sum(1)) != (1 + (known >= known[:, None]).sum(1))
        rows.append(
            {
                "kind": kind,
                "score": rule,
                "relative": float(f"{apart / known.std():.2g}"),
                "p_differ": int(differ.sum()),
                "near": int(near.sum()),
                "wrong": int((differ & ~near).sum()),
                "verdicts": int(((found["p_value"] <= 0.05) != (here <= 0.05)).sum()),
                "calibration_differ": int((again["p_value"] != p_values(known, known)).sum()),
                "strict_differ": int(strict.sum()),
                "listed": [
                    [int(n), scores[n], float(found["score"][n]), here[n], float(found["p_value"][n])]
                    for n in np.flatnonzero(differ)[:LISTED]
                ],
                "seconds": round(time.process_time() - begun, 1),
            }
        )
        print({name: value for name, value in rows[-1].items() if name != "listed"}, flush=True)
    return rows


if __name__ == "__main__":
    main()
