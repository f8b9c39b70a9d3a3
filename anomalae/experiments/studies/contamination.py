"""What do anomalies among the training images cost? ROC-AUC and false alarms against their share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from anomalae import plots, text
from anomalae.datasets.dataset import Dataset
from anomalae.evaluation import conformal
from anomalae.experiments.cells import Cell, Result
from anomalae.experiments.kept_cells import Outcome
from anomalae.experiments.studies import compared
from anomalae.experiments.studies.base import Column, Drawing, Row, Scope, Study, deviation, finished, mean
from anomalae.experiments.studies.compared import left_out, note_missing, place_of, whole
from anomalae.experiments.studies.recipes import (
    BASELINES_LINE,
    METHODS,
    NETWORKS_LINE,
    by_key,
    described_problems,
    fit_method,
    highest,
    lowest,
    method_arguments,
    normal_classes,
)
from anomalae.experiments.studies.trained import Problem, judge, problem

NAME = "contamination"
# Percent of the training images that are anomalies.
SHARES = (0, 1, 2, 5, 10)
# On MNIST a share of one class takes 40 CPU seconds by all methods: 10 classes 2,000 s.
NORMAL = tuple(range(10))
SEED = 0
ALPHA = 0.05
# A loss of ROC-AUC below that is none to speak of.
EQUAL = 0.001
# A difference of a share flagged that counts.
SEEN = 0.01
# A loss of ROC-AUC that somebody would mind.
MUCH = 0.01


def number_hidden(normals: int, percent: float) -> int:
    """Return how many anomalies make so many percent of all, beside these normal images; one at least if any.

    >>> number_hidden(90, 10), number_hidden(90, 0), number_hidden(30, 1)
    (10, 0, 1)
    """
    return max(1, round(normals * percent / (100 - percent))) if percent else 0


def divided(task: Problem) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return indices into the judged images: of those to judge, and of anomalies to hide in training and calibration.

    The same for every share, so that all are judged on the same images; none is both hidden and judged. At most half
    the anomalies are hidden.
    """
    anomalies = np.flatnonzero(task.is_anomaly)
    order = np.random.default_rng([task.seed, 1]).permutation(anomalies)
    most = [number_hidden(len(images), max(SHARES)) for images in (task.train, task.calibration)]
    together = max(1, sum(most))
    fitting = min(1.0, len(anomalies) / 2 / together)
    first, second = (int(count * fitting) for count in most)
    hidden = order[: first + second]
    return np.setdiff1d(np.arange(len(task.judged)), hidden), hidden[:first], hidden[first:]


def measure(dataset: Dataset, arguments: Mapping[str, Any]) -> Result:
    """Train with anomalies among the images; judge those apart, and what a threshold flags, clean and contaminated."""
    task = problem(dataset, arguments)
    judged, for_training, for_calibration = divided(task)
    images, is_anomaly = task.judged.images, task.is_anomaly[judged]
    share = arguments["share"]
    hidden = images[for_training[: number_hidden(len(task.train), share)]]
    mixed = images[for_calibration[: number_hidden(len(task.calibration), share)]]
    fitted = fit_method(task, arguments, np.concatenate([task.train, hidden]))
    scores = fitted.score(images[judged])
    numbers = {**judge(scores, is_anomaly), "hidden": len(hidden), "n_train": len(task.train) + len(hidden)}
    numbers["hidden_roc_auc"] = None
    calibration = fitted.score(task.calibration)
    numbers |= _flagged("", scores, is_anomaly, calibration)
    if len(hidden):
        normals = scores[~is_anomaly]
        truth = np.repeat([False, True], [len(normals), len(hidden)])
        numbers["hidden_roc_auc"] = judge(np.concatenate([normals, fitted.score(hidden)]), truth)["roc_auc"]
    contaminated = np.concatenate([calibration, fitted.score(mixed)]) if len(mixed) else calibration
    numbers |= _flagged("_contaminated", scores, is_anomaly, contaminated)
    return Result(numbers)


