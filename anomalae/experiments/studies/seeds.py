"""How much of a difference between two recipes is luck? Seeds of weights, splits, and the images that judge."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from anomalae import plots, text
from anomalae.datasets.dataset import Dataset
from anomalae.detectors.detector import Detector
from anomalae.evaluation.delong_covariance import delong_covariance
from anomalae.experiments.cells import Cell, Result
from anomalae.experiments.kept_cells import Outcome
from anomalae.experiments.studies.base import Column, Drawing, Row, Scope, Study, finished, mean
from anomalae.experiments.studies.recipes import (
    METHODS,
    NETWORKS_LINE,
    SMALL,
    described_problems,
    normal_classes,
)
from anomalae.experiments.studies.sample_size import POWER, seeds_needed
from anomalae.experiments.studies.trained import Problem, problem
from anomalae.settings import Settings

NAME = "seeds"
RECIPES = ("textbook AE", "default AE", "accurate preset")
QUICK_RECIPES = RECIPES[:2]
NORMAL = (8, 2, 5, 9)
# Seeds of weights on split 0, and splits with weights of seed 0. On MNIST a cell takes 35 CPU seconds: 4 classes and
# 19 cells each are 2,700 s.
SEEDS, QUICK_SEEDS = 10, 5
# The difference of ROC-AUC that one would like to see.
WANTED = 0.001
# Standard deviations that differ by a smaller share are as good as equal; of 10 values one is known to 24%.
ALIKE = 0.1
# Nobody trains more often.
MANY = 10_000
WEIGHTS, SPLITS = "weights", "splits"


def measure(dataset: Dataset, arguments: Mapping[str, Any]) -> Result:
    """Train each recipe on one split with one seed of weights, and judge all on the same images."""
    task = problem(dataset, {**arguments, "seed": arguments["split"]})
    names = list(arguments["recipes"])
    scores = np.stack([_scores(task, arguments["recipes"][name], arguments["weights"]) for name in names])
    aucs, covariance = delong_covariance(scores, task.is_anomaly)
    roc_auc, judged_sd, pairs = {}, {}, {}
    for place, name in enumerate(names):
        roc_auc[name] = float(aucs[place])
        judged_sd[name] = math.sqrt(max(0.0, float(covariance[place, place])))
    for a, b in itertools.combinations(range(len(names)), 2):
        variance = covariance[a, a] + covariance[b, b] - 2 * covariance[a, b]
        pairs[f"{names[b]} - {names[a]}"] = math.sqrt(max(0.0, float(variance)))
    return Result({"roc_auc": roc_auc, "judged_sd": judged_sd, "pair_judged_sd": pairs})


def _scores(task: Problem, settings: Mapping[str, Any], seed: int) -> np.ndarray:
    """Scores of the judged images by weights of a seed that need not be the split's."""
    asked = Settings.of(**{**settings, "seed": seed})
    detector = Detector(device="cpu", threads=torch.get_num_threads(), **asked.to_dict())
    return detector.fit(task.train, task.held_out, task.calibration).score(task.judged.images)


def cells(scope: Scope) -> list[Cell]:
    """Seeds of weights on one split, and splits with one seed of weights, for each class."""
    count = QUICK_SEEDS if scope.quick else SEEDS
    names = QUICK_RECIPES if scope.quick else RECIPES
    recipes = {name: {**METHODS[name]["settings"], **(SMALL if scope.quick else {})} for name in names}
    pairs = [(0, weights) for weights in range(count)] + [(split, 0) for split in range(1, count)]
    return [
        scope.cell(measure, normal=normal, split=split, weights=weights, recipes=recipes)
        for normal in normal_classes(scope.dataset, NORMAL, scope.quick)
        for split, weights in pairs
    ]


def rows(outcomes: Sequence[Outcome]) -> list[Row]:
    """A row a recipe, and a row a pair of recipes: mean, and standard deviations by what is drawn anew."""
    done = finished(outcomes)
    names = list(dict.fromkeys(name for _, numbers in done for name in numbers["roc_auc"]))
    made = []
    for name in names:
        values = [(asked, numbers["roc_auc"][name]) for asked, numbers in done]
        judged = [numbers["judged_sd"][name] for _, numbers in done]
        made.append(_row(name, False, values, judged))
    for a, b in itertools.combinations(names, 2):
        pair = f"{b} - {a}"
        values = [(asked, numbers["roc_auc"][b] - numbers["roc_auc"][a]) for asked, numbers in done]
        judged = [numbers["pair_judged_sd"][pair] for _, numbers in done]
        made.append(_row(pair, True, values, judged))
    return made


