"""Can the loss be zero? Embeddings as wide as the input: how far down, how long, and what such an identity detects."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from anomalae import plots, seeds, text
from anomalae.datasets.dataset import Dataset
from anomalae.errors import TrainingError
from anomalae.experiments.cells import Cell, Result
from anomalae.experiments.kept_cells import Outcome
from anomalae.experiments.studies.base import Column, Drawing, Row, Scope, Study, deviation, finished, mean
from anomalae.experiments.studies.trained import judge, problem
from anomalae.models.layers import SLOPE, initialise
from anomalae.models.training.schedule import one_cycle

NAME = "zero-loss"
LINEAR, NONLINEAR, SIGMOID = "linear AE", "nonlinear AE", "sigmoid AE"
IDENTITY, PRINCIPAL = "identity set by hand", "PCA, closed form"
TRAINED = (LINEAR, NONLINEAR, SIGMOID)
PRECISIONS = {"single": torch.float32, "double": torch.float64}
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
BATCH = 128
# Peaks of the learning rate, found by the loss they lead to; images of 14 x 14 pixels bear a higher one.
RATES = {LINEAR: 3e-3, NONLINEAR: 1e-3, SIGMOID: 1e-3}
QUICK_RATES = {LINEAR: 1e-2, NONLINEAR: 3e-3, SIGMOID: 3e-3}
# The loss counts as low from here on.
LEVEL = 1e-3
# Images from which the loss is measured on the way.
MEASURED = 1000
# A linear AE is at its optimum when it is not further above it than this share.
AT_OPTIMUM = 0.01
# Differences below which two results are as good as equal: of ROC-AUC, and relative ones of the loss.
EQUAL, ALIKE = 0.005, 0.2
# Images shown of either sort.
SHOWN = 5


# --- what a cell does ---


def flat(images: np.ndarray, side: int) -> np.ndarray:
    """Return images (N, 28, 28) uint8 as rows of side * side pixels in [0, 1], float64, each the mean of a block."""
    block = images.shape[1] // side
    values = images.reshape(-1, side, block, side, block).mean((2, 4)) / 255
    return values.reshape(len(images), -1)


def build(model: str, pixels: int, width: int, precision: str, seed: int) -> nn.Sequential:
    """Return an autoencoder of rows, its weights drawn in single precision whatever its own: both begin alike.

    model: one of TRAINED; all layers but the embedding are as wide as the input.
    """
    with torch.random.fork_rng(devices=[]):
        if model == LINEAR:
            layers: list[nn.Module] = [nn.Linear(pixels, width), nn.Linear(width, pixels)]
        else:
            layers = [
                *(nn.Linear(pixels, pixels), nn.LeakyReLU(SLOPE), nn.Linear(pixels, width)),
                *(nn.Linear(width, pixels), nn.LeakyReLU(SLOPE), nn.Linear(pixels, pixels)),
            ]
        if model == SIGMOID:
            layers.append(nn.Sigmoid())
        network = nn.Sequential(*layers)
    initialise(network, seeds.generator(seed, seeds.WEIGHTS))
    return network.to(PRECISIONS[precision])


def train(network: nn.Module, rows: np.ndarray, steps: int, rate: float, seed: int) -> dict[int, float]:
    """Train by Adam on the squared error; returns the loss a pixel after some numbers of steps.

    rows: (N, pixels); few of them are shown all at once, else BATCH at a step.
    rate: peak of a one-cycle schedule of these steps.

    Raises TrainingError where the loss is no longer finite.
    """
    kind = next(network.parameters()).dtype
    images = torch.from_numpy(rows).to(kind)
    source = seeds.generator(seed, seeds.EPOCH)
    optimizer = torch.optim.Adam(network.parameters(), lr=rate)
    marks, curve = set(checkpoints(steps)), {}
    for step in range(steps):
        now, beta = one_cycle(step, steps, rate)
        optimizer.param_groups[0].update(lr=now, betas=(beta, 0.999))
        some = images
        if len(images) > BATCH:
            some = images[torch.randint(len(images), (BATCH,), generator=source)]
        loss = (network(some) - some).square().sum(1).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if step + 1 in marks:
            curve[step + 1] = float(errors(network, rows[:MEASURED]).mean())
            if not math.isfinite(curve[step + 1]):
                raise TrainingError(f"the loss became {curve[step + 1]} by step {step + 1}")
    return curve


def checkpoints(steps: int) -> list[int]:
    """Return numbers of steps at which the loss is looked at, four a factor of ten, the last one too.

    >>> checkpoints(20)
    [1, 2, 3, 6, 10, 18, 20]
    """
    places = (round(10 ** (place / 4)) for place in range(math.ceil(4 * math.log10(steps)) + 1))
    return sorted({place for place in places if place < steps} | {steps})


def rebuild(network: nn.Module, rows: np.ndarray) -> np.ndarray:
    """Return what a network makes of rows, in its own precision, float64 (N, pixels)."""
    kind = next(network.parameters()).dtype
    with torch.no_grad():
        return network(torch.from_numpy(rows).to(kind)).double().numpy()


def errors(network: nn.Module, rows: np.ndarray) -> np.ndarray:
    """Return the mean squared error a pixel of each row, computed in double precision from its own rounded values."""
    kind = next(network.parameters()).dtype
    return np.square(torch.from_numpy(rows).to(kind).double().numpy() - rebuild(network, rows)).mean(1)


def identity(pixels: int, precision: str) -> nn.Sequential:
    """Return the linear autoencoder whose two matrices are the identity."""
    return _linear(np.zeros(pixels), np.eye(pixels), precision)


def principal(rows: np.ndarray, width: int, precision: str) -> nn.Sequential:
    """Return the linear autoencoder that is PCA of rows: no other of this width has a lower squared error.

    Baldi and Hornik, "Neural networks and principal component analysis", 1989.
    """
    centre = rows.mean(0)
    axes = np.linalg.eigh((rows - centre).T @ (rows - centre))[1][:, ::-1]
    return _linear(centre, axes[:, :width], precision)


def _linear(centre: np.ndarray, axes: np.ndarray, precision: str) -> nn.Sequential:
    """Return x -> centre + axes axes' (x - centre) as two layers."""
    pixels, width = axes.shape
    network = build(LINEAR, pixels, width, "double", 0)
    parts = (axes.T, -axes.T @ centre, axes, centre)
    with torch.no_grad():
        for weight, part in zip(network.parameters(), parts, strict=True):
            weight.copy_(torch.from_numpy(np.ascontiguousarray(part)))
    return network.to(PRECISIONS[precision])