def _flagged(
    suffix: str, scores: np.ndarray, is_anomaly: np.ndarray, calibration: np.ndarray
) -> dict[str, float]:
    """Shares of the normal images and of the anomalies that are flagged."""
    flagged = conformal.p_values(scores, calibration) <= ALPHA
    return {
        f"false_alarms{suffix}": float(flagged[~is_anomaly].mean()),
        f"detected{suffix}": float(flagged[is_anomaly].mean()),
    }


def cells(scope: Scope) -> list[Cell]:
    """Every method with every share of hidden anomalies, each class normal."""
    return [
        scope.cell(measure, normal=normal, seed=SEED, share=share, **method_arguments(name, scope.quick))
        for normal in normal_classes(scope.dataset, NORMAL, scope.quick)
        for name in METHODS
        for share in SHARES
    ]


# Numbers of which a row has the mean.
MEANS = (
    *("roc_auc", "hidden", "hidden_roc_auc"),
    *("false_alarms", "detected", "false_alarms_contaminated", "detected_contaminated"),
)


def rows(outcomes: Sequence[Outcome]) -> list[Row]:
    """A row a method and share: means over the classes, and what is lost against a clean training of the same class."""
    done = finished(outcomes)
    clean = {
        (asked["method"], str(asked["normal"]), asked["seed"]): numbers["roc_auc"]
        for asked, numbers in done
        if asked["share"] == 0
    }
    made, places = [], []
    for (method, share), some in by_key(done, lambda asked: (asked["method"], asked["share"])).items():
        row: Row = {"method": method, "share": share, "trainings": len(some)}
        for key in MEANS:
            row[key] = mean([numbers[key] for _, numbers in some])
        for at, end in enumerate(("low", "high")):
            row[f"roc_auc_{end}"] = mean([numbers["interval"][at] for _, numbers in some])
        before = [clean.get((method, str(asked["normal"]), asked["seed"])) for asked, _ in some]
        lost = [b - numbers["roc_auc"] for b, (_, numbers) in zip(before, some, strict=True) if b is not None]
        row["lost"] = mean(lost)
        row["lost_sd"] = deviation(lost)
        made.append(row)
        places.append({place_of(asked) for asked, _ in some})
    note_missing(made, places)
    return made


COLUMNS = (
    Column("method", "method"),
    Column("share", "anomalies hidden, %"),
    Column("roc_auc", "ROC-AUC", 4),
    Column("lost", "ROC-AUC lost", 4),
    Column("lost_sd", "± (over classes)", 4),
    Column("hidden_roc_auc", "ROC-AUC of hidden ones", 4),
    Column("false_alarms", "false alarms", 3),
    Column("detected", "detected", 3),
    Column("false_alarms_contaminated", "false alarms, contaminated calibration", 3),
    Column("detected_contaminated", "detected, contaminated calibration", 3),
    compared.COLUMN,
)


