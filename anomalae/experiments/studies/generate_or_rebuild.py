"""Does it generate, or only rebuild, or copy? Draws beside reconstructions and the nearest images, with numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from anomalae import plots, text
from anomalae.arithmetic import computing
from anomalae.datasets.dataset import Dataset
from anomalae.experiments.cells import Cell, Result
from anomalae.experiments.kept_cells import Outcome
from anomalae.experiments.studies import compared
from anomalae.experiments.studies.base import Column, Drawing, Row, Scope, Study, deviation, finished, mean
from anomalae.experiments.studies.compared import note_missing, place_of
from anomalae.experiments.studies.generate_or_rebuild_answer import answer
from anomalae.experiments.studies.reader import (
    DRAWN,
    PASS,
    REAL,
    REBUILT,
    REDRAWN,
    Reader,
    nearest,
    share_nearer,
)
from anomalae.experiments.studies.trained import problem, rebuilt

NAME = "generate-or-rebuild"
WIDTHS, QUICK_WIDTHS = (2, 16, 64), (2, 16)
NORMAL, ANOMALOUS, SEEDS = 8, 4, (0, 1)
# By name: settings, and at which widths.
MODELS: dict[str, dict[str, Any]] = {
    "AE": {"model": "ae", "passes": 1},
    "VAE": {"model": "vae", "likelihood": "gaussian", "samples": 1},
}
# On MNIST a cell takes about 60 (one class) to 120 CPU seconds (nine classes): some 45 minutes in all.
EPOCHS = {"one": 80, "all but one": 20}
# A control: so few images that a network can only copy, at this width.
FEW, FEW_WIDTH, FEW_EPOCHS, QUICK_FEW_EPOCHS = 50, 16, 800, 300
DRAWS, QUICK_DRAWS = 1000, 300
# The classifier that looks on: its hidden units, its training images, and its passes over them.
READER = {"units": 128, "images": 10_000, "epochs": 20}
QUICK_READER = {"units": 64, "images": 1000, "epochs": 20}
SHOWN = 10
# Of these a figure shows so many: a study shows at most 100 images of a data set.
DRAWN_WIDE = 6


def measure(dataset: Dataset, arguments: Mapping[str, Any]) -> Result:
    """Train a network on half of the images, draw and rebuild by it, and let a classifier and distances judge."""
    task = problem(dataset, arguments)
    source = np.random.default_rng([arguments["seed"], arguments["draws"]])
    seen, unseen = halves(task.train, arguments["few"], source)
    detector = task.fit(arguments["settings"], train=seen)
    real = task.held_out[: arguments["draws"]]
    made = {REAL: real.astype(np.float64) / 255, REBUILT: rebuilt(detector, real)[:, 0]}
    member = detector._ensemble.first
    network: Any = member.network
    codes = detector.encode(seen)
    with computing(member.arithmetic), torch.no_grad():
        fitted = like(codes, arguments["draws"], source)
        of_fit = network.decode(torch.from_numpy(fitted))[:, 0].numpy()
        if member.settings.kind.density:
            normal = source.standard_normal((arguments["draws"], network.width)).astype(np.float32)
            made[DRAWN] = network.sample(torch.from_numpy(normal))[:, 0].numpy()
            made[REDRAWN] = of_fit
        else:
            made[DRAWN] = of_fit
    reader = Reader.trained(task, **arguments["reader"])
    labels = task.split.validation.labels[: len(real)]
    limit = np.quantile(nearest(made[REAL], task.train)[0], PASS)
    numbers: dict[str, Any] = {
        "n_train": len(seen),
        "classifier_accuracy": reader.accuracy,
        "code_rms": float(np.sqrt(np.square(codes.astype(np.float64)).mean())),
    }
    arrays = {"real": real[:SHOWN]}
    for name, images in made.items():
        distance, place = nearest(images, seen)
        numbers[name] = {
            **reader.look(images, nearest(images, task.train)[0] <= limit),
            "distance": float(np.median(distance)),
            "nearest_seen": share_nearer(distance, nearest(images, unseen)[0]),
        }
        if name in (REAL, REBUILT):
            numbers[name]["class_kept"] = float((reader.classes(images) == labels).mean())
        if name != REAL:
            arrays[name] = levels(images[:SHOWN])
        if name == DRAWN:
            arrays["nearest"] = seen[place[:SHOWN]]
    return Result(numbers, arrays)


def halves(images: np.ndarray, few: int, source: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Divide images at random into those to train on and as many that are never shown; so few of each, unless 0."""
    order = source.permutation(len(images))
    size = min(few or len(images), len(images) // 2)
    return images[np.sort(order[:size])], images[np.sort(order[size : 2 * size])]


def like(codes: np.ndarray, n: int, source: np.random.Generator) -> np.ndarray:
    """Return draws, float32 (n, width), from the Gaussian with mean and covariance of codes (N, width)."""
    centred = codes.astype(np.float64) - codes.mean(0, dtype=np.float64)
    values, vectors = np.linalg.eigh(centred.T @ centred / len(codes))
    draws = source.standard_normal((n, codes.shape[1])) * np.sqrt(np.maximum(values, 0))
    return (draws @ vectors.T + codes.mean(0, dtype=np.float64)).astype(np.float32)


def levels(images: np.ndarray) -> np.ndarray:
    """Return images in [0, 1] as uint8."""
    return np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8)


