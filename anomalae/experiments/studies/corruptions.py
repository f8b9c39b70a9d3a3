"""Which corruptions does a detector call anomalous, and which of its scores see them?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from anomalae import plots, text
from anomalae.datasets.dataset import Dataset
from anomalae.experiments.cells import Cell, Result
from anomalae.experiments.kept_cells import Outcome
from anomalae.experiments.studies import compared
from anomalae.experiments.studies.base import Column, Drawing, Row, Scope, Study, deviation, finished, mean
from anomalae.experiments.studies.compared import left_out, note_missing, place_of, whole
from anomalae.experiments.studies.corrupted import KINDS, SEVERITIES, corrupt
from anomalae.experiments.studies.trained import judge, problem
from anomalae.settings import DEFAULT_ALPHA

NAME = "corruptions"
SEEDS = (0, 1)
# In the quick version all classes but one of these are normal: one class of the bundled digits has too few images.
ANOMALOUS = (4, 8)
WORDS = dict(zip(SEVERITIES, ("mild", "medium", "strong"), strict=True))
MEDIUM, HARDEST = 2, 3
# By name: settings of the network, and scores; it judges by the first.
MODELS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "AE": ({"model": "ae"}, ("bent", "mse", "smooth", "nap")),
    "textbook": ({"model": "ae", "views": ("pixels",), "noise": 0.0, "score": "mse"}, ("mse", "sap", "nap")),
    "VAE": ({"model": "vae"}, ("elbo", "kl", "mse", "nap")),
}
TITLES = {"AE": "the default AE", "textbook": "the textbook AE", "VAE": "the VAE"}
CLEAN, OTHER = "none", "another class"
# A corruption is noticed where at least this share of images is flagged, and overlooked where at most that is.
NOTICED, OVERLOOKED = 0.5, 2 * DEFAULT_ALPHA
# A ROC-AUC below this: corrupted images look more normal than clean ones.
LOWER = 0.45
# Images of another class that are scored at most.
MOST_OTHERS = 2000


def measure(dataset: Dataset, arguments: Mapping[str, Any]) -> Result:
    """Train one network; score held-out images, the same corrupted in every way, and images of other classes."""
    task = problem(dataset, arguments)
    detector = task.fit(arguments["settings"])
    rules = arguments["rules"]
    limits = {rule: detector.threshold(DEFAULT_ALPHA, rule) for rule in rules}
    clean = detector.score_all(task.held_out)

    def measured(images: np.ndarray) -> dict[str, list[float | None]]:
        by_rule = detector.score_all(images)
        return {
            rule: [_share(by_rule[rule], limits[rule]), _apart(by_rule[rule], clean[rule])] for rule in rules
        }

    corrupted = {
        kind: [measured(corrupt(task.held_out, kind, severity, task.seed)) for severity in SEVERITIES]
        for kind in KINDS
    }
    others = task.judged.images[task.is_anomaly][:MOST_OTHERS]
    numbers = {
        "clean": {rule: [_share(clean[rule], limits[rule]), 0.5] for rule in rules},
        "corrupted": corrupted,
        "others": measured(others),
        "n_held_out": len(task.held_out),
    }
    first = task.held_out[:1]
    shown = {
        kind: np.concatenate([first, *(corrupt(first, kind, severity, task.seed) for severity in SEVERITIES)])
        for kind in KINDS
    }
    return Result(numbers, {"shown": np.stack(list(shown.values()))})


def _share(scores: np.ndarray, limit: float | None) -> float | None:
    """The share that is flagged; None where too few images calibrate for that."""
    return None if limit is None else float((scores > limit).mean())


def _apart(scores: np.ndarray, clean: np.ndarray) -> float:
    """The ROC-AUC of images against clean ones."""
    is_anomaly = np.repeat([False, True], [len(clean), len(scores)])
    return float(judge(np.concatenate([clean, scores]), is_anomaly)["roc_auc"])


def cells(scope: Scope) -> list[Cell]:
    """Each class normal in turn, two seeds, three networks; quick: all classes but one, one seed, small networks."""
    classes = list(scope.dataset.classes)
    if scope.quick:
        out = next((name for name in ANOMALOUS if name in classes), classes[-1])
        problems = [[name for name in classes if name != out]]
    else:
        problems = [[name] for name in classes[:10]]
    small = {"hidden": (64,), "epochs": 10} if scope.quick else {}
    # A cell on MNIST takes 20 (AE) to 60 seconds (VAE): 20 of each, half an hour in all.
    return [
        scope.cell(
            measure,
            model=model,
            normal=normal,
            seed=seed,
            settings={**settings, **small},
            rules=list(rules),
        )
        for normal in problems
        for seed in (SEEDS[:1] if scope.quick else SEEDS)
        for model, (settings, rules) in MODELS.items()
    ]


def rows(outcomes: Sequence[Outcome]) -> list[Row]:
    """A row a corruption and network, means over classes and seeds; then clean images, and other classes."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    places: dict[str, set[str]] = {}
    for asked, numbers in finished(outcomes):
        groups.setdefault(asked["model"], []).append(numbers)
        places.setdefault(asked["model"], set()).add(place_of(asked))
    made = []
    for kind in (*KINDS, CLEAN, OTHER):
        for model, some in groups.items():
            by_severity = {
                severity: [_of_kind(numbers, kind, severity) for numbers in some] for severity in SEVERITIES
            }
            rules = list(by_severity[MEDIUM][0])
            row: Row = {"corruption": kind, "model": model, "score": rules[0], "trainings": len(some)}
            for severity, measured in by_severity.items():
                if kind in KINDS or severity == MEDIUM:
                    word = WORDS[severity]
                    row[f"flagged_{word}"] = mean([each[rules[0]][0] for each in measured])
                    row[f"roc_auc_{word}"] = mean([each[rules[0]][1] for each in measured])
                    for rule in rules:
                        row[f"flagged_{word}_{rule}"] = mean([each[rule][0] for each in measured])
                        row[f"roc_auc_{word}_{rule}"] = mean([each[rule][1] for each in measured])
            row["roc_auc_sd"] = deviation([each[rules[0]][1] for each in by_severity[MEDIUM]])
            if kind != CLEAN:
                best = max(rules, key=lambda rule: row[f"roc_auc_medium_{rule}"])
                row |= {"best_score": best, "best_roc_auc": row[f"roc_auc_medium_{best}"]}
            made.append(row)
    note_missing(made, [places[row["model"]] for row in made])
    return made