def answer(table: Sequence[Row]) -> tuple[str, ...]:
    """Say what hidden anomalies cost each method, which is best with and without, and what becomes of the threshold."""
    beside = left_out(table, lambda row: f"{row['method']} with {row['share']}%")
    shares = sorted({row["share"] for row in table if row["share"] > 0})
    methods = list(dict.fromkeys(row["method"] for row in table))
    table = whole(table)
    most = max((row["share"] for row in table if row["share"] > 0), default=None)
    if most is None:
        return tuple(beside)
    of_most = [row for row in table if row["share"] == most]
    # What is lost is a difference from a clean training, of which as many classes must be there.
    clean = {row["method"] for row in table if row["share"] == 0}
    lost = [row for row in table if row["lost"] is not None and row["method"] in clean]
    said = []
    ranked = sorted(
        (row for row in lost if row["share"] == most), key=lambda row: float(row["lost"]), reverse=True
    )
    if ranked:
        parts = [f"{row['lost']:.4f} ({row['method']})" for row in ranked]
        number = sum(row["lost"] > MUCH for row in ranked)
        verdict = {0: "no method", len(ranked): "every method"}.get(
            number, f"{number} of {len(ranked)} methods"
        )
        said.append(
            f"{most}% of anomalies hidden among the training images cost {verdict} more than {MUCH} of ROC-AUC: "
            f"{text.sentence(parts)}{'; a minus is a gain' if ranked[-1]['lost'] < -EQUAL else ''}."
        )
        said.append(_tolerance(lost, methods, shares))
    said += _ranking(table, of_most, most)
    seen = highest(of_most, "hidden_roc_auc")
    blind = lowest(of_most, "hidden_roc_auc")
    if seen is not None and blind is not None:
        said.append(
            f"The hidden anomalies themselves, after a training with {most}% of them, are told from unseen normal "
            f"images with a ROC-AUC of {blind['hidden_roc_auc']:.4f} ({blind['method']}) to "
            f"{seen['hidden_roc_auc']:.4f} ({seen['method']})"
            + (
                f"; below 0.5, {blind['method']} takes them for more normal than unseen normal images."
                if blind["hidden_roc_auc"] < 0.5
                else "."
            )
        )
    best = highest(of_most, "roc_auc")
    if best is not None and best["false_alarms"] is not None:
        said.append(
            f"At a level of {ALPHA:.0%}, {best['method']}, trained with {most}% hidden, flags "
            f"{best['false_alarms']:.1%} of the normal images and {best['detected']:.1%} of the anomalies if the "
            f"calibration images are clean, and {best['false_alarms_contaminated']:.1%} and "
            f"{best['detected_contaminated']:.1%} if {most}% of them are anomalies too: {_threshold(best)}"
        )
    return (*said, *beside)


def _threshold(row: Row) -> str:
    """What contaminated calibration does, in words."""
    fewer = row["false_alarms"] - row["false_alarms_contaminated"]
    missed = row["detected"] - row["detected_contaminated"]
    alarms = "fewer false alarms" if fewer > SEEN else "more false alarms" if fewer < -SEEN else ""
    anomalies = (
        "more missed anomalies" if missed > SEEN else "fewer missed anomalies" if missed < -SEEN else ""
    )
    if alarms and anomalies:
        # One of them is a gain and the other a loss, or both are the same.
        return f"{alarms}, {'but' if (fewer > 0) == (missed > 0) else 'and'} {anomalies}."
    if alarms:
        return f"{alarms}, and about as many missed anomalies."
    if anomalies:
        return f"{anomalies}, and about as many false alarms."
    return "that makes hardly a difference."


def _tolerance(table: Sequence[Row], methods: Sequence[str], shares: Sequence[int]) -> str:
    """Up to which share each method loses little; a share that is missing is not known, and so is what is beyond it."""
    parts = []
    for method in methods:
        lost = {row["share"]: row["lost"] for row in table if row["method"] == method}
        borne, unknown = 0, []
        for share in shares:
            value = lost.get(share)
            if value is None:
                unknown.append(share)
            elif value > MUCH:
                break
            else:
                borne = share
        unknown = [share for share in unknown if share > borne]
        if not unknown:
            parts.append(f"{f'{borne}%' if borne else 'none'} ({method})")
        else:
            least = f"at least {borne}%" if borne else "not known"
            without = text.sentence([f"{share}%" for share in unknown])
            parts.append(f"{least} ({method}, without {without})")
    return f"The largest share of hidden anomalies that costs no more than {MUCH} is {text.sentence(parts)}."


def _ranking(table: Sequence[Row], of_most: Sequence[Row], most: int) -> list[str]:
    """Which method is best on clean images, and which with most hidden anomalies."""
    first = highest([row for row in table if row["share"] == 0], "roc_auc")
    last = highest(of_most, "roc_auc")
    if first is None or last is None:
        return []
    if first["method"] == last["method"]:
        return [
            f"The best method stays the best: {first['method']}, with a ROC-AUC of {first['roc_auc']:.4f} trained on "
            f"clean images and {last['roc_auc']:.4f} with {most}% hidden."
        ]
    return [
        f"The best method changes: trained on clean images it is {first['method']} (ROC-AUC {first['roc_auc']:.4f}), "
        f"with {most}% hidden {last['method']} ({last['roc_auc']:.4f})."
    ]


