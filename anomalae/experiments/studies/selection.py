"""Can settings be chosen with no anomalies at all? Rules that see held-out normals only, against the true ROC-AUC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from anomalae import plots, text
from anomalae.datasets.dataset import Dataset
from anomalae.experiments.cells import Cell, Result
from anomalae.experiments.kept_cells import Outcome
from anomalae.experiments.studies.base import Column, Drawing, Row, Scope, Study, deviation, finished, mean
from anomalae.experiments.studies.choosing import DEFAULT, LOSS, SYNTHETIC, TOGETHER, of_problem
from anomalae.experiments.studies.selection_answer import answer
from anomalae.experiments.studies.synthetic import ALL, KINDS, anomalies, told_apart
from anomalae.experiments.studies.trained import judge, problem, squared_error

NAME = "selection"
SEEDS = (0,)
# In the quick version all classes but one of these are normal: one class of the bundled digits has too few images.
ANOMALOUS = (4, 8)
PIXELS: dict[str, Any] = {"views": ("pixels",)}
PLAIN: dict[str, Any] = {**PIXELS, "noise": 0.0, "score": "mse"}
# What there is to choose from, by name.
CANDIDATES: dict[str, dict[str, Any]] = {
    DEFAULT: {},
    "width 2": {"latent_dim": 2},
    "width 128": {"latent_dim": 128},
    "no noise": {"noise": 0.0},
    "noise 2": {"noise": 2.0},
    "few epochs": {"epochs": 3},
    "pixels": PIXELS,
    "edges": {"views": ("edges",)},
    "textbook AE": PLAIN,
    "textbook AE, width 2": {**PLAIN, "latent_dim": 2},
    "textbook AE, width 256": {**PLAIN, "latent_dim": 256},
    "VAE": {"model": "vae"},
    "VAE of pixels": {"model": "vae", **PIXELS},
}
QUICK = (
    DEFAULT,
    "width 2",
    "no noise",
    "pixels",
    "textbook AE",
    "textbook AE, width 2",
    "textbook AE, width 256",
    "VAE of pixels",
)
SHOWN = 8


def measure(dataset: Dataset, arguments: Mapping[str, Any]) -> Result:
    """Train one candidate; measure what the rules see, and the ROC-AUC that they should have seen."""
    task = problem(dataset, arguments)
    detector = task.fit(arguments["settings"])
    judged = judge(detector.score(task.judged.images), task.is_anomaly)
    apart = told_apart(detector.score, task.held_out, task.seed)
    numbers = {
        **judged,
        LOSS: squared_error(detector, task.held_out),
        SYNTHETIC: apart[ALL],
        **{kind: apart[kind] for kind in KINDS},
        "score": detector.settings.rule,
        "n_held_out": len(task.held_out),
    }
    some = task.held_out[:SHOWN]
    shown = [some, *(anomalies(some, kind, task.seed) for kind in KINDS)]
    return Result(numbers, {"shown": np.stack(shown)} if arguments["candidate"] == DEFAULT else {})


def cells(scope: Scope) -> list[Cell]:
    """All candidates on each class; quick: small networks on two problems of all classes but one."""
    classes = list(scope.dataset.classes)
    if scope.quick:
        out = [name for name in ANOMALOUS if name in classes] or classes[-2:]
        problems = {f"all but {name}": [other for other in classes if other != name] for name in out}
    else:
        problems = {str(name): [name] for name in classes[:10]}
    small = {"hidden": (64,), "epochs": 10} if scope.quick else {}
    # A cell on MNIST takes 15 (AE) to 50 seconds (VAE): 130 of them 45 minutes.
    return [
        scope.cell(
            measure,
            candidate=name,
            problem=problem_name,
            normal=normal,
            seed=seed,
            settings={**CANDIDATES[name], **small},
        )
        for problem_name, normal in problems.items()
        for seed in SEEDS
        for name in (QUICK if scope.quick else CANDIDATES)
    ]


def rows(outcomes: Sequence[Outcome]) -> list[Row]:
    """A row a rule: means over the problems; then a row a rule and problem."""
    problems: dict[tuple[str, int], dict[str, Mapping[str, Any]]] = {}
    for asked, numbers in finished(outcomes):
        problems.setdefault((asked["problem"], asked["seed"]), {})[asked["candidate"]] = numbers
    several = len({seed for _, seed in problems}) > 1
    single = [
        row
        for (name, seed), candidates in problems.items()
        if len(candidates) > 1
        for row in of_problem(f"{name}, seed {seed}" if several else name, candidates)
    ]
    together = []
    for rule in dict.fromkeys(row["rule"] for row in single):
        of_rule = [row for row in single if row["rule"] == rule]
        ranked = [row["spearman"] for row in of_rule if row["spearman"] is not None]
        # Of these alone is the mean correlation: elsewhere the rule gives no order.
        lost = [row["lost"] for row in of_rule]
        together.append(
            {
                "normal": TOGETHER,
                "rule": rule,
                "problems": len(of_rule),
                "ranked": len(ranked),
                "spearman": mean(ranked),
                "spearman_sd": deviation(ranked),
                "chosen": None,
                "roc_auc": mean([row["roc_auc"] for row in of_rule]),
                "best": None,
                "best_roc_auc": mean([row["best_roc_auc"] for row in of_rule]),
                "lost": mean(lost),
                "lost_most": max(lost),
            }
        )
    return [*together, *single]


COLUMNS = (
    Column("normal", "normal classes"),
    Column("rule", "chosen by"),
    Column("spearman", "rank correlation (Spearman)", 2),
    Column("spearman_sd", "±", 2),
    Column("chosen", "choice"),
    Column("roc_auc", "its ROC-AUC", 4),
    Column("best_roc_auc", "best ROC-AUC", 4),
    Column("lost", "ROC-AUC lost", 4),
    Column("lost_most", "most lost", 4),
)


def drawings(table: Sequence[Row], outcomes: Sequence[Outcome]) -> tuple[Drawing, ...]:
    """Rank correlation and loss a rule, what a rule sees against the truth, and the anomalies."""
    together = [row for row in table if row["normal"] == TOGETHER]
    ranked = [row for row in together if row["spearman"] is not None]
    made = []
    if ranked:
        made.append(
            Drawing(
                "spearman",
                "How well each rule ranks the settings",
                "Spearman's rank correlation of the rule with the true ROC-AUC: mean over the problems and standard "
                "deviation. 1: the same order, 0: none, -1: the reverse.",
                plots.bars(
                    {row["rule"]: {"Spearman": row["spearman"]} for row in ranked},
                    y="Spearman's rank correlation with the true ROC-AUC",
                    spreads={row["rule"]: {"Spearman": row["spearman_sd"]} for row in ranked},
                ),
            )
        )
    if together:
        made.append(
            Drawing(
                "lost",
                "What choosing by a rule costs",
                "Best ROC-AUC among the settings less that of the settings a rule chooses: mean over the problems, and "
                "the worst of them.",
                plots.bars(
                    {
                        row["rule"]: {"mean": row["lost"], "worst problem": row["lost_most"]}
                        for row in together
                    },
                    y="ROC-AUC lost",
                ),
            )
        )
    made += _scatter(outcomes)
    shown = next(
        (outcome.result.arrays["shown"] for outcome in outcomes if outcome.result and outcome.result.arrays),
        None,
    )
    if shown is not None:
        made.append(
            Drawing(
                "synthetic",
                "Synthetic anomalies",
                "Held-out normal images, and the anomalies made of them.",
                plots.film(dict(zip(("held out", *KINDS), shown, strict=True))),
            )
        )
    return tuple(made)


def _scatter(outcomes: Sequence[Outcome]) -> list[Drawing]:
    """Means over the problems of what the rule sees and of the true ROC-AUC, a point a candidate."""
    by_candidate: dict[str, list[Mapping[str, Any]]] = {}
    for asked, numbers in finished(outcomes):
        by_candidate.setdefault(asked["candidate"], []).append(numbers)
    if not by_candidate:
        return []
    # Means over fewer problems lie elsewhere by these problems alone.
    most = max(map(len, by_candidate.values()))
    points = {
        name: ([mean([n[SYNTHETIC] for n in some])], [mean([n["roc_auc"] for n in some])])
        for name, some in by_candidate.items()
        if len(some) == most
    }
    return [
        Drawing(
            "rule-and-truth",
            "What the rule sees, and the truth",
            "Each point is one of the settings, the mean over the problems. A good rule puts them on a rising line.",
            plots.points(points, x="ROC-AUC against synthetic anomalies", y="true ROC-AUC"),
        )
    ]


def method(scope: Scope) -> tuple[str, ...]:
    """What was trained, and what the rules see."""
    if scope.quick:
        trained = (
            "Two problems of the data set, in each all classes but one are normal; networks of one hidden layer of 64, "
            "10 epochs, seed 0."
        )
    else:
        trained = (
            f"Each class is normal in turn, default epochs unless said otherwise; seed {text.listed(SEEDS)}."
        )
    names = [f'"{name}"' for name in (QUICK if scope.quick else CANDIDATES)]
    return (
        trained,
        f"The settings: {', '.join(names)}. What is not named is as in the default AE (settled images, width 16, noise "
        "1, judged by bent); a textbook AE has pixels, no noise and MSE; a VAE judges by its ELBO.",
        "A rule sees held-out normal images alone. Synthetic anomalies are made of these: a piece of stroke is rubbed "
        "out, a bent stroke added, halves of two images are joined, two patches change places; the rule is the ROC-AUC "
        "of the held-out images against them, by the score the settings judge by. Held-out MSE is that of the "
        "reconstruction in the network's own view.",
        "The true ROC-AUC is that of held-out normals against up to 10,000 development images of other classes. The "
        "test part is not used. These held-out normals are the ones that the rules see: where they happen to score "
        "high or low, rule and truth move together, which flatters the correlation.",
    )


STUDY = Study(
    NAME,
    "Can settings be chosen with no anomalies at all?",
    "Who trains a detector has normal images, and seldom a labelled anomaly to choose settings by. Do anomalies made "
    "of normal images, or the loss of held-out ones, put settings in the order in which they will do?",
    cells,
    rows,
    COLUMNS,
    answer,
    drawings,
    method,
)
