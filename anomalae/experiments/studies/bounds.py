"""How far is the ELBO below log p(x), and why? Bounds by more and more samples against exact quadrature."""

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
from anomalae.experiments.studies.bounds_answer import answer, called, sample_counts
from anomalae.experiments.studies.compared import note_missing, place_of
from anomalae.experiments.studies.gaussian_bounds import (
    SHOWN,
    best_gaussians,
    log_weights,
    pictures,
    weighted_bound,
)
from anomalae.experiments.studies.quadrature import log_evidence
from anomalae.experiments.studies.trained import judge, problem
from anomalae.plots.series import Field

NAME = "bounds"
# Units of z of the models that have an exact log p(x); and of those that are as wide as in use.
EXACT_WIDTHS, WIDE = (1, 2), 16
# By name: settings, and the widths it is trained at.
MODELS: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "VAE": ({"model": "vae"}, (*EXACT_WIDTHS, WIDE)),
    "ladder VAE": ({"model": "ladder-vae", "layers": 2}, (2, WIDE)),
    "ADGM": ({"model": "adgm"}, (2, WIDE)),
}
NORMAL, ANOMALOUS, SEEDS = 8, 4, (0, 1)
# On MNIST a cell takes 70 (one class) to 200 CPU seconds (two units, nine classes): some 70 minutes in all.
EPOCHS = {"one": 40, "all but one": 10}
# Samples of the importance-weighted bounds, each a multiple of the one before.
SAMPLES = (1, 4, 16, 64, 256, 1024, 4096)
QUICK_SAMPLES = SAMPLES[:5]
FEW = 16
IMAGES, QUICK_IMAGES = 100, 25
# Distance of neighbouring points of the quadrature, by units of z.
STEPS, QUICK_STEPS = {1: 0.001, 2: 0.015}, {1: 0.002, 2: 0.04}
FITTING, QUICK_FITTING = 200, 40
SIDES = ("normal", "anomalous")


def measure(dataset: Dataset, arguments: Mapping[str, Any]) -> Result:
    """Train one network, and measure its bounds of log p(x), and itself where that can be, of both classes."""
    task = problem(dataset, arguments)
    member = task.fit(arguments["settings"])._ensemble.first
    most, images = arguments["samples"][-1], arguments["images"]
    anomalies = task.judged.images[task.is_anomaly][:images]
    shown = np.concatenate([task.held_out[:images], anomalies])
    is_anomaly = np.arange(len(shown)) >= len(shown) - len(anomalies)
    with computing(member.arithmetic), torch.no_grad():
        source, target = member.view.see(torch.from_numpy(shown.copy())[:, None].float() / 255)
        network: Any = member.network
        inferred = network.infer(source)
        draws = np.random.default_rng([arguments["seed"], most]).standard_normal((most, network.width))
        bank = torch.from_numpy(draws.astype(np.float32))
        weights = log_weights(network, target, inferred, bank)
        values = {f"iwae_{k}": weighted_bound(weights, k).numpy() for k in arguments["samples"]}
        numbers: dict[str, Any] = {"sigma": float(network.likelihood.log_sigma.exp())}
        arrays = {}
        if arguments["step"] is not None:
            exact = log_evidence(network, target, network.posterior(source), arguments["step"])
            values["exact"] = exact.log_evidence.numpy()
            numbers["farthest"] = float(exact.mode.abs().max())
            numbers["quadrature_error"] = float((exact.log_evidence - exact.coarser).abs().max())
            if arguments["fitting"]:
                best = best_gaussians(network, target, inferred, exact.mode, arguments["fitting"])
                fitted = log_weights(network, target, best, bank)
                values["fitted"] = fitted.mean(0).numpy()
                if network.width == 2:
                    arrays = pictures(network, target[:SHOWN], inferred, best)
    for side, those in zip(SIDES, (~is_anomaly, is_anomaly), strict=True):
        numbers[side] = {name: float(of_images[those].mean()) for name, of_images in values.items()}
    numbers["roc_auc"] = {
        name: judge(-of_images, is_anomaly)["roc_auc"]
        for name, of_images in values.items()
        if name != "fitted"
    }
    return Result(numbers, arrays)


def cells(scope: Scope) -> list[Cell]:
    """All models and widths, all classes but one normal, and one; a seed or two."""
    classes = list(scope.dataset.classes)
    odd = ANOMALOUS if ANOMALOUS in classes else classes[-1]
    problems = {"all but one": [name for name in classes if name != odd]}
    if not scope.quick and len(classes) > 2:
        problems["one"] = [NORMAL if NORMAL in classes else classes[0]]
    made = []
    for kind, normal in problems.items():
        for model, (settings, widths) in MODELS.items():
            for width in _widths(model, widths, scope.quick):
                for seed in SEEDS[:1] if scope.quick else SEEDS:
                    asked = {**settings, "views": ("pixels",), "latent_dim": width, "noise": 0.0}
                    asked |= {"likelihood": "gaussian", "samples": 1}
                    asked |= {"hidden": (64,), "epochs": 30} if scope.quick else {"epochs": EPOCHS[kind]}
                    if settings["model"] == "adgm":
                        asked["auxiliary_dim"] = width
                    steps, fitting = (QUICK_STEPS, QUICK_FITTING) if scope.quick else (STEPS, FITTING)
                    made.append(
                        scope.cell(
                            measure,
                            model=model,
                            kind=kind,
                            normal=normal,
                            width=width,
                            seed=seed,
                            settings=asked,
                            samples=QUICK_SAMPLES if scope.quick else SAMPLES,
                            images=QUICK_IMAGES if scope.quick else IMAGES,
                            step=steps.get(width),
                            fitting=fitting if model == "VAE" and width in steps else 0,
                        )
                    )
    return made


