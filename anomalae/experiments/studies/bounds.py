"""How far is the ELBO below log p(x), and why? Bounds by more and more samples against exact quadrature."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from anomalae import plots, text
from anomalae.arithmetic import computing
from anomalae.datasets.dataset import Dataset
from anomalae.experiments.cells import Cell, Result
from anomalae.experiments.kept_cells import Outcome
from anomalae.experiments.studies.base import Column, Drawing, Row, Scope, Study, deviation, finished, mean
from anomalae.experiments.studies.trained import judge, problem
from anomalae.models.gaussians import gaussian, kl_to_standard
from anomalae.models.likelihoods import LOG_2PI
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
# A first scan of the codes, out to REACH in each direction, finds where p(x | z) p(z) of any image is within NEGLIGIBLE
# nats of its highest: there the quadrature is made.
REACH, SCAN, NEGLIGIBLE = 20.0, 0.25, 60.0
# Points of z_2 over which a ladder's p(z_1) is integrated, and how far they reach.
UPPER_POINTS, UPPER_REACH = 241, 6.0
SIDES = ("normal", "anomalous")
# Nats by which a bound may lie above the exact value for the luck of its draws, and be no breach of the order.
LUCK = 0.05
# ROC-AUC below which two scores are as good as each other.
EQUAL = 0.002
SHOWN, WINDOW = 4, 64


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


def log_weights(network: Any, target: Tensor, inferred: Any, bank: Tensor) -> Tensor:
    """Return log p(x | z) p(z) / q(z | x) of each draw of a bank (K, width), and each image: float64 (K, N)."""
    terms = (network.log_terms(target, inferred, draw) for draw in bank)
    return torch.stack([part.likelihood + part.prior - part.posterior for part in terms])


def weighted_bound(weights: Tensor, samples: int) -> Tensor:
    """Return the bound with so many samples of each image, (N,), from log weights (K, N): the mean over all groups.

    The groups of fewer samples are parts of those of more, so that these bounds rise with the samples whatever the
    draws. With one sample it is the ELBO.
    """
    groups = weights.unflatten(0, (-1, samples))
    return (groups.logsumexp(1) - math.log(samples)).mean(0)


@dataclass(frozen=True, eq=False)
class Grid:
    """Points for a trapezoid rule over one or two latent units.

    axes: values of each unit, float64, equally far apart in all.
    """

    axes: tuple[Tensor, ...]

    @classmethod
    def over(cls, low: Tensor, high: Tensor, step: float) -> Grid:
        """Return the grid with this distance of points from low to high, (units,) each, and a little beyond."""
        ends = zip((low / step).floor().tolist(), (high / step).ceil().tolist(), strict=True)
        return cls(tuple(torch.arange(first, last + 1, dtype=torch.float64) * step for first, last in ends))

    @property
    def log_area(self) -> float:
        """The logarithm of the area (or the length) that a point stands for."""
        return sum(math.log(float(axis[1] - axis[0])) for axis in self.axes)

    def blocks(self, size: int = 1024) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield all points in blocks: codes (M, units), and which of them lie on the grid twice as coarse, (M,)."""
        lengths = [len(axis) for axis in self.axes]
        for start in range(0, math.prod(lengths), size):
            place = torch.arange(start, min(start + size, math.prod(lengths)))
            at = torch.unravel_index(place, lengths)
            codes = torch.stack([axis[index] for axis, index in zip(self.axes, at, strict=True)], 1)
            yield codes, (torch.stack(at, 1) % 2 == 0).all(1)


@dataclass(frozen=True, eq=False)
class Integral:
    """What a quadrature gives, of each image.

    log_evidence: log p(x), (N,).
    coarser: the same by a grid twice as coarse.
    mode: the point of highest posterior density, (N, units).
    """

    log_evidence: Tensor
    coarser: Tensor
    mode: Tensor


def log_evidence(network: Any, target: Tensor, posterior: tuple[Tensor, Tensor], step: float) -> Integral:
    """Return log p(x) by a grid with this distance of points, laid where an image has any posterior density.

    posterior: mean and log variance that the network finds, (N, units) each; the grid holds them too.
    """
    means, log_variances = (part.double() for part in posterior)
    deviations = torch.exp(log_variances / 2)
    ends = torch.cat([means - 6 * deviations, means + 6 * deviations])
    low, high = ends.amin(0), ends.amax(0)
    whole = torch.full_like(low, REACH)
    scanned = list(Grid.over(-whole, whole, SCAN).blocks())
    joints = torch.cat([log_joint(network, target, codes) for codes, _ in scanned], 1)
    counts = (joints > joints.amax(1, keepdim=True) - NEGLIGIBLE).any(0)
    there = torch.cat([codes for codes, _ in scanned])[counts]
    low, high = torch.minimum(low, there.amin(0) - SCAN), torch.maximum(high, there.amax(0) + SCAN)
    return integrate(network, target, Grid.over(low, high, step))


