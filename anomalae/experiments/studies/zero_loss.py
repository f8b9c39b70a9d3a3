"""Can the loss be zero? Embeddings as wide as the input: how far down, how long, and what such an identity detects."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from anomalae import plots, text
from anomalae.datasets.dataset import Dataset
from anomalae.experiments.cells import Cell, Result
from anomalae.experiments.kept_cells import Outcome
from anomalae.experiments.studies import compared
from anomalae.experiments.studies.base import Column, Drawing, Row, Scope, Study, deviation, finished, mean
from anomalae.experiments.studies.compared import note_missing, place_of
from anomalae.experiments.studies.trained import judge, problem
from anomalae.experiments.studies.wide_networks import (
    BATCH,
    IDENTITY,
    LEVEL,
    LINEAR,
    NONLINEAR,
    PRECISIONS,
    PRINCIPAL,
    SIGMOID,
    TRAINED,
    build,
    errors,
    flat,
    identity,
    optimum,
    principal,
    rebuild,
    train,
)
from anomalae.experiments.studies.zero_loss_answer import answer

NAME = "zero-loss"
# On MNIST, CPU seconds of a cell: linear AE 90 (double 180), the others 170 (340), with a bottleneck a tenth and half
# of that; all together about 2 hours.
NORMAL = 8
SEEDS = (0, 1)
SIDE, NARROW, STEPS = 28, 32, 6000
# The quick version halves the images and needs all its classes but one to have more of them than pixels.
QUICK_SIDE, QUICK_NARROW, QUICK_STEPS = 14, 16, 1500
# There the linear AE with a bottleneck takes so many times as many: they are cheap, and its optimum is known.
LONGER = 3
FEW = 100
# Peaks of the learning rate, found by the loss they lead to; images of 14 x 14 pixels bear a higher one.
RATES = {LINEAR: 3e-3, NONLINEAR: 1e-3, SIGMOID: 1e-3}
QUICK_RATES = {LINEAR: 1e-2, NONLINEAR: 3e-3, SIGMOID: 3e-3}
# Images shown of either sort.
SHOWN = 5


# --- what a cell does ---


def measure(dataset: Dataset, arguments: Mapping[str, Any]) -> Result:
    """Train or set a network, and measure its loss on the way and at the end, and what it detects."""
    task = problem(dataset, arguments)
    side, width, seed = arguments["side"], arguments["width"], arguments["seed"]
    some = task.train
    if arguments["few"]:
        chosen = np.random.default_rng([seed, FEW]).permutation(len(some))[:FEW]
        some = some[np.sort(chosen)]
    held_out = np.concatenate([task.held_out, task.calibration])
    anomalies = task.judged.images[task.is_anomaly]
    train_rows, normal_rows, anomalous_rows = (flat(images, side) for images in (some, held_out, anomalies))
    model, precision, curve = arguments["model"], arguments["precision"], {}
    begun = time.thread_time()
    if model == IDENTITY:
        network = identity(side * side, precision)
    elif model == PRINCIPAL:
        network = principal(train_rows, width, precision)
    else:
        network = build(model, side * side, width, precision, seed)
        # What converges on pixels without ink has gradients so small that processors take many times as long for them.
        torch.set_flush_denormal(True)
        try:
            curve = train(network, train_rows, arguments["steps"], arguments["rate"], seed)
        finally:
            torch.set_flush_denormal(False)
    spent = time.thread_time() - begun
    scores = [errors(network, part) for part in (normal_rows, anomalous_rows)]
    is_anomaly = np.repeat([False, True], [len(part) for part in scores])
    numbers = {
        **judge(np.concatenate(scores), is_anomaly),
        "mse_train": float(errors(network, train_rows).mean()),
        "mse_held_out": float(scores[0].mean()),
        "mse_anomalies": float(scores[1].mean()),
        "optimum": optimum(train_rows, width),
        "curve": [[steps, loss] for steps, loss in curve.items()],
        "steps_to_level": next((steps for steps, loss in curve.items() if loss <= LEVEL), None),
        "n_train": len(train_rows),
        "cpu_seconds": round(spent, 3),
    }
    shown = np.concatenate([normal_rows[:SHOWN], anomalous_rows[:SHOWN]])
    pictures = {"rebuilt": rebuild(network, shown)}
    if model == IDENTITY:
        pictures["images"] = shown
    arrays = {
        name: np.rint(255 * values.clip(0, 1)).astype(np.uint8).reshape(-1, side, side)
        for name, values in pictures.items()
    }
    return Result(numbers, arrays)


# --- the grid ---


def cells(scope: Scope) -> list[Cell]:
    """Each network, wide and narrow, of few images and of all, in either precision; and two set in closed form.

    The quick version has double precision for few images alone, and no sigmoid but on all images.
    """
    classes = list(scope.dataset.classes)
    chosen = NORMAL if NORMAL in classes else classes[0]
    normal = [name for name in classes if name != chosen] if scope.quick else [chosen]
    side, narrow, steps = (QUICK_SIDE, QUICK_NARROW, QUICK_STEPS) if scope.quick else (SIDE, NARROW, STEPS)
    rates = QUICK_RATES if scope.quick else RATES
    made = []
    for seed in SEEDS[:1] if scope.quick else SEEDS:
        for model in (*TRAINED, IDENTITY, PRINCIPAL):
            for width in (side * side, narrow):
                for few in (True, False):
                    for precision in PRECISIONS:
                        if scope.quick and model in TRAINED:
                            if precision == "double" and (not few or width == narrow):
                                continue
                            if model == SIGMOID and (few or width == narrow):
                                continue
                        if model == IDENTITY and (width == narrow or few):
                            continue
                        longer = LONGER if scope.quick and (model, width) == (LINEAR, narrow) else 1
                        own = {"steps": longer * steps, "rate": rates[model]} if model in TRAINED else {}
                        made.append(
                            scope.cell(
                                measure,
                                model=model,
                                width=width,
                                few=few,
                                precision=precision,
                                normal=normal,
                                seed=seed,
                                side=side,
                                **own,
                            )
                        )
    return made


# --- the table ---


def rows(outcomes: Sequence[Outcome]) -> list[Row]:
    """A row a network, width, number of images and precision: means over seeds."""
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for asked, numbers in finished(outcomes):
        of_row = (asked["model"], asked["width"], asked["few"], asked["precision"])
        wide = asked["width"] == asked["side"] ** 2
        more = {"wide": wide, "steps": asked.get("steps"), "place": place_of(asked)}
        groups.setdefault(of_row, []).append({**numbers, **more})
    made = []
    for (model, width, few, precision), some in groups.items():
        row: Row = {
            "model": model,
            "width": width,
            "bottleneck": not some[0]["wide"],
            "images": some[0]["n_train"],
            "few": few,
            "precision": precision,
            "trainings": len(some),
            "steps": some[0]["steps"],
            "zeros": sum(numbers["mse_train"] == 0 for numbers in some),
        }
        for key in (
            "mse_train",
            "mse_held_out",
            "mse_anomalies",
            "optimum",
            "steps_to_level",
            "roc_auc",
            "cpu_seconds",
        ):
            row[key] = mean([numbers[key] for numbers in some])
        row["mse_train_sd"] = deviation([numbers["mse_train"] for numbers in some])
        row["roc_auc_sd"] = deviation([numbers["roc_auc"] for numbers in some])
        for at, end in enumerate(("low", "high")):
            row[f"roc_auc_{end}"] = mean([numbers["interval"][at] for numbers in some])
        made.append(row)
    note_missing(made, [{numbers["place"] for numbers in some} for some in groups.values()])
    return made


COLUMNS = (
    Column("model", "model"),
    Column("width", "width"),
    Column("images", "training images"),
    Column("precision", "precision"),
    Column("mse_train", "MSE, training"),
    Column("optimum", "least MSE of a linear AE (PCA)"),
    Column("mse_held_out", "MSE, held-out"),
    Column("steps_to_level", f"steps to an MSE of {LEVEL:g}"),
    Column("cpu_seconds", "CPU seconds", 0),
    Column("roc_auc", "ROC-AUC", 4),
    compared.COLUMN,
)


# --- the answer ---


# --- figures ---


def drawings(table: Sequence[Row], outcomes: Sequence[Outcome]) -> tuple[Drawing, ...]:
    """Loss against steps, ROC-AUC, and what is made of images."""
    made = []
    counts = {row["few"]: text.plural(row["images"], "image") for row in table}
    for few in (False, True):
        curves = _curves(outcomes, few)
        if curves:
            figure = plots.lines(curves, x="steps", y="mean squared error, training", log_x=True, log_y=True)
            figure.axes[0].yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            made.append(
                Drawing(
                    f"loss-{'few' if few else 'all'}",
                    f"The loss against the steps, trained on {counts[few]}",
                    "Mean squared error a pixel of training images, mean over seeds, single precision. Both axes are "
                    "logarithmic.",
                    figure,
                )
            )
    groups: dict[str, dict[str, float | None]] = {}
    for row in table:
        # What rounding leaves of all principal axes is no detector.
        if row["precision"] == "single" and (row["model"] != PRINCIPAL or row["bottleneck"]):
            name = f"{text.count(row['images'])} images"
            groups.setdefault(_name(row), {})[name] = row["roc_auc"]
    if groups:
        made.append(
            Drawing(
                "roc-auc",
                "What is detected",
                "ROC-AUC of the squared error, mean over seeds, single precision, by the number of training images. A "
                "copy has 0.5: no better than chance.",
                plots.bars(groups, y="ROC-AUC"),
            )
        )
    pictures = _pictures(outcomes)
    if len(pictures) > 1:
        names = ["normal"] * SHOWN + ["anomaly"] * SHOWN
        made.append(
            Drawing(
                "rebuilt",
                "Images and their reconstructions",
                "Held-out normal images on the left, anomalies on the right, and how networks trained on all images "
                "rebuild them, first seed, single precision. An identity rebuilds anomalies too.",
                plots.film(pictures, columns=names),
                wide=True,
            )
        )
    return tuple(made)


def _name(one: Mapping[str, Any]) -> str:
    """What a network is called in figures, of a row or of a cell's arguments."""
    # An identity has no other width.
    return str(one["model"]) if one["model"] == IDENTITY else f"{one['model']}, width {one['width']}"