def _widths(model: str, widths: Sequence[int], quick: bool) -> list[int]:
    """Return the widths of a model; the quick version has one wide network."""
    return [width for width in widths if width != WIDE or model == "VAE" or not quick]


def rows(outcomes: Sequence[Outcome]) -> list[Row]:
    """A row a model, width and problem: means over images and seeds, in nats an image."""
    groups: dict[tuple[str, str, int], list[tuple[Mapping[str, Any], Mapping[str, Any]]]] = {}
    for asked, numbers in finished(outcomes):
        groups.setdefault((asked["kind"], asked["model"], asked["width"]), []).append((asked, numbers))
    made = []
    for (kind, model, width), trainings in groups.items():
        # Of networks that were asked for other samples, those that all have.
        samples = sorted(set.intersection(*(set(asked["samples"]) for asked, _ in trainings)))
        row: Row = {
            "normal_classes": kind,
            "model": model,
            "width": width,
            "networks": len(trainings),
            "samples": samples[-1],
        }
        for side, suffix in zip(SIDES, ("", "_anomalous"), strict=True):
            of_side = [numbers[side] for _, numbers in trainings]
            means = {name: mean([values.get(name) for values in of_side]) for name in of_side[0]}
            for k in samples:
                row[f"iwae_{k}{suffix}"] = means[f"iwae_{k}"]
            row[f"elbo{suffix}"] = means["iwae_1"]
            row[f"highest{suffix}"] = means[f"iwae_{samples[-1]}"]
            row[f"exact{suffix}"] = means.get("exact")
            row[f"gap{suffix}"] = less(means.get("exact"), means["iwae_1"])
            row[f"approximation{suffix}"] = less(means.get("exact"), means.get("fitted"))
            row[f"amortisation{suffix}"] = less(means.get("fitted"), means["iwae_1"])
        gaps = [less(numbers["normal"].get("exact"), numbers["normal"]["iwae_1"]) for _, numbers in trainings]
        row["gap_sd"] = deviation(gaps)
        above = [
            less(numbers[side][f"iwae_{samples[-1]}"], numbers[side].get("exact"))
            for _, numbers in trainings
            for side in SIDES
        ]
        row["above_exact"] = None if None in above else max(filter(None, above), default=0.0)
        errors = [numbers.get("quadrature_error") for _, numbers in trainings]
        row["quadrature_error"] = max((error for error in errors if error is not None), default=None)
        by = [numbers["roc_auc"] for _, numbers in trainings]
        row["roc_auc_elbo"] = mean([values["iwae_1"] for values in by])
        row["roc_auc_highest"] = mean([values[f"iwae_{samples[-1]}"] for values in by])
        row["roc_auc_exact"] = mean([values.get("exact") for values in by])
        tightest = "highest" if row["roc_auc_exact"] is None else "exact"
        row["roc_auc_tightest"] = row[f"roc_auc_{tightest}"]
        made.append(row)
    places = [{place_of(asked) for asked, _ in trainings} for trainings in groups.values()]
    note_missing(made, places, lambda row: row["normal_classes"])
    return made


def less(value: float | None, other: float | None) -> float | None:
    """Return the difference of two values; None where one is missing.

    >>> less(3.0, 1.0), less(None, 1.0)
    (2.0, None)
    """
    return None if value is None or other is None else value - other


COLUMNS = (
    Column("normal_classes", "normal classes"),
    Column("model", "model"),
    Column("width", "units of z"),
    Column("elbo", "ELBO, nats", 2),
    Column(f"iwae_{FEW}", f"IWAE-{FEW}", 2),
    Column("highest", "IWAE, all samples", 2),
    Column("exact", "log p(x)", 2),
    Column("approximation", "approximation gap", 2),
    Column("amortisation", "amortisation gap", 2),
    Column("roc_auc_elbo", "ROC-AUC, ELBO", 4),
    Column("roc_auc_tightest", "ROC-AUC, tightest bound", 4),
    compared.COLUMN,
)


