"""Does an embedding of one dimension learn anything? One class, two and all on a line, beside means and PCA."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from anomalae import plots, text
from anomalae.datasets.dataset import Dataset
from anomalae.detectors.detector import Detector
from anomalae.experiments.cells import Cell, Result
from anomalae.experiments.kept_cells import Outcome
from anomalae.experiments.studies.base import Column, Drawing, Row, Scope, Study, deviation, finished, mean
from anomalae.experiments.studies.lines import (
    CLASS_MEANS,
    FRAMES,
    JUMP,
    MEAN,
    MODELS,
    NEIGHBOURS,
    REFERENCE,
    STEPS,
    divided,
    error_of_means,
    jumps,
    means,
    places,
    told_apart,
)
from anomalae.experiments.studies.one_dimension_answer import LEARNED, answer
from anomalae.experiments.studies.trained import rebuilt, squared_error

NAME = "one-dimension"
PAIRS = ((0, 1), (4, 9))
# Seeds by width. A line folds differently from seed to seed.
SEEDS = {1: (0, 1, 2), 2: (0, 1), 4: (0, 1), 64: (0, 1)}
QUICK_SEEDS = {1: (0,), 2: (0,), 64: (0,)}
HIDDEN = {"deep": (512, 256), "shallow": (256,)}
QUICK_HIDDEN = {"deep": (128, 64), "shallow": (64,)}
# A cell of all this needs 9 to 80 CPU seconds on MNIST, all together about 1.7 hours.
EPOCHS = {"one": 40, "two": 40, "all": 20}
QUICK_EPOCHS = {"one": 120, "two": 80, "all": 25}
RATE, QUICK_RATE = 2e-3, 3e-3


# --- what a cell does ---


def principal_errors(
    train: np.ndarray, held_out: np.ndarray, widths: Sequence[int]
) -> dict[int, tuple[float, float]]:
    """Return the mean squared error a pixel of PCA by its width: of the images it was fitted on, and of others."""
    rows = [images.reshape(len(images), -1) / 255 for images in (train, held_out)]
    centre = rows[0].mean(0)
    axes = np.linalg.eigh((rows[0] - centre).T @ (rows[0] - centre))[1][:, ::-1]
    errors = {}
    for width in widths:
        kept = axes[:, :width]
        left = [row - centre - (row - centre) @ kept @ kept.T for row in rows]
        errors[width] = (float(np.square(left[0]).mean()), float(np.square(left[1]).mean()))
    return errors


def yardsticks(dataset: Dataset, arguments: Mapping[str, Any]) -> Result:
    """Measure what needs no network: the mean image, the mean of each class, PCA."""
    train, *others = divided(dataset, arguments)
    held_out = np.concatenate(others)
    images, labels = dataset.train.images, dataset.train.labels
    one = {"": images[train].mean(0) / 255}
    by_class = means(images[train], labels[train])

    def both(error: Callable[[np.ndarray], float]) -> dict[str, float]:
        return {"mse_train": error(train), "mse_held_out": error(held_out)}

    numbers: dict[str, Any] = {
        MEAN: both(lambda at: error_of_means(images[at], np.full(len(at), ""), one)),
        CLASS_MEANS: both(lambda at: error_of_means(images[at], labels[at], by_class)),
    }
    for width, errors in principal_errors(images[train], images[held_out], arguments["widths"]).items():
        numbers[f"PCA-{width}"] = dict(zip(("mse_train", "mse_held_out"), errors, strict=True))
    return Result(numbers)


def measure(dataset: Dataset, arguments: Mapping[str, Any]) -> Result:
    """Train one network, and measure its errors; of one dimension the line of its codes too."""
    train, validation, calibration = divided(dataset, arguments)
    held_out = np.concatenate([validation, calibration])
    images, labels = dataset.train.images, dataset.train.labels
    detector = Detector(
        device="cpu", threads=torch.get_num_threads(), **arguments["settings"], seed=arguments["seed"]
    ).fit(images[train], images[validation], images[calibration])
    errors = np.square(images[held_out] / 255 - rebuilt(detector, images[held_out])[:, 0]).mean((1, 2))
    one = {"": images[train].mean(0) / 255}
    numbers: dict[str, Any] = {
        "mse_train": squared_error(detector, images[train]),
        "mse_held_out": float(errors.mean()),
        "mean_image": error_of_means(images[held_out], np.full(len(held_out), ""), one),
        "class_means": error_of_means(
            images[held_out], labels[held_out], means(images[train], labels[train])
        ),
        "n_train": len(train),
        "n_held_out": len(held_out),
    }
    if arguments["width"] > 1:
        return Result(numbers)
    codes = detector.encode(images[train])[:, 0].astype(np.float64)
    others = detector.encode(images[held_out])[:, 0].astype(np.float64)
    walk = detector.decode(np.quantile(codes, np.linspace(0, 1, STEPS + 1))[:, None])
    frames = detector.decode(np.quantile(codes, (np.arange(FRAMES) + 0.5) / FRAMES)[:, None])
    numbers |= jumps(walk, numbers["mean_image"])
    numbers["told_apart"] = told_apart(codes, labels[train], others, labels[held_out])
    arrays = {
        "frames": np.rint(255 * frames.reshape(FRAMES, 28, 28)).astype(np.uint8),
        "counts": places(codes, labels[train], arguments["classes"]),
    }
    return Result(numbers, arrays)


# --- the grid ---


def problems(scope: Scope) -> list[tuple[str, list[int | str]]]:
    """Return what is put on a line: each class of the pairs alone, the pairs, and all classes if there are more.

    A data set without these classes has its first two for a pair.
    """
    classes = list(scope.dataset.classes)
    pairs: list[list[int | str]] = [list(pair) for pair in PAIRS if set(pair) <= set(classes)]
    pairs = pairs or [classes[:2]]
    if scope.quick:
        pairs = pairs[:1]
    made: list[tuple[str, list[int | str]]] = [("one", [name]) for pair in pairs for name in pair]
    made += [("two", pair) for pair in pairs]
    return made + ([("all", classes)] if len(classes) > 2 else [])


def cells(scope: Scope) -> list[Cell]:
    """Each problem by each network and width, and by what needs no network."""
    seeds = QUICK_SEEDS if scope.quick else SEEDS
    hidden, epochs = (QUICK_HIDDEN, QUICK_EPOCHS) if scope.quick else (HIDDEN, EPOCHS)
    rate = QUICK_RATE if scope.quick else RATE
    made = []
    for kind, classes in problems(scope):
        for seed in seeds[1]:
            made.append(scope.cell(yardsticks, kind=kind, classes=classes, seed=seed, widths=[*seeds]))
        for model, (depth, settings) in MODELS.items():
            for width, its_seeds in seeds.items():
                # The quick version has wider embeddings of one network alone.
                if scope.quick and model != REFERENCE and width > 1:
                    continue
                asked = {
                    **settings,
                    "noise": 0.0,
                    "score": "mse",
                    "views": ["pixels"],
                    "hidden": list(hidden[depth]),
                    "latent_dim": width,
                    "epochs": epochs[kind],
                    "learning_rate": rate,
                }
                made += [
                    scope.cell(
                        measure,
                        kind=kind,
                        classes=classes,
                        model=model,
                        width=width,
                        seed=seed,
                        settings=asked,
                    )
                    for seed in its_seeds
                ]
    return made


# --- the table ---


def title(kind: str, classes: Sequence[object]) -> str:
    """Return what a problem is called: of one class they are taken together."""
    if kind == "two":
        return " and ".join(text.shortened(name, 16) for name in classes)
    return "one class" if kind == "one" else f"all {len(classes)} classes"


def rows(outcomes: Sequence[Outcome]) -> list[Row]:
    """A row a problem, model and width: means over seeds, and over the classes where there is one at a time."""
    groups: dict[tuple[str, str, str, int], list[Row]] = {}
    alone: dict[tuple[Any, ...], float] = {}
    for asked, numbers in finished(outcomes):
        label = title(asked["kind"], asked["classes"])
        if "model" not in asked:
            for model, errors in numbers.items():
                width = int(model.removeprefix("PCA-")) if model.startswith("PCA-") else 0
                about = {
                    "mean_image": numbers[MEAN]["mse_held_out"],
                    "class_means": numbers[CLASS_MEANS]["mse_held_out"],
                }
                groups.setdefault((asked["kind"], label, model, width), []).append({**errors, **about})
            continue
        if asked["kind"] == "one":
            its = (asked["classes"][0], asked["model"], asked["width"], asked["seed"])
            alone[its] = numbers["mse_held_out"]
        groups.setdefault((asked["kind"], label, asked["model"], asked["width"]), []).append(
            {**numbers, "of": (asked["classes"], asked["seed"])}
        )
    made = []
    for (kind, label, model, width), some in groups.items():
        explained = [_explained(row, "mean_image") for row in some]
        within = [_explained(row, "class_means") for row in some]
        row: Row = {
            "classes": label,
            "kind": kind,
            "model": model,
            "width": width,
            "trainings": len(some),
            "mse_train": mean([numbers["mse_train"] for numbers in some]),
            "mse_held_out": mean([numbers["mse_held_out"] for numbers in some]),
            "mse_sd": deviation([numbers["mse_held_out"] for numbers in some]),
            "explained": mean(explained),
            "within": mean(within),
            "within_sd": deviation(within),
        }
        for key in ("told_apart", "jumps", "largest_step"):
            row[key] = mean([numbers.get(key) for numbers in some])
        if kind == "two" and "of" in some[0]:
            row["line_each"] = mean(
                [
                    alone.get((name, model, width, seed))
                    for numbers in some
                    for classes, seed in [numbers["of"]]
                    for name in classes
                ]
            )
        made.append(row)
    return sorted(made, key=lambda row: ("one", "two", "all").index(row["kind"]))


def _explained(numbers: Mapping[str, Any], about: str) -> float | None:
    """Return the share of the squared differences from a mean that is explained, in percent."""
    return 100 * (1 - numbers["mse_held_out"] / numbers[about]) if numbers[about] > 0 else None


COLUMNS = (
    Column("classes", "classes"),
    Column("model", "model"),
    Column("width", "width"),
    Column("mse_train", "MSE, training", 4),
    Column("mse_held_out", "MSE, held-out", 4),
    Column("explained", "variance explained, %", 1),
    Column("within", "within classes, % (< 0: worse than class mean)", 1),
    Column("told_apart", "class right by the code", 3),
    Column("jumps", "jumps along the line", 1),
)


# --- the answer ---


# --- figures ---


def drawings(table: Sequence[Row], outcomes: Sequence[Outcome]) -> tuple[Drawing, ...]:
    """The line with what lies on it, errors beside means and PCA, variance explained by width and by network."""
    made = []
    blocks = _lines(outcomes)
    if blocks:
        made.append(
            Drawing(
                "line",
                "The line of one dimension, decoded from end to end, and where the classes lie on it",
                f"Above, what a {REFERENCE} decodes from one end of its codes to the other; below, how many training "
                "images of each class lie there. The axis is the rank of the code, so each part of it has as many "
                "images.",
                plots.decoded_lines(blocks, x="rank of the code: share of the images with a smaller one"),
                wide=True,
            )
        )
    errors: dict[str, dict[str, float | None]] = {}
    for row in table:
        if row["model"] in (MEAN, CLASS_MEANS, "PCA-1"):
            errors.setdefault(row["classes"], {})[row["model"]] = row["mse_held_out"]
    for row in table:
        if row["model"] == REFERENCE:
            errors.setdefault(row["classes"], {})[f"{REFERENCE}, width {row['width']}"] = row["mse_held_out"]
    if errors:
        made.append(
            Drawing(
                "mse",
                "MSE of one dimension, beside means, PCA and wider embeddings",
                "Mean squared error a pixel of held-out images, mean over seeds.",
                plots.bars(errors, y="mean squared error, held-out"),
            )
        )
    shares = {
        label: {
            row["model"]: row["within"]
            for row in table
            if row["classes"] == label and row["width"] == 1 and row["within"] is not None
        }
        for label in dict.fromkeys(row["classes"] for row in table)
    }
    if any(shares.values()):
        made.append(
            Drawing(
                "networks",
                "How much of the variance within classes one dimension explains",
                "1 - MSE / MSE of the mean image of the right class, in percent. Below 0 that mean image, which is "
                "told the class, is nearer to the images.",
                plots.bars(
                    {label: some for label, some in shares.items() if some},
                    y="variance within classes explained, %",
                ),
            )
        )
    return tuple(made)


def _lines(outcomes: Sequence[Outcome]) -> dict[str, tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Return frames and histograms of the reference's lines of the first seed, of one class the first."""
    blocks: dict[str, tuple[np.ndarray, dict[str, np.ndarray]]] = {}
    for outcome in outcomes:
        asked = outcome.cell.arguments
        if outcome.result is None or (asked.get("model"), asked.get("width")) != (REFERENCE, 1):
            continue
        label = title(asked["kind"], asked["classes"])
        # By its place alone no image of one class differs from another.
        of_one = asked["kind"] == "one"
        histograms = dict(zip(map(str, asked["classes"]), outcome.result.arrays["counts"], strict=True))
        shown = f"{label}: {asked['classes'][0]}" if of_one else label
        if shown not in blocks and not (of_one and blocks):
            blocks[shown] = (outcome.result.arrays["frames"], {} if of_one else histograms)
    return blocks