def _of_kind(numbers: Mapping[str, Any], kind: str, severity: int) -> Mapping[str, Any]:
    """Share flagged and ROC-AUC by score; of what is not corrupted it is the same for each severity."""
    if kind in (CLEAN, OTHER):
        return numbers["clean" if kind == CLEAN else "others"]
    return numbers["corrupted"][kind][SEVERITIES.index(severity)]


COLUMNS = (
    Column("corruption", "corruption"),
    Column("model", "network"),
    Column("score", "score"),
    Column("flagged_mild", "share flagged, mild", 2),
    Column("flagged_medium", "flagged, medium", 2),
    Column("flagged_strong", "flagged, strong", 2),
    Column("roc_auc_medium", "ROC-AUC, medium", 3),
    Column("best_score", "best score"),
    Column("best_roc_auc", "its ROC-AUC", 3),
    compared.COLUMN,
)


def answer(table: Sequence[Row]) -> tuple[str, ...]:
    """Say how many corruptions are noticed, which are overlooked, which look more normal, and what sees the most."""
    beside = left_out(table, lambda row: _title(row["model"]))
    table = whole(table)
    of_kinds = [row for row in table if row["corruption"] in KINDS]
    models = list(dict.fromkeys(row["model"] for row in of_kinds))
    if not of_kinds:
        return tuple(beside)
    counted: list[tuple[str, str, str]] = []
    said: list[str] = []
    for model in models:
        rated = [row for row in of_kinds if row["model"] == model and row.get("flagged_medium") is not None]
        if not rated:
            continue
        noticed = sum(row["flagged_medium"] >= NOTICED for row in rated)
        counted.append((_title(model), rated[0]["score"], f"{noticed} of {len(rated)}"))
    if counted:
        listed = [f"{share} by {title}, judging by {score}" for title, score, share in counted]
        said.append(
            f"Of the corruptions at medium strength these are flagged in at least half of the images: "
            f"{'; '.join(listed)}.{_beside(table)}"
        )
    else:
        said.append("Too few images calibrate for any to be flagged; ROC-AUC tells how far scores see them.")
    for model in models:
        said += _overlooked([row for row in of_kinds if row["model"] == model])
    said += _more_normal(of_kinds)
    return (*said, *_widest(of_kinds), *beside)