def _row(
    name: str, is_pair: bool, values: Sequence[tuple[Mapping[str, Any], float]], judged: Sequence[float]
) -> Row:
    by_weights, by_splits = (_by_class(values, kind) for kind in (WEIGHTS, SPLITS))
    weights_sds, splits_sds = (
        {name: _sd(list(some.values())) for name, some in by_class.items()}
        for by_class in (by_weights, by_splits)
    )
    # They are compared: of classes that have both, where there is one.
    both = [name for name, sd in weights_sds.items() if sd is not None and splits_sds.get(name) is not None]
    row: Row = {
        "what": name,
        "is_pair": is_pair,
        "mean": mean([value for _, value in values]),
        "weights_sd": _root_mean_square([weights_sds[name] for name in both or weights_sds]),
        "splits_sd": _root_mean_square([splits_sds[name] for name in both or splits_sds]),
        "judged_sd": _root_mean_square(judged),
        "classes": len(by_weights),
        "weights_sd_of_mean": _sd_of_mean(by_weights),
        "splits_sd_of_mean": _sd_of_mean(by_splits),
    }
    spans = [max(some.values()) - min(some.values()) for some in by_weights.values() if len(some) > 1]
    row["weights_span"] = max(spans) if spans else None
    for key in ("weights", "splits"):
        row[f"seeds_{key}"] = seeds_needed(row[f"{key}_sd"], WANTED) if is_pair else None
        row[f"seeds_{key}_of_mean"] = seeds_needed(row[f"{key}_sd_of_mean"], WANTED) if is_pair else None
    return row


def _by_class(values: Sequence[tuple[Mapping[str, Any], float]], kind: str) -> dict[str, dict[int, float]]:
    """Values by class and by what is drawn anew, `weights` or `splits`, the other being 0."""
    drawn, kept = ("weights", "split") if kind == WEIGHTS else ("split", "weights")
    groups: dict[str, dict[int, float]] = {}
    for asked, value in values:
        if asked[kept] == 0:
            groups.setdefault(str(asked["normal"]), {})[asked[drawn]] = value
    return groups


def _sd(values: Sequence[float]) -> float | None:
    if len(values) < 2:
        return None
    sd = float(np.std(values, ddof=1))
    # Less is the rounding of equal values; one swapped pair of images makes more.
    return sd if sd > 1e-12 else 0.0