def integrate(network: Any, target: Tensor, grid: Grid) -> Integral:
    """Return log p(x) = log of the integral of p(x | z) p(z) over the codes that are decoded, by this grid."""
    n, units = len(target), len(grid.axes)
    sums = {fine: torch.full((n,), -math.inf, dtype=torch.float64) for fine in (True, False)}
    highest, mode = sums[True].clone(), torch.zeros(n, units, dtype=torch.float64)
    for codes, is_coarse in grid.blocks():
        joint = log_joint(network, target, codes)
        sums[True] = torch.logaddexp(sums[True], joint.logsumexp(1))
        if is_coarse.any():
            sums[False] = torch.logaddexp(sums[False], joint[:, is_coarse].logsumexp(1))
        top, at = joint.max(1)
        mode[top > highest] = codes[at[top > highest]]
        highest = torch.maximum(highest, top)
    area = grid.log_area
    return Integral(sums[True] + area, sums[False] + area + units * math.log(2), mode)


def log_joint(network: Any, target: Tensor, codes: Tensor) -> Tensor:
    """Return log p(x | z) p(z) of each image and each of the codes (M, units): float64 (N, M)."""
    return log_likelihoods(network, target, codes) + log_prior(network, codes)


def log_likelihoods(network: Any, target: Tensor, codes: Tensor) -> Tensor:
    """Return log p(x | z) of a Gaussian likelihood, of each image and each of the codes (M, units): float64 (N, M)."""
    x, y = target.flatten(1).double(), torch.sigmoid(network.logits(codes.float())).double()
    square = x.square().sum(1)[:, None] - 2 * x @ y.T + y.square().sum(1)
    log_sigma = network.likelihood.log_sigma.double()
    return -square / (2 * torch.exp(2 * log_sigma)) - x.shape[1] * (log_sigma + LOG_2PI / 2)


def log_prior(network: Any, codes: Tensor) -> Tensor:
    """Return log p(z) of the codes that are decoded, (M, units) -> (M,).

    It is a standard normal, but of a ladder a mixture: the integral of p(z_1 | z_2) p(z_2) over its one z_2.
    """
    half = codes.shape[1] / 2 * LOG_2PI
    if len(getattr(network, "latent_dims", ())) < 2:
        return -codes.square().sum(1) / 2 - half
    upper = torch.linspace(-UPPER_REACH, UPPER_REACH, UPPER_POINTS, dtype=torch.float64)
    means, log_variances = (part.double() for part in gaussian(network.priors[0](upper[:, None].float())))
    precisions = torch.exp(-log_variances)
    square = codes.square() @ precisions.T - 2 * codes @ (means * precisions).T
    constant = (means.square() * precisions + log_variances).sum(1) + upper.square() + LOG_2PI
    step = math.log(float(upper[1] - upper[0]))
    return torch.logsumexp(-(square + constant) / 2, 1) + step - half


def best_gaussians(
    network: Any, target: Tensor, inferred: tuple[Tensor, Tensor], modes: Tensor, steps: int
) -> tuple[Tensor, Tensor]:
    """Return mean and log variance of the diagonal Gaussian with the best ELBO, of each image, (N, units) each.

    Sought by Adam from where the encoder puts it, and from the mode of the exact posterior; the expectation is a sum
    over Gauss-Hermite nodes. The encoder's own stays where neither is better.
    """
    nodes, shares = hermite(modes.shape[1])
    best, highest = inferred, node_bound(network, target, inferred, nodes, shares)
    for start in (inferred[0], modes.float()):
        tried = _climbed(network, target, (start, inferred[1]), nodes, shares, steps)
        reached = node_bound(network, target, tried, nodes, shares)
        better = (reached > highest)[:, None]
        best = (torch.where(better, tried[0], best[0]), torch.where(better, tried[1], best[1]))
        highest = torch.maximum(highest, reached)
    return best