def _title(model: str) -> str:
    return TITLES[model]


def _beside(table: Sequence[Row]) -> str:
    """What is flagged of clean images and of another class, for comparison."""
    shares: dict[str, list[float]] = {}
    for row in table:
        if row["corruption"] in (CLEAN, OTHER) and row.get("flagged_medium") is not None:
            shares.setdefault(row["corruption"], []).append(row["flagged_medium"])
    words = {CLEAN: "clean images", OTHER: "images of other classes"}
    parts = [f"{_from_to(shares[kind])} of {words[kind]}" for kind in (CLEAN, OTHER) if kind in shares]
    return f" For comparison, {' and '.join(parts)} are flagged." if parts else ""


def _from_to(shares: Sequence[float]) -> str:
    low, high = text.percent(min(shares)), text.percent(max(shares))
    return low if low == high else f"{low} to {high}"


def _overlooked(rated: Sequence[Row]) -> list[str]:
    rated = [row for row in rated if row.get("flagged_strong") is not None]
    if not rated:
        return []
    kinds = [row["corruption"] for row in rated if row["flagged_strong"] <= OVERLOOKED]
    title = _title(rated[0]["model"])
    title = title[0].upper() + title[1:]
    if kinds:
        return [
            f"{title} overlooks {text.sentence(kinds)}: even at full strength it flags at most {OVERLOOKED:.0%} of "
            "the images."
        ]
    least = min(rated, key=lambda row: row["flagged_strong"])
    return [
        f"{title} overlooks no strong corruption: it flags {text.percent(least['flagged_strong'])} of the images or "
        f"more, the least with {least['corruption']}."
    ]


def _more_normal(of_kinds: Sequence[Row]) -> list[str]:
    """Which corrupted images have lower scores than clean ones, by the network's own score."""
    low = [row for row in of_kinds if row.get("roc_auc_medium") is not None and row["roc_auc_medium"] < LOWER]
    if not low:
        return [
            "No corruption makes images look more normal than the same images clean: no ROC-AUC of corrupted against "
            f"clean images is below {LOWER} at medium strength."
        ]
    lowest = min(low, key=lambda row: row["roc_auc_medium"])
    others = list(
        dict.fromkeys(row["corruption"] for row in low if row["corruption"] != lowest["corruption"])
    )
    more = f"; for at least one network so do {text.sentence(others)}" if others else ""
    return [
        f"Some make images look more normal than the same images clean: {lowest['corruption']} most of all, to "
        f"{_title(lowest['model'])} (ROC-AUC {lowest['roc_auc_medium']:.3f}, where 0.5 is no difference){more}."
    ]


def _widest(of_kinds: Sequence[Row]) -> list[str]:
    """Which score of which network sees the most, and which the least, of those that saw every corruption."""
    by_score: dict[tuple[str, str], dict[str, float]] = {}
    for row in of_kinds:
        for key, value in row.items():
            if key.startswith("roc_auc_medium_") and value is not None:
                name = (row["model"], key.removeprefix("roc_auc_medium_"))
                by_score.setdefault(name, {})[row["corruption"]] = value
    every = set().union(*by_score.values())
    means = {
        name: float(np.mean(list(values.values())))
        for name, values in by_score.items()
        if values.keys() == every
    }
    lacking = [
        f"{rule} of {_title(model)} ({len(values)} of {len(every)} corruptions)"
        for (model, rule), values in by_score.items()
        if values.keys() != every
    ]
    beside = [f"Not compared, as they lack corruptions: {text.sentence(lacking)}."] if lacking else []
    if not means:
        return beside
    best, worst = max(means, key=lambda name: means[name]), min(means, key=lambda name: means[name])
    if best == worst:
        return [
            f"{best[1]} of {_title(best[0])} has a mean ROC-AUC of {means[best]:.3f} over all corruptions.",
            *beside,
        ]
    return [
        f"Of all scores, {best[1]} of {_title(best[0])} tells corrupted from clean images best (mean ROC-AUC "
        f"{means[best]:.3f} over all corruptions at medium strength), {worst[1]} of {_title(worst[0])} worst "
        f"({means[worst]:.3f}).",
        *beside,
    ]


