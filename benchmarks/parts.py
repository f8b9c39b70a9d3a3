"""What each part gives: one change at a time to the default autoencoder, then views and neighbours together.

    python benchmarks/parts.py            # --normal 2,5,8,9 --data-dir DIR

Development set: validation normals against 3,000 train-part images of the other classes; the test part is never
touched. Writes reports/parts/table.md and table.json; scores of networks that are there already are kept.
"""

import argparse
import platform
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from denoising import trained_against
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn import functional as F

from anomalae import Detector, files, load_dataset
from anomalae.datasets.load import Dataset, OneClassSplit, parse_classes
from anomalae.detectors.ensemble import comparable
from anomalae.detectors.neighbours import Neighbours
from anomalae.experiments.grid import Grid, scored_part
from anomalae.models.blur import blur_matrix
from anomalae.models.training.corruption import corrupt
from anomalae.models.views import edges, settled
from anomalae.plugins import VIEWS, register_score
from anomalae.scores import Arrays, Evidence, Score
from anomalae.scores.reconstruction import SMOOTH_CUT, SMOOTH_SIGMA
from anomalae.settings import NetworkSettings, Settings

ANOMALIES = 3000
NETWORKS = {  # trained each; {} is the default: pixels, seed 0, 1024-512-64, noise 1, 30 epochs
    "pixels": {},
    "normalised": {"views": ("normalised",)},
    "edges": {"views": ("edges",)},
    "deskewed": {"views": ("deskewed",)},
    "seed 1": {"seed": 1},
    "hidden 512-256, latent 32": {"hidden": (512, 256), "latent_dim": 32},
    "noise 0.5": {"noise": 0.5},
    "15 epochs": {"epochs": 15},
    "squares hidden in training": {},  # made below
    "small": {"views": ("normalised",), "hidden": (256, 128), "epochs": 10, "passes": 1, "score": "nap"},
}
TABLE = {  # row: the scores that are averaged in it; "network: variant" is another score of the same network
    "default: pixels": ["pixels"],
    "**view**: deskewed": ["deskewed"],
    "view: normalised": ["normalised"],
    "view: edges": ["edges"],
    "**seed**: seed 1": ["seed 1"],
    "seed: seeds 0 and 1 together": ["pixels", "seed 1"],
    "**width**: hidden 512-256, latent 32": ["hidden 512-256, latent 32"],
    "**noise**: 0.5": ["noise 0.5"],
    "**blur** of the score: sigma 1": ["pixels: sigma 1"],
    "blur of the score: sigma 2": ["pixels: sigma 2"],
    "**epochs**: 15": ["15 epochs"],
    "**hidden layers**: pixels by sap": ["pixels: sap"],
    "hidden layers: pixels by nap": ["pixels: nap"],
    "hidden layers: normalised by sap": ["normalised: sap"],
    "hidden layers: normalised by nap": ["normalised: nap"],
    "hidden layers: normalised by smooth and nap": ["normalised", "normalised: nap"],
    "--preset fast (small, normalised, 10 epochs) by smooth": ["small"],
    "--preset fast by nap, its score": ["small: nap"],
    "**views together**: pixels, deskewed": ["pixels", "deskewed"],
    "views together: pixels, normalised": ["pixels", "normalised"],
    "views together: normalised, edges": ["normalised", "edges"],
    "views together: pixels, deskewed, edges": ["pixels", "deskewed", "edges"],
    "views together: pixels, normalised, edges": ["pixels", "normalised", "edges"],
    "views together: all four": ["pixels", "deskewed", "normalised", "edges"],
    "**neighbours** alone: nearest 5, bent": ["neighbours"],
    "neighbours alone: nearest 5, stiff (blurred cosine)": ["neighbours: stiff"],
    "neighbours alone: bent, nearest 1": ["neighbours: 1"],
    "neighbours alone: bent, moments of all ink": ["neighbours: normalised"],
    "neighbours alone: bent, not normalised": ["neighbours: pixels"],
    "neighbours and pixels": ["pixels", "neighbours"],
    "neighbours and normalised": ["normalised", "neighbours"],
    "neighbours and normalised, edges": ["normalised", "edges", "neighbours", "neighbours"],
    "neighbours and pixels, normalised, edges": ["pixels", "normalised", "edges", *["neighbours"] * 3],
    "neighbours and normalised, edges, all alike": ["normalised", "edges", "neighbours"],
    "**tried**: squares hidden in training": ["squares hidden in training"],
    "tried: Sobel maps compared, pixels": ["pixels: Sobel"],
    "tried: Sobel maps compared, normalised": ["normalised: Sobel"],
}

