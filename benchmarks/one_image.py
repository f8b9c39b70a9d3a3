"""What it costs that a score is the same bits alone and in a batch: padded blocks beside what was asked, side by side.

    python benchmarks/one_image.py          # --rounds 200 --output DIR

Writes reports/one-image/table.md and table.json: CPU time to score one image in a block filled up, in that of one that
is not, and 1,024 images in blocks, in that of one forward pass of 1,024; interleaved, one thread, bundled digits.
"""

import argparse
import platform
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from anomalae import Detector, files, load_dataset
from anomalae.detectors import saving
from anomalae.detectors.batches import batches
from anomalae.detectors.ensemble import Ensemble
from anomalae.settings import PRESETS

KINDS = {
    "dense ae": {},
    "conv ae": {"architecture": "conv"},
    "dense vae": {"model": "vae"},
    "conv vae": {"model": "vae", "architecture": "conv"},
    "ladder vae": {"model": "ladder-vae"},
    "adgm": {"model": "adgm"},
    **{f"preset {name}": settings for name, settings in PRESETS.items()},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--output", type=Path, default=Path("reports/one-image"))
    given = parser.parse_args()
    split = load_dataset("digits").one_class(normal=[0], seed=0)
    many = np.resize(split.test.images, (1024, 28, 28))
    rows = {}
    for name, settings in KINDS.items():
        detector = Detector(threads=1, epochs=1, **{k: v for k, v in settings.items() if k != "epochs"})
        detector.fit(split.train.images, split.validation.images, split.calibration.images)
        with tempfile.TemporaryDirectory() as folder:
            detector.save(folder)
            ensemble = saving.read(Path(folder), torch.device("cpu")).ensemble
        rule = detector.settings.rule
        rows[name] = {
            "one": _ratios(ensemble, rule, many[:1], given.rounds),
            "many": _ratios(ensemble, rule, many, max(3, given.rounds // 40)),
        }
        print(name, _text(rows[name]["one"]), _text(rows[name]["many"]), flush=True)
    given.output.mkdir(parents=True, exist_ok=True)
    versions = {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__}
    files.write_json(given.output / "table.json", {"rows": rows, "versions": versions})
    lines = ["| model | one image | 1,024 images |", "|---|---|---|"]
    lines += [f"| {name} | {_text(row['one'])} | {_text(row['many'])} |" for name, row in rows.items()]
    note = (
        "CPU time to score in blocks, in that of one forward pass that is not filled up: median (quartiles) "
        f"of {given.rounds} interleaved rounds ({max(3, given.rounds // 40)} of many images), one thread.\n\n"
        "Measure it again: `python benchmarks/one_image.py`\n\nVersions: "
        + ", ".join(f"{name} {version}" for name, version in versions.items())
    )
    files.write_bytes(given.output / "table.md", ("\n".join(lines) + "\n\n" + note + ".\n").encode())


def _ratios(ensemble: Ensemble, rule: str, images: np.ndarray, rounds: int) -> list[float]:
    """Return CPU time in blocks over that in one forward pass, a round each."""
    members = ensemble.members
    ensemble.score_members(batches(images), [rule])
    blocked = [dict(member.block_sizes) for member in members]
    ratios = []
    for _ in range(rounds):
        seconds = []
        for sizes in (blocked, [dict.fromkeys(each, (len(images),)) for each in blocked]):
            for member, each in zip(members, sizes, strict=True):
                member.block_sizes = each
            begun = time.process_time()
            ensemble.score_members(batches(images), [rule])
            seconds.append(time.process_time() - begun)
        ratios.append(seconds[0] / seconds[1])
    for member, each in zip(members, blocked, strict=True):
        member.block_sizes = each
    return ratios


def _text(ratios: list[float]) -> str:
    low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


if __name__ == "__main__":
    main()