def _curves(outcomes: Sequence[Outcome], few: bool) -> dict[str, plots.Series]:
    by_name: dict[str, list[list[list[float]]]] = {}
    for asked, numbers in finished(outcomes):
        if asked["few"] == few and asked["precision"] == "single" and numbers["curve"]:
            by_name.setdefault(_name(asked), []).append(numbers["curve"])
    return {
        name: plots.Series(
            [steps for steps, _ in curves[0]],
            [mean([curve[place][1] or None for curve in curves]) for place in range(len(curves[0]))],
        )
        for name, curves in by_name.items()
    }


def _pictures(outcomes: Sequence[Outcome]) -> dict[str, np.ndarray]:
    pictures: dict[str, np.ndarray] = {}
    rebuilt: dict[str, np.ndarray] = {}
    for outcome in outcomes:
        asked = outcome.cell.arguments
        if outcome.result is None or asked["few"] or asked["precision"] != "single":
            continue
        if "images" in outcome.result.arrays:
            pictures.setdefault("image", outcome.result.arrays["images"])
        elif asked["model"] in TRAINED:
            rebuilt.setdefault(_name(asked), outcome.result.arrays["rebuilt"])
    return pictures | rebuilt if pictures else {}


def method(scope: Scope) -> tuple[str, ...]:
    """What was trained and measured."""
    side, narrow, steps = (QUICK_SIDE, QUICK_NARROW, QUICK_STEPS) if scope.quick else (SIDE, NARROW, STEPS)
    chosen = NORMAL if NORMAL in scope.dataset.classes else scope.dataset.classes[0]
    name, rates = text.shortened(chosen, 16), QUICK_RATES if scope.quick else RATES
    normal = f"all classes but {name} are normal" if scope.quick else f"class {name} is normal"
    halved = f", halved to {side} x {side} pixels" if side < SIDE else ""
    return (
        f"Of the images{halved}, {normal}; networks learn {FEW} of the training images (few) or all, their embedding "
        f"as wide as the input, {side * side}, or a bottleneck of {narrow}. The linear AE is two matrices; the "
        "nonlinear one has a hidden layer as wide as the input on both sides, with leaky rectifiers; the "
        "sigmoid AE has a sigmoid at the output besides. Seeds: "
        + text.listed(SEEDS[:1] if scope.quick else SEEDS)
        + ".",
        f"Trained by Adam without noise or weight decay, {text.count(steps)} steps of {BATCH} images (or all of the "
        + (f"few; the linear AE with a bottleneck {LONGER} times as many" if scope.quick else "few")
        + "), a one-cycle learning rate with a peak of "
        + text.listed(f"{rate:g} ({model})" for model, rate in rates.items())
        + ". Both precisions begin with the same weights. Loss: mean squared error a pixel, pixels in [0, 1], of all "
        "images trained on; on the way of the first 1,000.",
        "The least squared error of a linear AE is that of PCA of the same width (Baldi and Hornik 1989).",
        "Judged by the squared error on development images: held-out normals (the validation and calibration parts) "
        "against up to 10,000 training images of the other classes. The test part is not used.",
    )


STUDY = Study(
    NAME,
    "Can the loss of an autoencoder be zero, and what does it detect then?",
    "An embedding as wide as the input leaves room for a plain copy, whose loss is zero and which finds no anomaly. "
    "Does training get there, linear or not, with few images or many, in single or double precision, and what is such "
    "a network worth as a detector?",
    cells,
    rows,
    COLUMNS,
    answer,
    drawings,
    method,
)