def _root_mean_square(values: Sequence[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return float(np.sqrt(np.mean(np.square(there)))) if there else None


def _sd_of_mean(groups: Mapping[str, Mapping[int, float]]) -> float | None:
    """Standard deviation of the mean over classes, over those seeds that every class has."""
    if not groups:
        return None
    shared = set.intersection(*(set(some) for some in groups.values()))
    return _sd([float(np.mean([some[seed] for some in groups.values()])) for seed in sorted(shared)])


COLUMNS = (
    Column("what", "recipe, or difference of two"),
    Column("mean", "ROC-AUC", 4),
    Column("weights_sd", "sd by seed", 5),
    Column("splits_sd", "sd by split", 5),
    Column("judged_sd", "sd by judged images (DeLong)", 5),
    Column("weights_sd_of_mean", "sd of the mean of classes, by seed", 5),
    Column("splits_sd_of_mean", "sd of the mean of classes, by split", 5),
    Column("seeds_weights", f"seeds to find {WANTED}"),
    Column("seeds_splits", f"splits to find {WANTED}"),
)


def answer(table: Sequence[Row]) -> tuple[str, ...]:
    """Say what another seed and another split change, set against DeLong's interval and against real differences."""
    recipes = [
        row
        for row in table
        if not row["is_pair"] and row["weights_sd"] is not None and row["splits_sd"] is not None
    ]
    pairs = [row for row in table if row["is_pair"] and row["weights_sd"] is not None]
    said = []
    if recipes:
        apart = [f"{1.96 * math.sqrt(2) * row['weights_sd']:.4f} ({row['what']})" for row in recipes]
        said.append(
            "Two trainings of one recipe on the same images that differ in the seed of the weights alone have, in 95% "
            f"of cases, ROC-AUCs less than {text.sentence(apart)} apart: a smaller difference between two recipes, "
            "trained once each, may be luck."
        )
        parts = [f"{row['weights_sd']:.5f} and {row['splits_sd']:.5f} ({row['what']})" for row in recipes]
        said.append(
            f"Another seed of the weights changes the ROC-AUC {_beside_splits(recipes)} another split of the images; "
            f"the standard deviations by seed and by split are {'; '.join(parts)}."
        )
        said.append(_judged(recipes))
    if pairs:
        said.append(_real(pairs))
        close = min(pairs, key=lambda row: abs(row["mean"]))
        said.append(_number(close))
    return tuple(said)


def _beside_splits(recipes: Sequence[Row]) -> str:
    """Whether seeds change less or more than splits, by recipe where they differ."""
    by_word: dict[str, list[str]] = {}
    for row in recipes:
        seeds, splits = row["weights_sd"], row["splits_sd"]
        alike = abs(seeds - splits) <= ALIKE * max(seeds, splits)
        word = "as much as" if alike else "less than" if seeds < splits else "more than"
        by_word.setdefault(word, []).append(row["what"])
    if len(by_word) == 1:
        return next(iter(by_word))
    return " and ".join(f"{word} ({text.listed(names)})" for word, names in by_word.items())


def _judged(recipes: Sequence[Row]) -> str:
    """How splits compare with the interval that the judged images alone give."""
    ratios = [
        row["judged_sd"] / row["splits_sd"]
        for row in recipes
        if row["splits_sd"] and row["judged_sd"] is not None
    ]
    parts = text.sentence(
        [f"{row['judged_sd']:.5f} ({row['what']})" for row in recipes if row["judged_sd"] is not None]
    )
    if not ratios:
        return f"DeLong's standard deviation, which is of the choice of the judged images alone, is {parts}."
    ratio = float(np.mean(ratios))
    verdict = (
        "so DeLong's interval covers about what another split changes"
        if 0.7 <= ratio <= 1.4
        else "so DeLong's interval covers less than what another split changes"
        if ratio < 0.7
        else "so DeLong's interval covers more than what another split of these same images changes"
    )
    return (
        f"DeLong's standard deviation, which is of the choice of the judged images alone, is {parts}: {ratio:.1f} "
        f"times that of splits on average, {verdict}."
    )


def _real(pairs: Sequence[Row]) -> str:
    """Which differences are beyond luck."""
    parts = []
    for row in pairs:
        luck = 1.96 * max(row["weights_sd"], row["splits_sd"] or 0.0)
        size = abs(row["mean"])
        share = f", {size / luck:.1f} times ±{luck:.4f}" if luck > 0 else ", with no luck in it"
        parts.append(f"{row['mean']:+.4f} ({row['what']}{share})")
    real = [abs(row["mean"]) > 1.96 * max(row["weights_sd"], row["splits_sd"] or 0.0) for row in pairs]
    head = (
        "One training of each tells these recipes apart"
        if all(real)
        else "One training of each does not tell these recipes apart"
        if not any(real)
        else "One training of each tells some of these recipes apart, not all"
    )
    return (
        f"{head}; mean differences of ROC-AUC, compared with the range in which 95% of single differences lie around "
        f"their mean: {'; '.join(parts)}."
    )


def _number(pair: Row) -> str:
    """How many seeds show the wanted difference."""
    line = (
        f"To find a difference of {WANTED} between recipes with the spread of {pair['what']} (with a power of "
        f"{POWER:.0%}) takes {_many(pair['seeds_weights'], 'seed')} of the weights on one split"
    )
    if pair["seeds_splits"] is not None:
        line += f", or {_many(pair['seeds_splits'], 'split')}"
    if pair["classes"] > 1 and pair["seeds_weights_of_mean"] is not None:
        line += f"; for the mean of {pair['classes']} classes {_many(pair['seeds_weights_of_mean'], 'seed')}"
        if pair["seeds_splits_of_mean"] is not None:
            line += f" or {_many(pair['seeds_splits_of_mean'], 'split')}"
    if pair["judged_sd"] is not None:
        reach = 1.96 * pair["judged_sd"]
        line += (
            f"; but the judged images of one problem are too few for it: their choice alone changes it by ±{reach:.4f}"
            if reach > WANTED
            else f"; the judged images of one problem are enough for it: their choice changes it by ±{reach:.4f}"
        )
    return line + "."


def _many(count: int, word: str) -> str:
    return text.plural(count, word) if count <= MANY else f"more than {text.plural(MANY, word)}"


def drawings(table: Sequence[Row], outcomes: Sequence[Outcome]) -> tuple[Drawing, ...]:
    """Every training as a point, the standard deviations, and the number of seeds against the difference to be seen."""
    made = []
    done = finished(outcomes)
    groups: dict[str, list[float]] = {}
    bands: dict[str, float] = {}
    for row in table:
        if row["is_pair"]:
            continue
        name = row["what"]
        values = [(asked, numbers["roc_auc"][name]) for asked, numbers in done if name in numbers["roc_auc"]]
        for kind in (WEIGHTS, SPLITS):
            points = [
                1000 * (value - float(np.mean(list(some.values()))))
                for some in _by_class(values, kind).values()
                for value in some.values()
            ]
            if points:
                groups[f"{name}, {kind}"] = points
                if row["judged_sd"] is not None:
                    bands[f"{name}, {kind}"] = 1960 * row["judged_sd"]
    if groups:
        made.append(
            Drawing(
                "trainings",
                "Every training: how far its ROC-AUC is from the mean of its class",
                "Each point is a training: with other seeds of the weights on one split, or on other splits with one "
                "seed. The bar is DeLong's 95% interval, which is of the judged images alone.",
                plots.dots(groups, bands, x="ROC-AUC less the mean, in thousandths"),
            )
        )
    sds = {
        row["what"]: {
            "weights": _thousandths(row["weights_sd"]),
            "splits": _thousandths(row["splits_sd"]),
            "judged images (DeLong)": _thousandths(row["judged_sd"]),
        }
        for row in table
    }
    made.append(
        Drawing(
            "sd",
            "Standard deviation of ROC-AUC, and of a difference, by its cause",
            "For one class: over seeds of the weights, over splits, and over the choice of the judged images. A name "
            "with a minus is the difference of two recipes that share split and seed.",
            plots.bars(sds, y="standard deviation of ROC-AUC, in thousandths"),
        )
    )
    wanted = [0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02]
    pairs = [row for row in table if row["is_pair"] and row["weights_sd"] is not None]
    close = min(pairs, key=lambda row: abs(row["mean"]), default=None)
    lines = {}
    for kind, words in ((WEIGHTS, "seeds of the weights"), (SPLITS, "splits")):
        if close is not None and close[f"{kind}_sd"]:
            counts = [seeds_needed(close[f"{kind}_sd"], difference) for difference in wanted]
            lines[words] = plots.Series([1000 * difference for difference in wanted], counts)
    if close is not None and lines:
        made.append(
            Drawing(
                "needed",
                f"How many trainings find a difference: {close['what']}",
                "For the two recipes whose ROC-AUCs are closest: trainings of each that find a difference of their "
                "means in one class with a probability of 80%, by a paired t-test at the 5% level.",
                plots.lines(
                    lines,
                    x="difference of ROC-AUC, in thousandths",
                    y="trainings of each recipe",
                    log_x=True,
                    log_y=True,
                ),
            )
        )
    return tuple(made)


def _thousandths(value: float | None) -> float | None:
    return None if value is None else 1000 * value


def method(scope: Scope) -> tuple[str, ...]:
    """What was trained and measured."""
    count = QUICK_SEEDS if scope.quick else SEEDS
    return (
        described_problems(normal_classes(scope.dataset, NORMAL, scope.quick)),
        NETWORKS_LINE + (" The networks are small (64 hidden units)." if scope.quick else ""),
        f"Trained with {count} seeds of weights (and of the order of images and the noise) on split 0, and on {count} "
        "splits with weights of seed 0; all recipes on each. A split decides which normal images are trained on and "
        "which judge, and which anomalies do.",
        "Judged on development images: held-out normals against up to 10,000 training images of the other classes. "
        "The test part is not used.",
        "Standard deviations are roots of the mean variance over the classes. That of a difference is of recipes that "
        "share split and seed, judged on the same images; DeLong's is by E. DeLong, D. DeLong and D. Clarke-Pearson, "
        f"Biometrics 44 (1988). A standard deviation of {count} values is itself known to about "
        f"{100 / math.sqrt(2 * (count - 1)):.0f}%, of one class.",
        f"Seeds to find {WANTED}: the least number at which a paired t-test at the 5% level finds such a difference "
        "with a probability of 80%.",
    )


STUDY = Study(
    NAME,
    "How much of a difference between two recipes is luck?",
    "Tables of methods often rest on one training each. Another seed gives other weights, another split other images. "
    "How far does the ROC-AUC move, is that within the interval one would print, and how many seeds show a small "
    "difference?",
    cells,
    rows,
    COLUMNS,
    answer,
    drawings,
    method,
)