def drawings(table: Sequence[Row], outcomes: Sequence[Outcome]) -> tuple[Drawing, ...]:
    """What is left of the gap against samples, the gap's parts, and exact posteriors with the Gaussians for them."""
    made = []
    kind = table[0]["normal_classes"] if table else ""
    shown = [row for row in table if row["normal_classes"] == kind]
    left, gained = {}, {}
    for row in shown:
        samples = sample_counts(row)
        if row["exact"] is not None:
            below = [less(row["exact"], row[f"iwae_{k}"]) for k in samples]
            left[called(row)] = plots.Series(
                samples, [v if v is not None and v > 1e-4 else None for v in below]
            )
        else:
            gained[called(row)] = plots.Series(
                samples, [less(row[f"iwae_{k}"], row["elbo"]) for k in samples]
            )
    classes = "one class normal" if kind == "one" else "all classes but one normal"
    if left:
        made.append(
            Drawing(
                "gap",
                f"Nats below the exact log p(x), {classes}",
                "Mean over held-out normal images. With one sample the bound is the ELBO; both axes are logarithmic.",
                plots.lines(left, x="samples", y="nats below log p(x)", log_x=True, log_y=True),
            )
        )
    if gained:
        made.append(
            Drawing(
                "gain",
                f"What samples add to the ELBO of wider models, {classes}",
                f"Mean over held-out normal images, {text.sentence(list(gained))}; log p(x) is not known. A bound that "
                "still rises has not reached it.",
                plots.lines(gained, x="samples", y="nats above the ELBO", log_x=True),
            )
        )
    parts = {
        f"{called(row)}, {name}": {
            "amortisation: the encoder": row[f"amortisation{suffix}"],
            "approximation: no Gaussian fits": row[f"approximation{suffix}"],
        }
        for row in shown
        for name, suffix in (("normal", ""), ("anomalies", "_anomalous"))
        if row["approximation"] is not None
    }
    if parts:
        made.append(
            Drawing(
                "parts",
                f"What the gap is made of, {classes}",
                "Amortisation: from the bound by the encoder's Gaussian to that by the best one. Approximation: from "
                "there to log p(x).",
                plots.bars(parts, y="nats below log p(x)"),
            )
        )
    pictured = [outcome.result.arrays for outcome in outcomes if outcome.result and outcome.result.arrays]
    if pictured:
        made.append(
            Drawing(
                "posteriors",
                "Exact posteriors, and the Gaussians that stand for them",
                "The first held-out images, by a VAE of two units: density of z given the image, dark where it is "
                "high, with two deviations of the encoder's Gaussian and of the best one.",
                plots.densities(fields(pictured[0]), x="first unit", y="second unit"),
                wide=True,
            )
        )
    return tuple(made)


def fields(arrays: Mapping[str, np.ndarray]) -> list[Field]:
    """Return the panels of `pictures`."""
    return [
        Field(
            arrays["posterior"][place],
            tuple(float(end) for end in arrays["window"][place]),
            {
                name: tuple(float(value) for value in arrays[key][place])
                for name, key in (("encoder", "encoder"), ("best Gaussian", "best"))
            },
            arrays["image"][place],
        )
        for place in range(len(arrays["posterior"]))
    ]


def method(scope: Scope) -> tuple[str, ...]:
    """What was trained and measured."""
    samples = (QUICK_SAMPLES if scope.quick else SAMPLES)[-1]
    images = QUICK_IMAGES if scope.quick else IMAGES
    epochs = (
        "30 epochs"
        if scope.quick
        else text.listed([f"{count} epochs with {kind} normal" for kind, count in EPOCHS.items()])
    )
    made = cells(scope)
    seeds = sorted({cell.arguments["seed"] for cell in made})
    normal = list({cell.arguments["kind"]: cell.arguments["normal"] for cell in made}.values())
    return (
        f"Normal classes {text.listed([' '.join(map(str, names)) for names in normal], '; or ')}; seeds "
        f"{text.listed(seeds)}; {epochs}. Networks see pixels without noise and have a Gaussian likelihood of one "
        "learned sigma. A ladder has a second layer of half as many units, an ADGM an auxiliary variable as wide as z.",
        f"Measured on up to {images} held-out normal images and as many anomalies of the development part; the test "
        f"part is not used. All bounds of a network share {samples} draws, those of fewer samples being means over "
        "groups of them (Burda, Grosse and Salakhutdinov 2016).",
        "log p(x) of one or two units is the integral of p(x | z) p(z) by a trapezoid rule wherever any image has "
        "posterior density; table.json holds by how much a grid twice as coarse differs. Of the ladder p(z_1) is "
        "itself such an integral.",
        "The best Gaussian of an image has its mean and variances improved by Adam from the encoder's and from the "
        "mode of the exact posterior; from it to log p(x) is the approximation gap, from the encoder's ELBO to it the "
        "amortisation gap (Cremer, Li and Duvenaud, Inference suboptimality in variational autoencoders, 2018).",
    )


STUDY = Study(
    NAME,
    "How far is the ELBO below log p(x), why, and do more samples close the gap?",
    "A VAE is trained and judged by a lower bound of log p(x). With one or two units of z the integral can be done, so "
    "the bound can be set against what it bounds, and the gap be told apart: is it the Gaussian that does not fit the "
    "posterior, or the encoder that does not find the Gaussian? Importance-weighted bounds, a ladder and an auxiliary "
    "variable are ways to a smaller gap.",
    cells,
    rows,
    COLUMNS,
    answer,
    drawings,
    method,
)
