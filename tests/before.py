"""What the code of commit 6aab0bd gave, as `fixtures/make_before.py` wrote it down, and how to compare with it.

`python -m tests.before [FOLDER]` compares bit for bit with the numbers in a folder (default: the fixtures), made on the
same machine with the same versions, and prints a line a row.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from anomalae import Detector, load_dataset
from anomalae.arithmetic import computing
from anomalae.datasets import OneClassSplit
from anomalae.estimator import AutoencoderDetector, VAEDetector
from anomalae.evaluation import conformal
from anomalae.settings import Settings

BEFORE = Path(__file__).parent / "fixtures" / "before"
ALPHA = 0.1
SCORED, DRAWN, KEPT = 12, 3, 5  # images scored, images drawn, calibration scores compared
MACHINE: dict[str, Any] = {"device": "cpu", "threads": 1}


def read(name: str, folder: Path = BEFORE) -> dict[str, dict[str, Any]]:
    """The rows of one of the JSON files."""
    rows: dict[str, dict[str, Any]] = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    return rows


def split_of_digits() -> OneClassSplit:
    """The one-class problem of all rows."""
    return load_dataset("digits").one_class(normal=[0], seed=0)


def trained(settings: dict[str, Any], split: OneClassSplit) -> Detector:
    """A detector of a row's settings as they were filled in, trained by the arithmetic of then."""
    filled = Settings.from_dict(settings)
    detector = Detector(**MACHINE, **dataclasses.asdict(filled))
    with computing("plain"):
        return detector.fit(split.train.images, split.validation.images, split.calibration.images)


def of_detector(detector: Detector, images: np.ndarray) -> dict[str, Any]:
    """What a fitted detector tells of these images, by rule where it depends on one."""
    drawn, rule = images[:DRAWN], detector.settings.rule
    held_out = {name: detector.calibration_scores(name) for name in detector.rules}
    scores, by_member = detector.score_all(images), detector.score_members(images)
    # Of scores in nats heatmaps showed `smooth` before.
    drawn_rule = "smooth" if "elbo" in detector.rules else rule
    heat = detector.heatmap(drawn, drawn_rule)
    found = {
        "settings": detector.settings.to_dict(),
        "rule": rule,
        "rules": list(detector.rules),
        "n_train": detector.data.n_train,
        "n_validation": detector.data.n_validation,
        "n_calibration": detector.n_calibration,
        "loss": [line.loss for line in detector.history],
        "validation_loss": [line.validation_loss for line in detector.history],
        "learning_rate": [line.learning_rate for line in detector.history],
        "validation": detector.validation,
        "scores": scores,
        "p_values": {name: strict_p_values(scores[name], held_out[name]) for name in detector.rules},
        "threshold": {
            name: unraised(detector.threshold(ALPHA, name), held_out[name]) for name in detector.rules
        },
        "calibration": {name: values[:KEPT] for name, values in held_out.items()},
        "members": by_member[rule],
        "heatmap": np.abs(heat).sum((1, 2)),
        "heatmap_signed": heat.sum((1, 2)),
        "heatmap_level": unraised(
            detector.heatmap_level(ALPHA, drawn_rule), detector.heatmap_sums(drawn_rule)
        ),
        "reconstruct": detector.reconstruct(drawn).mean((1, 2)),
        "encode": detector.encode(drawn),
        "decode": detector.decode(detector.encode(drawn)).mean((1, 2)),
    }
    if "elbo" in detector.rules:
        variance, kl = detector.unit_activity(images)
        found |= {
            "generate": detector.generate(DRAWN, 0).mean((1, 2)),
            "unit_variance": variance,
            "unit_kl": kl,
        }
    return found


def strict_p_values(scores: np.ndarray, calibration: np.ndarray) -> np.ndarray:
    """p-values of then, when scores that differ by rounding were no ties."""
    return (1 + (calibration >= scores[:, None]).sum(1)) / (len(calibration) + 1)