def drawings(table: Sequence[Row], outcomes: Sequence[Outcome]) -> tuple[Drawing, ...]:
    """ROC-AUC, the hidden anomalies' own, and what is flagged, against the share."""
    methods = list(dict.fromkeys(row["method"] for row in table))

    def series(key: str, method: str, scale: float = 1) -> plots.Series:
        of_method = sorted(
            (row for row in table if row["method"] == method and row[key] is not None),
            key=lambda row: int(row["share"]),
        )
        return plots.Series([row["share"] for row in of_method], [scale * row[key] for row in of_method])

    made = [
        Drawing(
            "roc-auc",
            "ROC-AUC against the share of hidden anomalies",
            "Mean over the normal classes. All shares are judged on the same images.",
            plots.lines(
                {method: series("roc_auc", method) for method in methods},
                x="% of the training images that are anomalies",
                y="ROC-AUC",
            ),
        )
    ]
    hidden = {method: series("hidden_roc_auc", method) for method in methods}
    hidden = {method: line for method, line in hidden.items() if line.x}
    if hidden:
        made.append(
            Drawing(
                "hidden",
                "Do the hidden anomalies stand out?",
                "ROC-AUC of the anomalies that were trained on against normal images that were not. At 0.5 a method "
                "cannot tell them apart; below, it takes what it was trained on for more normal than anything unseen.",
                plots.lines(
                    hidden,
                    x="% of the training images that are anomalies",
                    y="ROC-AUC",
                    level={"chance": 0.5},
                ),
            )
        )
    shares = sorted({row["share"] for row in table if row["share"] > 0})
    best = highest([row for row in whole(table) if shares and row["share"] == shares[-1]], "roc_auc")
    if best is not None:
        name = best["method"]
        flagged = {
            "normal, clean": series("false_alarms", name, 100),
            "anomalies, clean": series("detected", name, 100),
            "normal, contaminated": series("false_alarms_contaminated", name, 100),
            "anomalies, contaminated": series("detected_contaminated", name, 100),
        }
        made.append(
            Drawing(
                "flagged",
                f"What is flagged at a level of {ALPHA:.0%}: {name}",
                "Share of the normal images (false alarms) and of the anomalies that are flagged, where the "
                "calibration images are clean, and where they are contaminated: the same share of them is anomalies.",
                plots.lines(
                    flagged,
                    x="% of the training images that are anomalies",
                    y="% flagged",
                    level={f"{ALPHA:.0%}": 100 * ALPHA},
                ),
            )
        )
    return tuple(made)


def method(scope: Scope) -> tuple[str, ...]:
    """What was trained and measured."""
    return (
        f"{described_problems(normal_classes(scope.dataset, NORMAL, scope.quick))} Seed {SEED} of split and weights.",
        NETWORKS_LINE + (" The networks are small (64 hidden units)." if scope.quick else ""),
        BASELINES_LINE,
        f"All normal training images stay; so many anomalies of the other classes, drawn at random, are added that "
        f"they make {', '.join(map(str, SHARES))}% of all. The smaller shares are part of the larger ones.",
        "Validation and calibration images are clean, but for the columns that say otherwise: there the same share of "
        "anomalies is added to the calibration images.",
        "Judged on development images: held-out normals against up to 10,000 training images of the other classes, "
        "without those that are hidden at any share. The test part is not used.",
        f"An image is flagged where its conformal p-value is at most {ALPHA}. ± is the standard deviation over the "
        "normal classes of what is lost.",
    )


STUDY = Study(
    NAME,
    "What do anomalies hidden among the training images cost?",
    "One-class methods are trained on images that should all be normal. In practice some are not. How much worse does "
    "each method then detect anomalies, and does its false-alarm rate hold?",
    cells,
    rows,
    COLUMNS,
    answer,
    drawings,
    method,
)