# Variants by network: as they are called in TABLE, and the score that each is.
VARIANTS = {
    "pixels": {"sigma 1": "smooth-1", "sigma 2": "smooth-2", "Sobel": "sobel", "sap": "sap", "nap": "nap"},
    "normalised": {"Sobel": "sobel", "sap": "sap", "nap": "nap"},
    "small": {"sap": "sap", "nap": "nap"},
}

Scores = dict[str, dict[str, np.ndarray]]  # by network and variant: {"normal": ..., "anomalous": ...}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--normal", default="2,5,8,9")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--data-dir")
    parser.add_argument("--networks", help="names, with semicolons between, of those to train; default: all")
    parser.add_argument("--output", type=Path, default=Path("reports/parts"))
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    _make_known()
    dataset = load_dataset("mnist", given.data_dir)
    normals = parse_classes(given.normal, dataset.classes)
    wanted = given.networks.split(";") if given.networks else list(NETWORKS)
    found = {}
    for chosen in normals:
        scores: Scores = {}
        for name in ["neighbours", *NETWORKS]:
            path = (
                given.output
                / "cells"
                / f"{chosen}-{''.join(c if c.isalnum() else '-' for c in name)}.safetensors"
            )
            if not path.is_file() and (name in wanted or name == "neighbours"):
                _keep(
                    path,
                    _neighbours(dataset, chosen) if name == "neighbours" else _network(dataset, chosen, name),
                )
            if path.is_file():
                for key, array in files.read_arrays(path)[0].items():
                    variant, kind = key.rsplit("/", 1)
                    scores.setdefault(name + variant, {})[kind] = array
            if name in scores:
                print(chosen, name, f"{_auc([scores[name]]):.4f}", flush=True)
        found[chosen] = scores
    rows = {
        row: [_auc([found[chosen][part] for part in parts]) for chosen in normals]
        for row, parts in TABLE.items()
        if all(part in found[chosen] for chosen in normals for part in parts)
    }
    _write(given.output, normals, rows)


def _split(dataset: Dataset, chosen: int | str) -> tuple[OneClassSplit, np.ndarray, np.ndarray]:
    """The split, its validation normals and the development anomalies."""
    split = dataset.one_class(normal=[chosen], seed=0)
    part = scored_part(Grid(dataset, (chosen,), (0,), Settings(), part="development"), split)
    anomalies = part.images[np.isin(part.labels, [chosen], invert=True)]
    return split, split.validation.images, anomalies[:ANOMALIES]


class Cosine(Score):
    """1 - cosine of what `see` makes of an image and of its reconstruction, where both are seen alike."""

    def __init__(self, name: str, see: Callable[[Tensor], Tensor]) -> None:
        self.name, self.see = name, see

    def fits(self, network: NetworkSettings) -> bool:
        """Whether what is rebuilt is what is seen."""
        return VIEWS[network.view].again

    def score(self, seen: Evidence, learned: Arrays) -> Tensor:
        """Scores, float64 (N,), in [0, 2]."""
        a, b = (self.see(maps.cpu()).flatten(1) for maps in (seen.target, seen.rebuilt))
        return (1 - F.cosine_similarity(a, b)).clamp_min(1e-7).double()


def _blurred(sigma: float) -> Callable[[Tensor], Tensor]:
    blur = blur_matrix(28, sigma, round(SMOOTH_CUT * sigma / SMOOTH_SIGMA)).float()
    return lambda images: blur @ images @ blur.T


def _hide(images: Tensor, source: torch.Generator) -> Tensor:
    """A rectangle of 10 to 18 pixels a side blanked in each image, anywhere."""
    n, place = len(images), torch.arange(28.0) + 0.5
    middle = 28 * torch.rand(n, 2, 1, generator=source)
    half = 5 + 4 * torch.rand(n, 2, 1, generator=source)
    inside = ((place - middle).abs() < half).float()
    return images * (1 - inside[:, 0, :, None] * inside[:, 1, None, :])[:, None].to(images.device)