def hermite(units: int) -> tuple[Tensor, Tensor]:
    """Return nodes (M, units) and weights (M,) by which expectations under a standard normal are taken."""
    at, weight = np.polynomial.hermite_e.hermegauss(16 if units == 1 else 6)
    nodes = np.stack(np.meshgrid(*[at] * units, indexing="ij"), -1).reshape(-1, units)
    weights = np.prod(np.stack(np.meshgrid(*[weight] * units, indexing="ij"), -1).reshape(-1, units), 1)
    return torch.from_numpy(nodes.astype(np.float32)), torch.from_numpy(
        (weights / weights.sum()).astype(np.float32)
    )


def node_bound(
    network: Any, target: Tensor, posterior: tuple[Tensor, Tensor], nodes: Tensor, shares: Tensor
) -> Tensor:
    """Return the ELBO (N,) of Gaussian posteriors by nodes and their shares."""
    means, log_variances = posterior
    codes = means[:, None] + torch.exp(log_variances / 2)[:, None] * nodes
    logits = network.logits(codes.flatten(0, 1)).unflatten(0, codes.shape[:2])
    expected = network.likelihood(target.flatten(1)[:, None], logits) @ shares
    return expected - kl_to_standard(means, log_variances)


def _climbed(
    network: Any,
    target: Tensor,
    start: tuple[Tensor, Tensor],
    nodes: Tensor,
    shares: Tensor,
    steps: int,
) -> tuple[Tensor, Tensor]:
    """Climb from a start: by Adam, whose steps are in units of the start's deviations, ever shorter."""
    means, log_variances = start
    shift, widening = (torch.zeros_like(means, requires_grad=True) for _ in range(2))

    def posterior() -> tuple[Tensor, Tensor]:
        return means + torch.exp(log_variances / 2) * shift, log_variances + widening

    optimiser = torch.optim.Adam([shift, widening], lr=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    with torch.enable_grad():
        for _ in range(steps):
            loss = -node_bound(network, target, posterior(), nodes, shares).sum()
            shift.grad, widening.grad = torch.autograd.grad(loss, [shift, widening])
            optimiser.step()
            schedule.step()
    return tuple(part.detach() for part in posterior())  # type: ignore[return-value]


def pictures(
    network: Any, target: Tensor, inferred: tuple[Tensor, Tensor], best: tuple[Tensor, Tensor]
) -> dict[str, np.ndarray]:
    """Return exact posteriors of some images in a window around them, with the two Gaussians, of two units.

    posterior: density over its highest, (n, WINDOW, WINDOW), the second unit upwards.
    window: left, right, bottom, top, (n, 4).
    encoder, best: means and deviations, (n, 4) each.
    image: (n, 28, 28).
    """
    posteriors, windows = [], []
    gaussians = [
        torch.cat([means, torch.exp(log_variances / 2)], 1)[: len(target)].double()
        for means, log_variances in (inferred, best)
    ]
    for place in range(len(target)):
        centres = torch.stack([of_all[place, :2] for of_all in gaussians])
        deviations = torch.stack([of_all[place, 2:] for of_all in gaussians])
        low, high = (centres - 4 * deviations).amin(0), (centres + 4 * deviations).amax(0)
        middle, half = (low + high) / 2, float((high - low).max()) / 2
        axis = torch.linspace(-half, half, WINDOW, dtype=torch.float64)
        second, first = torch.meshgrid(axis, axis, indexing="ij")
        codes = torch.stack([first.flatten(), second.flatten()], 1) + middle
        joint = log_joint(network, target[place : place + 1], codes)[0]
        posteriors.append(torch.exp(joint - joint.max()).reshape(WINDOW, WINDOW))
        left, bottom = (middle - half).tolist()
        windows.append([left, left + 2 * half, bottom, bottom + 2 * half])
    return {
        "posterior": torch.stack(posteriors).float().numpy(),
        "window": np.array(windows, np.float32),
        "encoder": gaussians[0].float().numpy(),
        "best": gaussians[1].float().numpy(),
        "image": (target[:, 0] * 255).round().to(torch.uint8).numpy(),
    }


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
        samples = trainings[0][0]["samples"]
        row: Row = {
            "normal_classes": kind,
            "model": model,
            "width": width,
            "networks": len(trainings),
            "samples": samples[-1],
        }
        for side, suffix in zip(SIDES, ("", "_anomalous"), strict=True):
            of_side = [numbers[side] for _, numbers in trainings]
            means = {name: mean([values[name] for values in of_side]) for name in of_side[0]}
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
    Column("elbo", "ELBO", 2),
    Column(f"iwae_{FEW}", f"IWAE-{FEW}", 2),
    Column("highest", "IWAE, most samples", 2),
    Column("exact", "log p(x)", 2),
    Column("approximation", "approximation gap", 2),
    Column("amortisation", "amortisation gap", 2),
    Column("roc_auc_elbo", "ROC-AUC, ELBO", 4),
    Column("roc_auc_tightest", "ROC-AUC, tightest", 4),
)