def unraised(limit: float | None, calibration: np.ndarray) -> float | None:
    """The calibration score that is this limit when raised: the threshold of then."""
    return None if limit is None else float(np.sort(calibration)[conformal.raised(calibration) == limit][0])


def of_estimator(name: str, row: dict[str, Any], split: OneClassSplit) -> dict[str, Any]:
    """What an estimator, fitted as a row says, tells of the row's table or of images."""
    kind = VAEDetector if "vae" in name else AutoencoderDetector
    on_table = "table" in row
    fitted_on = np.array(row["table"]) if on_table else split.train.images
    rows = np.array(row["rows"]) if on_table else split.test.images[:SCORED]
    with computing("plain"):
        estimator = kind(**row["given"], **MACHINE).fit(fitted_on)
    return {
        "path": estimator.path_,
        "loss": [line.loss for line in estimator.history_],
        "validation_loss": [line.validation_loss for line in estimator.history_],
        "decision_scores": estimator.decision_scores_[:SCORED],
        "labels": estimator.labels_[:SCORED],
        "threshold": estimator.threshold_,
        "scores": estimator.decision_function(rows),
        "predict": estimator.predict(rows),
        "predict_proba": estimator.predict_proba(rows),
        "p_values": strict_p_values(estimator.decision_function(rows), estimator.calibration_scores()),
        "calibrated_threshold": unraised(
            estimator.calibrated_threshold(ALPHA), estimator.calibration_scores()
        ),
        "calibration": estimator.calibration_scores()[:KEPT],
        "flags": estimator.flags(rows, ALPHA),
    }


def compare(found: Any, expected: Any, relative: float, where: str = "", least: float = 0.0) -> list[str]:
    """Where `found` differs from `expected` by more than `relative` of the largest number beside it; 0: at all.

    Numbers up to `least` are taken for as large: what is the difference of larger ones is rounded as they are.

    Keys that `expected` does not have are passed over.
    """
    if isinstance(expected, dict):
        missing = [f"{where}.{key} is missing" for key in expected if key not in found]
        there = [key for key in expected if key in found]
        return missing + [
            d for k in there for d in compare(found[k], expected[k], relative, f"{where}.{k}", least)
        ]
    found = found.tolist() if hasattr(found, "tolist") else found
    if where == ".rules":  # scores may be added
        found = [rule for rule in found if rule in expected]
    if isinstance(expected, str | bool) or expected is None or not np.size(expected):
        return [] if found == expected else [f"{where}: {found!r}, was {expected!r}"]
    if isinstance(expected, list) and any(isinstance(item, str) or item is None for item in expected):
        return [] if list(found) == expected else [f"{where}: {found!r}, was {expected!r}"]
    a, b = np.array(found, dtype=np.float64), np.array(expected, dtype=np.float64)
    if a.shape != b.shape:
        return [f"{where}: shape {a.shape}, was {b.shape}"]
    apart = np.abs(a - b).max()
    return [] if apart <= relative * max(np.abs(b).max(), least) else [f"{where}: differs by {apart:.3g}"]


def found_for(name: str, row: dict[str, Any], split: OneClassSplit) -> dict[str, Any]:
    """The same as a row of `numbers.json`, by today's code."""
    if name.startswith("estimator-"):
        return of_estimator(name, row, split)
    return of_detector(trained(row["settings"], split), split.test.images[:SCORED])


def main(folder: Path) -> None:
    """Compare every row bit for bit."""
    rows, split = read("numbers", folder), split_of_digits()
    different = 0
    for name, row in rows.items():
        asked = {key: value for key, value in row.items() if key not in ("given", "table", "rows")}
        if name.startswith("estimator-"):
            del asked["settings"]
        faults = compare(found_for(name, row, split), asked, relative=0.0)
        different += bool(faults)
        print(f"{name}: {'the same, bit for bit' if not faults else '; '.join(faults)}", flush=True)
    print(f"{len(rows) - different} of {len(rows)} rows are the same, bit for bit")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else BEFORE)