def cells(scope: Scope) -> list[Cell]:
    """Both models at all widths, and the control; all classes but one normal, and one."""
    classes = list(scope.dataset.classes)
    odd = ANOMALOUS if ANOMALOUS in classes else classes[-1]
    problems = {"all but one": [name for name in classes if name != odd]}
    if not scope.quick and len(classes) > 2:
        problems["one"] = [NORMAL if NORMAL in classes else classes[0]]
    made: list[Cell] = []
    for kind, normal in problems.items():
        asked = [(model, width, 0) for model in MODELS for width in (QUICK_WIDTHS if scope.quick else WIDTHS)]
        for model, width, few in [*asked, ("VAE", FEW_WIDTH, FEW)]:
            for seed in SEEDS[:1] if scope.quick else SEEDS:
                settings = {**MODELS[model], "views": ("pixels",), "latent_dim": width, "noise": 0.0}
                settings |= (
                    {"hidden": (64,), "epochs": 120, "learning_rate": 0.005}
                    if scope.quick
                    else {"epochs": EPOCHS[kind]}
                )
                if few:
                    settings["epochs"] = QUICK_FEW_EPOCHS if scope.quick else FEW_EPOCHS
                made.append(
                    scope.cell(
                        measure,
                        model=model,
                        kind=kind,
                        normal=normal,
                        width=width,
                        few=few,
                        seed=seed,
                        settings=settings,
                        draws=QUICK_DRAWS if scope.quick else DRAWS,
                        reader=QUICK_READER if scope.quick else READER,
                    )
                )
    return made


MEASURED = ("recognised", "kinds", "class_kept", "distance", "nearest_seen")


def rows(outcomes: Sequence[Outcome]) -> list[Row]:
    """A row a network and kind of images: means over seeds."""
    groups: dict[tuple[str, str, int, int], list[Mapping[str, Any]]] = {}
    places: dict[tuple[str, str, int, int], set[str]] = {}
    for asked, numbers in finished(outcomes):
        of_row = (asked["kind"], asked["model"], asked["width"], asked["few"])
        groups.setdefault(of_row, []).append(numbers)
        places.setdefault(of_row, set()).add(place_of(asked))
    made: list[Row] = []
    of_made: list[set[str]] = []
    for of_row, some in groups.items():
        kind, model, width, few = of_row
        for images in (REAL, REBUILT, DRAWN, REDRAWN):
            # They are the same whatever network is beside them.
            again = images == REAL and any(
                (row["normal_classes"], row["few"], row["images"]) == (kind, bool(few), REAL) for row in made
            )
            if images not in some[0] or again:
                continue
            row: Row = {
                "normal_classes": kind,
                "model": None if images == REAL else model,
                "width": None if images == REAL else width,
                "few": bool(few),
                "trained_on": round(float(np.mean([numbers["n_train"] for numbers in some]))),
                "images": images,
                "trainings": len(some),
            }
            for key in MEASURED:
                row[key] = mean([numbers[images].get(key) for numbers in some])
            row["recognised_sd"] = deviation([numbers[images]["recognised"] for numbers in some])
            row["code_rms"] = mean([numbers["code_rms"] for numbers in some])
            row["classifier_accuracy"] = mean([numbers["classifier_accuracy"] for numbers in some])
            made.append(row)
            of_made.append(places[of_row])
    note_missing(made, of_made, lambda row: row["normal_classes"])
    return made


COLUMNS = (
    Column("normal_classes", "normal classes"),
    Column("model", "model"),
    Column("width", "width"),
    Column("trained_on", "training images"),
    Column("images", "images"),
    Column("recognised", "share recognised", 3),
    Column("kinds", "classes in effect", 1),
    Column("class_kept", "share of right class", 3),
    Column("distance", "RMS distance to nearest training image", 3),
    Column("nearest_seen", "share nearer to training images", 3),
    compared.COLUMN,
)