def answer(table: Sequence[Row]) -> tuple[str, ...]:
    """Say how far the ELBO is below log p(x), what the gap is made of, what samples buy, and whether it matters."""
    exact = [row for row in table if row["gap"] is not None]
    said = [
        *_gap(exact),
        *_parts(exact),
        *_samples(table),
        *_order(exact),
        *_others(table),
        *_detection(table),
    ]
    return tuple(said)


def called(row: Row) -> str:
    """Return a row's model in words.

    >>> called({"model": "VAE", "width": 1})
    'VAE of 1 unit'
    """
    return f"{row['model']} of {text.plural(row['width'], 'unit')}"


def _gap(exact: Sequence[Row]) -> list[str]:
    if not exact:
        return ["No network has an exact log p(x), so how far the ELBO lies below it is not known."]
    widest = max(exact, key=lambda row: row["gap"])
    least = min(exact, key=lambda row: row["gap"])
    if widest is least:
        said = f"The ELBO lies {widest['gap']:.2f} nats an image below the exact log p(x) ({called(widest)})"
    else:
        said = (
            f"The ELBO lies {least['gap']:.2f} ({called(least)}) to {widest['gap']:.2f} nats ({called(widest)}) an "
            "image below the exact log p(x)"
        )
    pairs = [(row["gap"], row["gap_anomalous"]) for row in exact if row["gap_anomalous"] is not None]
    if not pairs:
        return [f"{said}."]
    larger = sum(anomalous > normal for normal, anomalous in pairs)
    low, high = min(pair[1] for pair in pairs), max(pair[1] for pair in pairs)
    reach = f"{low:.2f}" if len(pairs) == 1 else f"{low:.2f} to {high:.2f}"
    how = {len(pairs): "more", 0: "no more"}.get(larger, f"more in {larger} of {len(pairs)} rows")
    return [f"{said}; on anomalies {reach} nats, {how}."]


def _parts(exact: Sequence[Row]) -> list[str]:
    split = [row for row in exact if row["approximation"] is not None and row["amortisation"] is not None]
    if not split:
        return []
    shares = {
        called(row) + (f", {row['normal_classes']} normal" if _several(split) else ""): (
            row["amortisation"],
            row["approximation"],
        )
        for row in split
    }
    by_encoder = sum(amortised > approximated for amortised, approximated in shares.values())
    if by_encoder == len(shares):
        lead = "Most of the gap is amortisation: the encoder misses the best Gaussian"
    elif by_encoder == 0:
        lead = "Most of the gap is approximation: no Gaussian fits the posterior"
    else:
        lead = (
            f"The larger part is amortisation (the encoder misses the best Gaussian) in {by_encoder} of {len(shares)} "
            "rows, and approximation (no Gaussian fits the posterior) in the others"
        )
    numbers = [
        f"{amortised:.2f} nats of amortisation and {approximated:.2f} of approximation ({name})"
        for name, (amortised, approximated) in shares.items()
    ]
    return [f"{lead}; {text.listed(numbers, '; ')}."]


def _several(some: Sequence[Row]) -> bool:
    return len({row["normal_classes"] for row in some}) > 1


def _samples(table: Sequence[Row]) -> list[str]:
    closed = [(row, (row["highest"] - row["elbo"]) / row["gap"]) for row in table if (row["gap"] or 0) > 0]
    said = []
    if closed:
        most, least = max(closed, key=lambda pair: pair[1]), min(closed, key=lambda pair: pair[1])
        span = f"{least[1]:.0%} ({called(least[0])})"
        span += f" to {most[1]:.0%} ({called(most[0])})" if most is not least else ""
        verdict = (
            "close the gap"
            if least[1] >= 0.95
            else "do not close the gap"
            if most[1] < 0.95
            else "close it in part"
        )
        said.append(f"{most[0]['samples']} samples (IWAE) {verdict}: they make up {span} of it")
    wide = [row for row in table if row["exact"] is None and row["samples"] >= 4]
    if wide:
        gains = [
            f"{row['highest'] - row['elbo']:.1f} ({called(row)})" for row in wide if not _later(row, wide)
        ]
        last = min(row["highest"] - row[f"iwae_{row['samples'] // 4}"] for row in wide)
        still = "still rises" if last > LUCK else "hardly rises any more"
        said.append(
            f"where there is no exact value, {wide[0]['samples']} samples add {text.listed(gains)} nats to the ELBO, "
            f"which {still}: the last fourfold adds at least {last:.2f}"
        )
    return ["; ".join(said)[:1].upper() + "; ".join(said)[1:] + "."] if said else []