def _with_squares(images: Tensor, source: torch.Generator) -> Tensor:
    """Squares hidden, and the default's noise."""
    return corrupt(_hide(images, source), 1.0, source)


def _make_known() -> None:
    """Make the parts that are no part of the package known by their names."""
    for sigma in (1.0, 2.0):
        register_score(Cosine(f"smooth-{sigma:g}", _blurred(sigma)))
    register_score(Cosine("sobel", edges))
    NETWORKS["squares hidden in training"] = trained_against(_with_squares, "ae-squares")


def _network(dataset: Dataset, chosen: int | str, name: str) -> Scores:
    split, *parts = _split(dataset, chosen)
    detector = Detector(threads=torch.get_num_threads(), **NETWORKS[name])
    detector.fit(split.train.images, split.validation.images, split.calibration.images)
    variants = {"": "smooth"} | {f": {key}": rule for key, rule in VARIANTS.get(name, {}).items()}
    return _named({key: [detector.score(images, rule) for images in parts] for key, rule in variants.items()})


def _neighbours(dataset: Dataset, chosen: int | str) -> Scores:
    split, *parts = _split(dataset, chosen)
    train, *tensors = (_tensor(images) for images in (split.train.images, *parts))
    near = {": 1": Neighbours.fit(train, 1), "": Neighbours.fit(train, 5)}
    near[": 1"].candidates = near[""].candidates  # the nearest of the same twenty
    near |= {f": {view}": Neighbours.fit(train, 5, VIEWS[view]) for view in ("normalised", "pixels")}
    found = {
        key: [member.score(x, ("smooth",))["smooth"].numpy() for x in tensors] for key, member in near.items()
    }
    blur = _blurred(1.0)
    flat = [F.normalize(blur(settled(x)).flatten(1)) for x in (train, *tensors)]
    found[": stiff"] = [1 - (x @ flat[0].T).topk(5, 1).values.mean(1).numpy() for x in flat[1:]]
    return _named(found)


def _tensor(images: np.ndarray) -> Tensor:
    return torch.from_numpy(images.astype(np.float32) / np.float32(255))[:, None]


def _named(found: dict[str, list[np.ndarray]]) -> Scores:
    return {key: dict(zip(("normal", "anomalous"), pair, strict=True)) for key, pair in found.items()}


def _keep(path: Path, scores: Scores) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_arrays(
        path, {f"{key}/{kind}": array for key, pair in scores.items() for kind, array in pair.items()}
    )


def _auc(parts: list[dict[str, np.ndarray]]) -> float:
    """ROC-AUC of the mean of the parts' log scores, standardised on the normals."""
    total = {"normal": 0.0, "anomalous": 0.0}
    for part in parts:
        logs = {kind: comparable("smooth", array) for kind, array in part.items()}
        mean, spread = logs["normal"].mean(), logs["normal"].std()
        total = {kind: total[kind] + (logs[kind] - mean) / spread for kind in total}
    normal, anomalous = np.asarray(total["normal"]), np.asarray(total["anomalous"])
    truth = np.repeat([0, 1], [len(normal), len(anomalous)])
    return float(roc_auc_score(truth, np.concatenate([normal, anomalous])))


def _write(folder: Path, normals: tuple[int | str, ...], rows: dict[str, list[float]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    versions = {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__}
    files.write_json(folder / "table.json", {"normal": list(normals), "rows": rows, "versions": versions})
    head = ["", *map(str, normals), "mean"]
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---|" * (len(head) - 1)]
    lines += [
        "| " + " | ".join([row, *(f"{v:.4f}" for v in values), f"**{np.mean(values):.4f}**"]) + " |"
        for row, values in rows.items()
    ]
    note = (
        "ROC-AUC, a column a normal digit; development set: validation normals (5% of the class) against "
        f"{ANOMALIES:,} train-part images of the other digits. Seed 0, last epoch, one change at a time to the "
        "default autoencoder. "
        "Scores together: the mean of the standardised logs; with neighbours they count as much as the networks, but "
        'for the row "all alike". "Tried" is what did not earn a place.\n\n'
        "Measure it again: `python benchmarks/parts.py`\n\n"
        "Versions: " + ", ".join(f"{name} {version}" for name, version in versions.items()) + "."
    )
    files.write_bytes(folder / "table.md", ("\n".join(lines) + "\n\n" + note + "\n").encode())


if __name__ == "__main__":
    main()