def drawings(table: Sequence[Row], outcomes: Sequence[Outcome]) -> tuple[Drawing, ...]:
    """Images rebuilt and drawn, each with its nearest training image, and the two numbers."""
    made = []
    for kind in dict.fromkeys(row["normal_classes"] for row in table):
        some = [row for row in table if row["normal_classes"] == kind]
        made += _films(kind, outcomes)
        networks = dict.fromkeys((row["model"], row["width"], row["few"]) for row in some if row["model"])
        by = {
            _name(*network): {
                row["images"]: row for row in some if (row["model"], row["width"], row["few"]) == network
            }
            for network in networks
        }
        made.append(
            Drawing(
                f"recognised-{kind.replace(' ', '-')}",
                f"Recognised by a classifier, {_normal(kind)}",
                f"An image is recognised if a classifier is as sure of its class as of {PASS:.0%} of real held-out "
                "images, and if it is as near to a training image as they are.",
                plots.bars(
                    {
                        name: {images: row["recognised"] for images, row in of.items()}
                        for name, of in by.items()
                    },
                    y="share recognised",
                ),
            )
        )
        made.append(
            Drawing(
                f"nearest-{kind.replace(' ', '-')}",
                f"Nearer to training images, {_normal(kind)}",
                "Share of images that are nearer to a training image than to any of as many others: about half if "
                "nothing is copied, 1 if everything is.",
                plots.bars(
                    {
                        name: {images: row["nearest_seen"] for images, row in of.items()}
                        for name, of in by.items()
                    },
                    y="share nearer to training images",
                ),
            )
        )
    return tuple(made)


def _name(model: str, width: int, few: bool) -> str:
    return f"{model}, width {width}" + (", few" if few else "")


def _normal(kind: str) -> str:
    """Which classes are normal, in the title of a figure."""
    return "one class normal" if kind == "one" else "all classes but one normal"


def _films(kind: str, outcomes: Sequence[Outcome]) -> list[Drawing]:
    """Draw what each network of the first seed makes: rebuilt images, and draws with their nearest."""
    first: dict[tuple[str, int, bool], Mapping[str, np.ndarray]] = {}
    for outcome in outcomes:
        asked = outcome.cell.arguments
        if outcome.result is not None and outcome.result.arrays and asked["kind"] == kind:
            first.setdefault((asked["model"], asked["width"], bool(asked["few"])), outcome.result.arrays)
    if not first:
        return []
    again = {"held-out image": next(iter(first.values()))["real"][:DRAWN_WIDE]}
    again |= {_name(*network): arrays[REBUILT][:DRAWN_WIDE] for network, arrays in first.items()}
    drawn = {}
    for network, arrays in first.items():
        drawn[f"{_name(*network)}"] = arrays[DRAWN][:DRAWN_WIDE]
        # Each row needs a name of its own, and all should read alike.
        drawn[f"nearest{' ' * len(drawn)}"] = arrays["nearest"][:DRAWN_WIDE]
    place = kind.replace(" ", "-")
    return [
        Drawing(
            f"rebuilt-{place}",
            f"Rebuilt, {_normal(kind)}",
            f"The first held-out images, and how each network rebuilds them. Few: trained on {FEW} images alone.",
            plots.film(again),
            wide=True,
        ),
        Drawing(
            f"drawn-{place}",
            f"Drawn, {_normal(kind)}",
            "The first draws of each network, a VAE's from its prior, an AE's from a Gaussian fitted to its codes; "
            f"below each row the nearest images that the network was trained on. Few: trained on {FEW} images alone.",
            plots.film(drawn),
            wide=True,
        ),
    ]


def method(scope: Scope) -> tuple[str, ...]:
    """What was trained and measured."""
    made = cells(scope)
    reader = QUICK_READER if scope.quick else READER
    normal = list({cell.arguments["kind"]: cell.arguments["normal"] for cell in made}.values())
    by_kind = [f"{count} epochs with {kind} normal" for kind, count in EPOCHS.items()]
    epochs = "120 epochs" if scope.quick else text.listed(by_kind)
    return (
        f"Normal classes {text.listed([' '.join(map(str, names)) for names in normal], '; or ')}; seeds "
        f"{text.listed(sorted({cell.arguments['seed'] for cell in made}))}; {epochs}. Networks see pixels without "
        "noise; the VAE has a Gaussian likelihood. A draw is the decoded mean, no noise of pixels added.",
        "Each is trained on a random half of the training images; the other half tells copies: a network that copies "
        "nothing comes as near to either as new real images do (after Meehan, Chaudhuri and Dasgupta, A non-parametric "
        f"test to detect data-copying in generative models, 2020). The control has {FEW} images instead of a half.",
        f"{made[0].arguments['draws']} draws; reconstructions of held-out normal images. The test part is not used.",
        f"The classifier is scikit-learn's MLPClassifier with {reader['units']} hidden units, trained on up to "
        f"{reader['images']:,} images of all classes of the train part but for the held-out ones. An image is "
        f"recognised if its likeliest normal class has a probability that {PASS:.0%} of held-out images reach (a "
        f"classifier is sure of noise too), and it lies as near to a training image as {PASS:.0%} of them do.",
        "Classes in effect: the exponential of the entropy of the recognised images' classes. Distances are root mean "
        "squares over pixels in [0, 1], medians over images; a blurred image is nearer to all others.",
    )


STUDY = Study(
    NAME,
    "Does a VAE generate, or does it only rebuild, or copy?",
    "A VAE is called a generative model: codes drawn from its prior should decode to new digits. An autoencoder "
    "promises no such thing. Do draws look like digits to a judge that knows real ones, are they more than copies of "
    "training images, and is it the prior that makes the difference?",
    cells,
    rows,
    COLUMNS,
    answer,
    drawings,
    method,
)