def optimum(rows: np.ndarray, width: int) -> float:
    """Return the mean squared error a pixel of PCA: what a linear autoencoder of this width leaves at least."""
    left = np.linalg.svd(rows - rows.mean(0), compute_uv=False)[width:]
    return float(np.square(left).sum() / rows.size)


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
    rows, normal_rows, anomalous_rows = (flat(images, side) for images in (some, held_out, anomalies))
    model, precision, curve = arguments["model"], arguments["precision"], {}
    begun = time.process_time()
    if model == IDENTITY:
        network = identity(side * side, precision)
    elif model == PRINCIPAL:
        network = principal(rows, width, precision)
    else:
        network = build(model, side * side, width, precision, seed)
        # What converges on pixels without ink has gradients so small that processors take many times as long for them.
        torch.set_flush_denormal(True)
        try:
            curve = train(network, rows, arguments["steps"], arguments["rate"], seed)
        finally:
            torch.set_flush_denormal(False)
    spent = time.process_time() - begun
    scores = [errors(network, part) for part in (normal_rows, anomalous_rows)]
    is_anomaly = np.repeat([False, True], [len(part) for part in scores])
    numbers = {
        **judge(np.concatenate(scores), is_anomaly),
        "mse_train": float(errors(network, rows).mean()),
        "mse_held_out": float(scores[0].mean()),
        "mse_anomalies": float(scores[1].mean()),
        "optimum": optimum(rows, width),
        "curve": [[steps, loss] for steps, loss in curve.items()],
        "steps_to_level": next((steps for steps, loss in curve.items() if loss <= LEVEL), None),
        "n_train": len(rows),
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
        groups.setdefault(of_row, []).append({**numbers, "wide": wide, "steps": asked.get("steps")})
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
    return made


COLUMNS = (
    Column("model", "model"),
    Column("width", "width"),
    Column("images", "training images"),
    Column("precision", "precision"),
    Column("mse_train", "MSE, training"),
    Column("optimum", "least of a linear AE"),
    Column("mse_held_out", "MSE, held-out"),
    Column("steps_to_level", f"steps to {LEVEL:g}"),
    Column("cpu_seconds", "CPU seconds", 0),
    Column("roc_auc", "ROC-AUC", 4),
)


# --- the answer ---


def answer(table: Sequence[Row]) -> tuple[str, ...]:
    """Say whether the loss is zero, what a bottleneck, more images and precision change, and what is detected."""
    learned = [row for row in table if row["model"] in TRAINED]
    said = [
        _zero(learned),
        _by_hand(table),
        _bottleneck(learned),
        _images(learned),
        _precision(learned),
        _detects(table),
    ]
    return tuple(sentence for sentence in said if sentence)


def _small(value: float) -> str:
    return text.short(value, 2)


def _described(row: Row) -> str:
    return f"{row['model']}, width {row['width']}, {text.count(row['images'])} images, {row['precision']} precision"


def _zero(learned: Sequence[Row]) -> str:
    if not learned:
        return "Whether training brings the loss to zero stays open: no network was trained."
    trainings, zeros = sum(row["trainings"] for row in learned), sum(row["zeros"] for row in learned)
    lowest = min(learned, key=lambda row: row["mse_train"])
    steps = text.count(lowest["steps"])
    quick = sorted(
        row["steps_to_level"] for row in learned if row["steps_to_level"] and not row["bottleneck"]
    )
    needed = ""
    if quick:
        ends = [text.count(round(end)) for end in (quick[0], quick[-1])]
        needed = f"; {LEVEL:g} was reached in {' to '.join(dict.fromkeys(ends))} steps without a bottleneck"
    which = _described(next((row for row in learned if row["zeros"]), lowest))
    if zeros:
        ended = f"{zeros} of {text.plural(trainings, 'training')} ended with a loss of exactly zero"
        return f"Yes: {ended} ({which}){needed}."
    return (
        f"No: none of {text.plural(trainings, 'training')} ended with a loss of zero; the lowest, after {steps} steps, "
        f"is an MSE of {_small(lowest['mse_train'])} a pixel ({which}){needed}."
    )


def _by_hand(table: Sequence[Row]) -> str:
    by_hand = [row for row in table if row["model"] == IDENTITY]
    exact = {
        row["precision"]: row["mse_train"]
        for row in table
        if row["model"] == PRINCIPAL and not row["bottleneck"] and not row["few"]
    }
    said = []
    if by_hand:
        worst = max(row["mse_train"] for row in by_hand)
        loss = "a loss of exactly zero" if worst == 0 else f"an MSE of {_small(worst)}"
        value = np.mean([row["roc_auc"] for row in by_hand])
        said.append(f"set by hand, two identity matrices have {loss} and a ROC-AUC of {value:.2f}")
    if exact:
        listed = " and ".join(f"{_small(loss)} in {precision} precision" for precision, loss in exact.items())
        said.append(
            f"two matrices of all principal axes, which should do the same, are off by {listed} through rounding"
        )
    return f"{_upper('; '.join(said))}." if said else ""


def _upper(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _ratio(learned: Sequence[Row], key: str, first: Any, second: Any) -> float | None:
    """Return how many times the loss is as high with the first value as with the second, all else alike.

    It is the geometric mean over the rows that have both; None where there is none, or a loss is zero.
    """
    others = [name for name in ("model", "bottleneck", "few", "precision") if name != key]
    by_rest: dict[tuple[Any, ...], dict[Any, float]] = {}
    for row in learned:
        by_rest.setdefault(tuple(row[name] for name in others), {})[row[key]] = row["mse_train"]
    pairs = [losses for losses in by_rest.values() if losses.get(first) and losses.get(second)]
    if not pairs:
        return None
    return float(np.exp(np.mean([np.log(losses[first] / losses[second]) for losses in pairs])))


def _times(ratio: float) -> str:
    """Return a ratio of losses in words."""
    if 1 / (1 + ALIKE) <= ratio <= 1 + ALIKE:
        return "about as high"
    return f"{_factor(max(ratio, 1 / ratio))} times {'higher' if ratio > 1 else 'lower'}"


def _factor(value: float) -> str:
    return text.short(value, 2) if value < 10 else text.count(round(value))


def _bottleneck(learned: Sequence[Row]) -> str:
    ratio = _ratio(learned, "bottleneck", True, False)
    said = []
    if ratio is not None:
        width = next(row["width"] for row in learned if row["bottleneck"])
        said.append(f"with a bottleneck of {width} the loss ends {_times(ratio)}")
    above = [
        row["mse_train"] / row["optimum"] - 1
        for row in learned
        if row["model"] == LINEAR and row["bottleneck"] and row["optimum"] > 0
    ]
    if above:
        far = f"{100 * max(above):.1f}% above PCA's, the lowest there is"
        said.append(
            f"there the linear AE finds its optimum: at most {far}"
            if max(above) <= AT_OPTIMUM
            else f"there the linear AE stops short of its optimum: up to {far}"
        )
    return f"{_upper('; '.join(said))}." if said else ""


def _images(learned: Sequence[Row]) -> str:
    wide = [row for row in learned if not row["bottleneck"]]
    said = []
    ratio = _ratio(wide, "few", True, False)
    if ratio is not None:
        counts = {row["few"]: text.count(row["images"]) for row in wide}
        said.append(
            f"the loss of {counts[True]} images ends {_times(ratio)} {_as(ratio)} that of {counts[False]}"
        )
    few = [row for row in wide if row["few"] and row["mse_train"] and row["mse_held_out"]]
    if few:
        gap = float(np.exp(np.mean([np.log(row["mse_held_out"] / row["mse_train"]) for row in few])))
        said.append(
            f"others are rebuilt {_factor(gap)} times worse than these few, which are learned by heart"
            if gap > 1 + ALIKE
            else "others are rebuilt as well as these few"
        )
    ratio = _ratio(wide, "model", NONLINEAR, LINEAR)
    if ratio is not None:
        said.append(f"nonlinear the loss ends {_times(ratio)} {_as(ratio)} linear")
    ratio = _ratio(wide, "model", SIGMOID, NONLINEAR)
    if ratio is not None:
        said.append(f"with a sigmoid at the output {_times(ratio)} {_as(ratio)} without")
    return f"Without a bottleneck, {'; '.join(said)}." if said else ""


def _as(ratio: float) -> str:
    return "as" if _times(ratio).endswith("high") else "than"


def _precision(learned: Sequence[Row]) -> str:
    ratio = _ratio(learned, "precision", "double", "single")
    if ratio is None:
        return ""
    if _as(ratio) == "as":
        return "Double precision changes next to nothing: the loss ends where single precision leaves it."
    return f"In double precision the loss ends {_times(ratio)} than in single precision."


def _detects(table: Sequence[Row]) -> str:
    """What networks detect that were trained on all images, as wide as the input and with a bottleneck."""
    values: dict[bool, dict[str, float]] = {False: {}, True: {}}
    for row in table:
        if row["model"] in TRAINED and row["precision"] == "single" and not row["few"]:
            values[row["bottleneck"]][row["model"]] = row["roc_auc"]
    wide, narrow = values[False], values[True]
    if not wide:
        return ""
    listed = text.listed(f"{model} {value:.3f}" for model, value in wide.items())
    sentence = f"As detectors, trained on all images without a bottleneck, they have a ROC-AUC of {listed}"
    low = min(wide.values())
    verdict = "no more than the 0.5 of a copy" if low <= 0.5 + EQUAL else "all above the 0.5 of a copy"
    sentence += f", {verdict if low > 0.5 + EQUAL else f'the lowest {verdict}'}"
    both = [model for model in wide if model in narrow]
    if both:
        gain = float(np.mean([narrow[model] - wide[model] for model in both]))
        word = "helps" if gain > EQUAL else "harms" if gain < -EQUAL else "changes little"
        listed = text.listed(f"{model} {narrow[model]:.3f}" for model in both)
        sentence += f"; a bottleneck {word}: {listed}"
    return f"{sentence}."


# --- figures ---


def drawings(table: Sequence[Row], outcomes: Sequence[Outcome]) -> tuple[Drawing, ...]:
    """Loss against steps, ROC-AUC, and what is made of images."""
    made = []
    for few, words in ((False, "all images"), (True, "few images")):
        curves = _curves(outcomes, few)
        if curves:
            figure = plots.lines(curves, x="steps", y="mean squared error, training", log_x=True, log_y=True)
            figure.axes[0].yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            made.append(
                Drawing(
                    f"loss-{'few' if few else 'all'}",
                    f"The loss against the steps, {words}",
                    "Mean squared error a pixel of training images, mean over seeds, single precision.",
                    figure,
                )
            )
    groups: dict[str, dict[str, float | None]] = {}
    for row in table:
        # What rounding leaves of all principal axes is no detector.
        if row["precision"] == "single" and (row["model"] != PRINCIPAL or row["bottleneck"]):
            name = f"{text.count(row['images'])} images"
            groups.setdefault(f"{row['model']}, {row['width']}", {})[name] = row["roc_auc"]
    if groups:
        made.append(
            Drawing(
                "roc-auc",
                "What is detected",
                "ROC-AUC by the squared error, mean over seeds, single precision; the number is the embedding's width.",
                plots.bars(groups, y="ROC-AUC"),
            )
        )
    pictures = _pictures(outcomes)
    if len(pictures) > 1:
        names = ["normal"] * SHOWN + ["anomaly"] * SHOWN
        made.append(
            Drawing(
                "rebuilt",
                "What is made of images",
                "Held-out normal images and anomalies, and what networks trained on all images make of them, first "
                "seed, single precision. An identity rebuilds anomalies too.",
                plots.film(pictures, columns=names),
            )
        )
    return tuple(made)


def _curves(outcomes: Sequence[Outcome], few: bool) -> dict[str, plots.Series]:
    by_name: dict[str, list[list[list[float]]]] = {}
    for asked, numbers in finished(outcomes):
        if asked["few"] == few and asked["precision"] == "single" and numbers["curve"]:
            by_name.setdefault(f"{asked['model']}, {asked['width']}", []).append(numbers["curve"])
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
            rebuilt.setdefault(f"{asked['model']}, {asked['width']}", outcome.result.arrays["rebuilt"])
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