def method(scope: Scope) -> tuple[str, ...]:
    """What was trained and measured."""
    hidden, epochs = (QUICK_HIDDEN, QUICK_EPOCHS) if scope.quick else (HIDDEN, EPOCHS)
    seeds = QUICK_SEEDS if scope.quick else SEEDS
    named = "; ".join(
        text.classes([text.shortened(name, 16) for name in classes]) if kind != "all" else "all classes"
        for kind, classes in problems(scope)
    )
    return (
        f"Trained on: {named}; for one class at a time the table has the mean over the classes. Networks see pixels "
        "without noise.",
        f"Deep ones have hidden layers of {text.listed(hidden['deep'])} units, shallow "
        f"ones one of {text.listed(hidden['shallow'])}, mirrored in the decoder; AEs are trained on the squared error, "
        "VAEs on the ELBO of a Gaussian likelihood and rebuilt from the mean code. "
        f"Epochs: {epochs['one']} for one class, "
        f"{epochs['two']} for two, {epochs['all']} for all; learning rate "
        f"{QUICK_RATE if scope.quick else RATE:g}. {_seeds_line(seeds)}",
        "Of the training part's images of these classes 85% are trained on; errors are of the other 15%, which have no "
        "other use here. The test part is not used. The mean image is the best that a network without a code could "
        "do; the mean of each class is told the class of the image.",
        "Variance explained: 1 - MSE / MSE of the mean image; within classes: 1 - MSE / MSE of the mean image of the "
        f"right class. From {100 * LEARNED:.0f}% of the latter on something counts as learned. The question is decided "
        f"by the {REFERENCE}, which was chosen beforehand.",
        f"Class right by the code: share of held-out images whose class is that of most of the {NEIGHBOURS} training "
        f"images with the nearest codes. Jumps: from the lowest code to the highest in {STEPS} steps, each over 1% of "
        "the training images; a jump is a step in which the decoded image changes by more than "
        f"{100 * JUMP:.0f}% of the variance of the images.",
    )


def _seeds_line(seeds: Mapping[int, Sequence[int]]) -> str:
    """Which widths have which seeds, those with the same ones together."""
    widths: dict[tuple[int, ...], list[str]] = {}
    for width, some in seeds.items():
        widths.setdefault(tuple(some), []).append(str(width))
    parts = [
        f"{text.sentence([str(seed) for seed in some])} for {'widths' if len(of) > 1 else 'width'} {text.sentence(of)}"
        for some, of in widths.items()
    ]
    return f"Seeds: {'; '.join(parts)}."


STUDY = Study(
    NAME,
    "Can an embedding of one dimension learn one class, but not two?",
    "A lecture note guesses that a single number is enough to learn one class, and too little for two. An autoencoder "
    "whose code is one number lays all images on a line. How well are they rebuilt from it, compared with their mean "
    "image, with PCA and with wider embeddings, and what lies where on the line?",
    cells,
    rows,
    COLUMNS,
    answer,
    drawings,
    method,
)
