"""Does it matter which loss is taken? Squared error, Bernoulli, smooth, direction: in training and in judging."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score

from anomalae import plots, text
from anomalae.datasets.dataset import Dataset
from anomalae.experiments.cells import Cell, Result
from anomalae.experiments.kept_cells import Outcome
from anomalae.experiments.studies import compared
from anomalae.experiments.studies.agreement import agreement, agreements
from anomalae.experiments.studies.base import Column, Drawing, Row, Scope, Study, deviation, finished, mean
from anomalae.experiments.studies.compared import left_out, note_missing, place_of, whole
from anomalae.experiments.studies.recipes import (
    SMALL,
    by_key,
    described_problems,
    highest,
    lowest,
    normal_classes,
)
from anomalae.experiments.studies.trained import judge, problem

NAME = "loss"
# By name: settings of a network, and the score that is its own loss.
LOSSES: dict[str, tuple[dict[str, Any], str]] = {
    "AE, squared error": ({"model": "ae", "noise": 0.0, "score": "mse"}, "mse"),
    "VAE, Gaussian": ({"model": "vae", "likelihood": "gaussian"}, "elbo"),
    "VAE, Bernoulli": ({"model": "vae", "likelihood": "bernoulli"}, "elbo"),
    "VAE, smooth": ({"model": "vae", "likelihood": "smooth-gaussian"}, "elbo"),
    "VAE, direction": ({"model": "vae", "likelihood": "smooth-direction"}, "elbo"),
}
PLAIN, GAUSSIAN, BERNOULLI = "AE, squared error", "VAE, Gaussian", "VAE, Bernoulli"
# Scores that every network has: they compare image and reconstruction.
ERRORS = ("mse", "relative", "smooth", "bent", "worst-place")
OWN, EXCESS = "elbo", "elbo-excess"
# On MNIST the five networks of a class and seed take 140 CPU seconds: 10 classes and 2 seeds 2,800 s.
NORMAL = tuple(range(10))
SEEDS, QUICK_SEEDS = (0, 1), (0,)
# A difference of ROC-AUC below that is none that matters here.
EQUAL = 0.002
FILM = 8


def measure(dataset: Dataset, arguments: Mapping[str, Any]) -> Result:
    """Train one network; judge it by its own loss and by all errors, and rank normal images that it has not seen."""
    task = problem(dataset, arguments)
    detector = task.fit(arguments["settings"])
    rules = [rule for rule in (OWN, EXCESS, *ERRORS) if rule in detector.rules]
    by_rule = detector.score_all(task.judged.images)
    unseen = np.concatenate([task.held_out, task.calibration])
    of_unseen = detector.score_all(unseen)
    values = unseen.astype(np.float64) / 255
    ink, gray = values.mean((1, 2)), (values * (1 - values)).mean((1, 2))
    numbers: dict[str, Any] = {"by_rule": {}}
    for rule in rules:
        numbers["by_rule"][rule] = {
            **judge(by_rule[rule], task.is_anomaly),
            "by_class": class_aucs(by_rule[rule], task.judged.labels, task.is_anomaly),
            "ink": agreement(of_unseen[rule], ink),
            "gray": agreement(of_unseen[rule], gray),
        }
    arrays = {f"ranks {rule}": rankdata(of_unseen[rule]).astype(np.float32) for rule in rules}
    if arguments["shown"]:
        shown = [OWN] if OWN in rules else list(ERRORS)
        for rule in shown:
            arrays[f"film {rule}"] = unseen[np.argsort(-of_unseen[rule], kind="stable")[:FILM]]
    return Result(numbers, arrays)


def class_aucs(scores: np.ndarray, labels: np.ndarray, is_anomaly: np.ndarray) -> dict[str, float]:
    """Return the ROC-AUC of each anomalous class against all normal images, by its name."""
    return {
        str(name): float(roc_auc_score(is_anomaly[chosen := ~is_anomaly | (labels == name)], scores[chosen]))
        for name in np.unique(labels[is_anomaly])
    }


def cells(scope: Scope) -> list[Cell]:
    """Every loss, each class normal."""
    problems = normal_classes(scope.dataset, NORMAL, scope.quick)
    seeds = QUICK_SEEDS if scope.quick else SEEDS
    return [
        scope.cell(
            measure,
            loss=name,
            normal=normal,
            seed=seed,
            settings={**settings, "views": ("pixels",), **(SMALL if scope.quick else {})},
            shown=normal == problems[0] and seed == seeds[0],
        )
        for normal in problems
        for seed in seeds
        for name, (settings, _) in LOSSES.items()
    ]


def rows(outcomes: Sequence[Outcome]) -> list[Row]:
    """A row a loss and a score: means over classes and seeds."""
    made, places = [], []
    agreeing = agreements(outcomes)
    for loss, some in by_key(finished(outcomes), lambda asked: asked["loss"]).items():
        for rule in some[0][1]["by_rule"]:
            of_rule = [numbers["by_rule"][rule] for _, numbers in some]
            aucs = [numbers["roc_auc"] for numbers in of_rule]
            row: Row = {"loss": loss, "score": rule, "own": rule == LOSSES[loss][1], "trainings": len(some)}
            row |= {"roc_auc": mean(aucs), "roc_auc_sd": deviation(aucs)}
            for at, end in enumerate(("low", "high")):
                row[f"roc_auc_{end}"] = mean([numbers["interval"][at] for numbers in of_rule])
            by_class: dict[str, list[float]] = {}
            for numbers in of_rule:
                for name, value in numbers["by_class"].items():
                    by_class.setdefault(name, []).append(value)
            means = {name: float(np.mean(by_class[name])) for name in sorted(by_class)}
            row["hardest"] = min(means, key=lambda name: means[name])
            row["roc_auc_hardest"] = means[row["hardest"]]
            row["ink"], row["gray"] = (mean([n[key] for n in of_rule]) for key in ("ink", "gray"))
            row["agrees"] = agreeing.get(((PLAIN, "mse"), (loss, rule)))
            row |= {f"roc_auc of class {name}": value for name, value in means.items()}
            made.append(row)
            places.append({place_of(asked) for asked, _ in some})
    note_missing(made, places)
    return made


COLUMNS = (
    Column("loss", "trained on"),
    Column("score", "judged by"),
    Column("roc_auc", "ROC-AUC", 4),
    Column("roc_auc_low", "95% from (mean)", 4),
    Column("roc_auc_high", "95% to (mean)", 4),
    Column("hardest", "hardest class"),
    Column("roc_auc_hardest", "its ROC-AUC", 4),
    Column("agrees", "correlation with MSE of AE", 2),
    Column("ink", "with ink", 2),
    Column("gray", "with grey", 2),
    compared.COLUMN,
)


def answer(table: Sequence[Row]) -> tuple[str, ...]:
    """Say which loss is best, whether training or judging by it matters, and what each calls anomalous."""
    beside = left_out(table, lambda row: str(row["loss"]))
    table = whole(table)
    own = [row for row in table if row["own"] and row["roc_auc"] is not None]
    said = []
    ranked = sorted(own, key=lambda row: -row["roc_auc"])
    if len(ranked) > 1:
        apart = ranked[0]["roc_auc"] - ranked[-1]["roc_auc"]
        parts = text.sentence([f"{row['roc_auc']:.4f} ({row['loss']})" for row in ranked])
        said.append(
            f"{'Yes' if apart > EQUAL else 'No'}: networks judged by the loss that they were trained on have a mean "
            f"ROC-AUC of {parts}."
        )
    said += _bernoulli({row["loss"]: row for row in own}, table)
    said += _training_or_judging(table)
    said += _what_it_calls(own)
    said += _alike(table)
    best = highest(table, "roc_auc")
    if best is not None:
        said.append(
            f"The best pair of loss and score is {_judged(best)}, with a mean ROC-AUC of {best['roc_auc']:.4f}; the "
            f"anomalous class that it detects worst is {best['hardest']} ({best['roc_auc_hardest']:.4f})."
        )
    return (*said, *beside)


def _bernoulli(own: Mapping[str, Row], table: Sequence[Row]) -> list[str]:
    """Squared error against Bernoulli."""
    gaussian, bernoulli = own.get(GAUSSIAN), own.get(BERNOULLI)
    if gaussian is None or bernoulli is None:
        return []
    apart = bernoulli["roc_auc"] - gaussian["roc_auc"]
    word = "better than" if apart > EQUAL else "worse than" if apart < -EQUAL else "as good as"
    line = (
        f"For a VAE, a Bernoulli likelihood is {word} a Gaussian one, which is the squared error with a learned sigma: "
        f"ROC-AUC {bernoulli['roc_auc']:.4f} against {gaussian['roc_auc']:.4f}"
    )
    excess = next((row for row in table if (row["loss"], row["score"]) == (BERNOULLI, EXCESS)), None)
    if excess is not None and excess["roc_auc"] is not None:
        change = excess["roc_auc"] - bernoulli["roc_auc"]
        verb = "raises" if change > EQUAL else "lowers" if change < -EQUAL else "hardly changes"
        line += (
            "; subtracting what the grey pixels of an image cost even a perfect reconstruction (elbo-excess) "
            f"{verb} that of Bernoulli, to {excess['roc_auc']:.4f}"
        )
    return [line + "."]


def _training_or_judging(table: Sequence[Row]) -> list[str]:
    """Whether networks or scores differ more, over the errors that all have."""
    shared = {(row["loss"], row["score"]): row["roc_auc"] for row in table if row["score"] in ERRORS}
    losses, scores = (list(dict.fromkeys(pair[at] for pair in shared)) for at in (0, 1))
    if len(losses) < 2 or len(scores) < 2 or len(shared) < len(losses) * len(scores):
        return []
    values = np.array([[shared[loss, score] for score in scores] for loss in losses])
    by_training = float(np.mean(values.max(0) - values.min(0)))
    by_judging = float(np.mean(values.max(1) - values.min(1)))
    more = (
        "matters more than"
        if by_judging > by_training + EQUAL
        else "matters less than"
        if by_judging < by_training - EQUAL
        else "matters as much as"
    )
    return [
        f"The score that judges {more} the loss that was trained on: between the best and the worst score of a network "
        f"lie {by_judging:.4f} of ROC-AUC on average, between the best and the worst network by one score "
        f"{by_training:.4f}."
    ]


def _what_it_calls(own: Sequence[Row]) -> list[str]:
    """How far ink decides which normal images look anomalous, and whether much or little of it does."""
    ranked = sorted((row for row in own if row["ink"] is not None), key=lambda row: -abs(row["ink"]))
    if len(ranked) < 2:
        return []
    most, least = ranked[0], ranked[-1]
    strength = abs(most["ink"])
    word = "much" if strength > 0.5 else "somewhat" if strength > 0.2 else "hardly"
    sign = f": the {'more' if most['ink'] > 0 else 'less'} ink, the more anomalous" if strength > 0.2 else ""
    return [
        f"Among unseen normal images the score depends {word} on the amount of ink: most for {most['loss']} (rank "
        f"correlation {most['ink']:+.2f}{sign}), least for {least['loss']} ({least['ink']:+.2f})."
    ]


def _alike(table: Sequence[Row]) -> list[str]:
    """Which way of judging ranks normal images least like the plain squared error."""
    others = [row for row in table if (row["loss"], row["score"]) != (PLAIN, "mse")]
    others = [row for row in others if row["own"] or row["loss"] == PLAIN]
    near, far = highest(others, "agrees"), lowest(others, "agrees")
    if near is None or far is None or near is far:
        return []
    word = (
        "about the same" if far["agrees"] > 0.8 else "partly the same" if far["agrees"] > 0.4 else "different"
    )
    return [
        f"They find {word} normal images anomalous: the scores of the AE by MSE agree most with those of "
        f"{_judged(near)} (rank correlation {near['agrees']:.2f}), least with those of {_judged(far)} "
        f"({far['agrees']:.2f})."
    ]


def _judged(row: Row) -> str:
    return f"{row['loss']}, judged by {row['score']}"


def drawings(table: Sequence[Row], outcomes: Sequence[Outcome]) -> tuple[Drawing, ...]:
    """ROC-AUC of losses by scores and by anomalous class, the most anomalous normal images, and rank correlations."""
    losses = list(dict.fromkeys(row["loss"] for row in table))
    values = {
        (row["loss"], "own loss" if row["score"] == OWN else row["score"]): row["roc_auc"] for row in table
    }
    # That of the AE is its MSE.
    values |= {(row["loss"], "own loss"): row["roc_auc"] for row in table if row["own"]}
    scores = ["own loss", EXCESS, *ERRORS]
    scores = [score for score in scores if any((loss, score) in values for loss in losses)]
    made = [
        Drawing(
            "roc-auc",
            "ROC-AUC: trained on, and judged by",
            "Mean over classes and seeds. The own loss of a VAE is its ELBO, that of the AE its MSE.",
            plots.matrix(
                [[_or_nan(values.get((loss, score))) for score in scores] for loss in losses],
                losses,
                scores,
                row_label="trained on",
                column_label="judged by",
            ),
        )
    ]
    ways = [row for row in table if row["own"] or row["loss"] == PLAIN]
    names = [_way(row["loss"], row["score"]) for row in ways]
    prefix = "roc_auc of class "
    classes = list(dict.fromkeys(key for row in ways for key in row if key.startswith(prefix)))
    if classes and len(classes) <= MOST_CLASSES:
        made.append(
            Drawing(
                "classes",
                "ROC-AUC of each anomalous class",
                "Mean over the normal classes and seeds. The VAEs are judged by their ELBO.",
                plots.matrix(
                    [[_or_nan(row.get(key)) for key in classes] for row in ways],
                    names,
                    [key.removeprefix(prefix) for key in classes],
                    row_label="trained on: judged by",
                ),
            )
        )
    film: dict[str, np.ndarray] = {}
    for outcome in outcomes:
        if outcome.result is not None:
            for name, images in outcome.result.arrays.items():
                if name.startswith("film "):
                    film[_way(outcome.cell.arguments["loss"], name.removeprefix("film "))] = images
    if film:
        made.append(
            Drawing(
                "film",
                "The most anomalous normal images",
                "Of normal images that were not trained on, those with the highest scores, highest first.",
                plots.film(film),
                wide=True,
            )
        )
    agreeing = agreements(outcomes)
    pairs = [(row["loss"], row["score"]) for row in ways]
    table_of_ranks = [[_or_nan(agreeing.get((one, other))) for other in pairs] for one in pairs]
    if np.isfinite(table_of_ranks).any():
        made.append(
            Drawing(
                "ranks",
                "How far they agree on normal images",
                "Spearman's rank correlation of the scores of normal images that were not trained on.",
                plots.matrix(
                    table_of_ranks,
                    names,
                    [str(number + 1) for number in range(len(names))],
                    row_label="trained on: judged by",
                    column_label="the same, in this order",
                    number="rank correlation",
                ),
            )
        )
    return tuple(made)


# More make the figure's columns too narrow.
MOST_CLASSES = 40


def _way(loss: str, score: str) -> str:
    return f"AE: {score}" if loss == PLAIN else f"{loss}"


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value


def method(scope: Scope) -> tuple[str, ...]:
    """What was trained and measured."""
    seeds = QUICK_SEEDS if scope.quick else SEEDS
    return (
        f"{described_problems(normal_classes(scope.dataset, NORMAL, scope.quick))} Seed"
        f"{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))} of split and weights.",
        "All networks see pixels and have the default width and epochs"
        + (", and 64 hidden units." if scope.quick else "."),
        "The AE, without noise, is trained on squared error. The VAEs have a Gaussian likelihood of one learned sigma, "
        "a Bernoulli one, a Gaussian one of blurred differences (smooth), and one of the direction of the blurred "
        "image alone (direction), and are judged by their ELBO.",
        "Scores: mse is the squared error of the reconstruction, relative divides it by the sum of the squared pixels, "
        "smooth compares the directions of both images after a blur, bent weighs the error by how far both differ even "
        "if either may bend, worst-place is the error where it is largest.",
        "The 95% interval is the mean of DeLong's over classes and seeds: no interval of the mean.",
        "Judged on development images: held-out normals against up to 10,000 training images of the other classes. "
        "The test part is not used. Ranks and the film are of the held-out and the calibration images, none of them "
        "trained on.",
        "The last columns are Spearman's rank correlations of the score of those images: with the MSE of the AE; with "
        "the ink, the mean of the pixels x; and with the grey, the mean of x (1 - x), which is 0 for pixels of full "
        "ink or none.",
    )


STUDY = Study(
    NAME,
    "Does it matter which loss is taken: squared error, Bernoulli, smooth, direction?",
    "Lectures train autoencoders on squared error, papers on Bernoulli likelihoods. Which tells anomalies better, does "
    "it matter in training or in judging, and do they find the same images anomalous?",
    cells,
    rows,
    COLUMNS,
    answer,
    drawings,
    method,
)