def drawings(table: Sequence[Row], outcomes: Sequence[Outcome]) -> tuple[Drawing, ...]:
    """Examples, share flagged by strength, ROC-AUC by score."""
    made = []
    shown = next(
        (outcome.result.arrays["shown"] for outcome in outcomes if outcome.result and outcome.result.arrays),
        None,
    )
    if shown is not None:
        made.append(
            Drawing(
                "examples",
                "The corruptions",
                "One held-out image: clean, then mildly, moderately and strongly corrupted.",
                plots.tiles(dict(zip(KINDS, shown, strict=True))),
                wide=True,
            )
        )
    flagged, aucs = {}, {}
    kinds = list(dict.fromkeys(row["corruption"] for row in table if row["corruption"] != CLEAN))
    for row in table:
        kind, model = row["corruption"], row["model"]
        for severity, word in WORDS.items():
            share = row.get(f"flagged_{word}")
            if kind in KINDS and share is not None:
                flagged[kind, f"{model} {severity}"] = share
        for key, value in row.items():
            if key.startswith("roc_auc_medium_") and value is not None and kind != CLEAN:
                aucs[kind, f"{model} {key.removeprefix('roc_auc_medium_')}"] = value
    if flagged:
        names = [kind for kind in kinds if kind in KINDS]
        made.append(
            _matrix(
                "flagged",
                "Share of images flagged",
                "By the score that each network judges by, at a level of 0.05: of clean images 0.05 would be flagged. "
                "1 is mild, 2 medium, 3 strong.",
                flagged, names, "share flagged", "network and strength",
            )
        )  # fmt: skip
    if aucs:
        made.append(
            _matrix(
                "roc-auc",
                "ROC-AUC of corrupted images against the same images clean, by score",
                "Medium strength. 0.5: the score sees no difference; below: corrupted images look more normal than "
                "clean ones. The last row is of images of other classes.",
                aucs, kinds, "ROC-AUC", "network and score",
            )
        )  # fmt: skip
    return tuple(made)


def _matrix(
    name: str,
    title: str,
    caption: str,
    values: Mapping[tuple[str, str], float],
    kinds: Sequence[str],
    number: str,
    label: str,
) -> Drawing:
    columns = list(dict.fromkeys(column for _, column in values))
    table = [[values.get((kind, column), np.nan) for column in columns] for kind in kinds]
    figure = plots.matrix(table, kinds, columns, row_label="corruption", column_label=label, number=number)
    return Drawing(name, title, caption, figure, wide=True)


def method(scope: Scope) -> tuple[str, ...]:
    """What was trained, corrupted and measured."""
    if scope.quick:
        trained = "All classes but one are normal, seed 0; networks of one hidden layer of 64, 10 epochs."
    else:
        trained = (
            f"Each class is normal in turn, seeds {text.listed(SEEDS)}, default epochs; means over both."
        )
    return (
        trained,
        "AE is the default autoencoder, which sees images settled (set upright and of one size) and judges by bent; "
        "textbook has pixels, no noise and MSE; VAE sees images settled and judges by its ELBO.",
        "Held-out normal images are corrupted in twenty ways and three strengths, by code of our own after MNIST-C (Mu "
        "and Gilmer 2019); shift, rotation and the like have a random direction or sign an image. The ROC-AUC is that "
        "of the corrupted against the same images clean.",
        "An image is flagged where its score is above the conformal threshold of the calibration images at alpha 0.05. "
        "Other classes: up to 2,000 development images. The test part is not used.",
    )


STUDY = Study(
    NAME,
    "Which corruptions does a detector call anomalous, and which of its scores see them?",
    "A blurred or faint digit is still the digit it was. Whether it should be called anomalous is for the user to say; "
    "whether it is called so depends on what the network sees and on the score. Each is shown every corruption.",
    cells,
    rows,
    COLUMNS,
    answer,
    drawings,
    method,
)