def _later(row: Row, some: Sequence[Row]) -> bool:
    """Whether the same model comes earlier, of another problem."""
    first = next(other for other in some if (other["model"], other["width"]) == (row["model"], row["width"]))
    return first is not row


def _order(exact: Sequence[Row]) -> list[str]:
    checked = [row for row in exact if row["above_exact"] is not None]
    if not checked:
        return []
    worst = max(checked, key=lambda row: row["above_exact"])
    if worst["above_exact"] <= LUCK:
        held = (
            f"ELBO <= IWAE <= log p(x) holds in all {len(checked)} rows"
            if len(checked) > 1
            else ("ELBO <= IWAE <= log p(x) holds")
        )
        return [f"{held}, as it must."]
    return [
        f"ELBO <= IWAE <= log p(x) is broken by {worst['above_exact']:.2f} nats ({called(worst)}): more than the luck "
        "of the draws explains."
    ]


def _others(table: Sequence[Row]) -> list[str]:
    said = []
    for model in ("ladder VAE", "ADGM"):
        pairs = [
            (row["gap"], plain["gap"])
            for row in table
            for plain in table
            if row["model"] == model
            and plain["model"] == "VAE"
            and all(row[key] == plain[key] for key in ("normal_classes", "width"))
            and row["gap"] is not None
            and plain["gap"] is not None
        ]
        if pairs:
            own, plain = (float(np.mean([pair[place] for pair in pairs])) for place in range(2))
            smaller = sum(first < second for first, second in pairs)
            word = {len(pairs): "narrower", 0: "no narrower"}.get(smaller, "narrower in some rows only")
            said.append(f"that of the {model} is {word} ({own:.2f} nats against {plain:.2f})")
    return [f"Beside the gap of a VAE of the same width, {text.listed(said, '; ')}."] if said else []


def _detection(table: Sequence[Row]) -> list[str]:
    judged = [
        (row["roc_auc_tightest"], row["roc_auc_elbo"])
        for row in table
        if row["roc_auc_tightest"] is not None and row["roc_auc_elbo"] is not None
    ]
    if not judged:
        return []
    better = sum(tight > elbo + EQUAL for tight, elbo in judged)
    worse = sum(tight < elbo - EQUAL for tight, elbo in judged)
    verdict = "better" if better > worse else "worse" if worse > better else "neither better nor worse"
    tight, elbo = (float(np.mean([pair[place] for pair in judged])) for place in range(2))
    return [
        f"As a detector the tighter value is {verdict} than the ELBO: ROC-AUC {tight:.4f} by log p(x), or by the most "
        f"samples, against {elbo:.4f} on average; better in {better} of {text.plural(len(judged), 'row')}, worse in "
        f"{worse}."
    ]


def drawings(table: Sequence[Row], outcomes: Sequence[Outcome]) -> tuple[Drawing, ...]:
    """What is left of the gap against samples, the gap's parts, and exact posteriors with the Gaussians for them."""
    made = []
    kind = table[0]["normal_classes"] if table else ""
    shown = [row for row in table if row["normal_classes"] == kind]
    left, gained = {}, {}
    for row in shown:
        samples = [int(key[5:]) for key in row if key.startswith("iwae_") and key[5:].isdigit()]
        if row["exact"] is not None:
            below = [less(row["exact"], row[f"iwae_{k}"]) for k in samples]
            left[called(row)] = plots.Series(
                samples, [v if v is not None and v > 1e-4 else None for v in below]
            )
        else:
            gained[called(row)] = plots.Series(
                samples, [less(row[f"iwae_{k}"], row["elbo"]) for k in samples]
            )
    classes = f"{kind} normal"
    if left:
        made.append(
            Drawing(
                "gap",
                f"Nats below the exact log p(x), {classes}",
                "Held-out normal images. With one sample the bound is the ELBO; both axes are logarithmic.",
                plots.lines(left, x="samples", y="nats below log p(x)", log_x=True, log_y=True),
            )
        )
    if gained:
        made.append(
            Drawing(
                "gain",
                f"What samples add to the ELBO of wider models, {classes}",
                "Held-out normal images; there is no exact value. A bound that still rises has not reached log p(x).",
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
                "Amortisation: from the encoder's Gaussian to the best one. Approximation: from that to log p(x).",
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
