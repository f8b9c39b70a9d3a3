"""How many normal images are needed? ROC-AUC against the number of training images, networks and baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from anomalae import plots, text
from anomalae.datasets.dataset import Dataset
from anomalae.datasets.splits import split_indices
from anomalae.detectors.detector import Detector
from anomalae.experiments.cells import Cell, Result
from anomalae.experiments.kept_cells import Outcome
from anomalae.experiments.studies import compared
from anomalae.experiments.studies.base import (
    Column,
    Drawing,
    Row,
    Scope,
    Study,
    deviation_within,
    finished,
    mean,
)
from anomalae.experiments.studies.compared import left_out, note_missing, place_of, whole
from anomalae.experiments.studies.recipes import (
    BASELINES_LINE,
    METHODS,
    NETWORKS_LINE,
    by_key,
    described_problems,
    fit_method,
    highest,
    method_arguments,
    normal_classes,
)
from anomalae.experiments.studies.trained import judge, problem, rebuilt

NAME = "few-normals"
SIZES = (10, 30, 100, 300, 1000)
# All training images, in a cell's arguments and in a table.
ALL = "all"
# On MNIST all sizes of one class and seed take 130 CPU seconds by all methods: 10 classes and 2 seeds 2,600 s.
NORMAL = tuple(range(10))
SEEDS, QUICK_SEEDS = (0, 1), (0,)
# A difference of ROC-AUC below that is none that matters here.
EQUAL = 0.005
# Its reconstructions are shown: it sees plain pixels.
SHOWN = "textbook AE"
PICTURES = 8


def drawn(images: np.ndarray, size: int | str, seed: int) -> np.ndarray:
    """Return so many of the images, at random; those of a smaller number are among those of a larger one."""
    if size == ALL:
        return images
    order = np.random.default_rng([seed, len(images)]).permutation(len(images))
    return np.asarray(images[np.sort(order[: int(size)])])


def measure(dataset: Dataset, arguments: Mapping[str, Any]) -> Result:
    """Fit on so many images, and judge; rebuild a few held-out images where they are to be shown."""
    task = problem(dataset, arguments)
    train = drawn(task.train, arguments["size"], task.seed)
    fitted = fit_method(task, arguments, train)
    numbers = {**judge(fitted.score(task.judged.images), task.is_anomaly), "n_train": len(train)}
    if not arguments.get("shown") or not isinstance(fitted, Detector):
        return Result(numbers)
    some = task.held_out[:PICTURES]
    made = np.clip(rebuilt(fitted, some)[:, 0] * 255, 0, 255).round().astype(np.uint8)
    return Result(numbers, {"images": some, "rebuilt": made})


def sizes(scope: Scope, problems: Sequence[Sequence[int | str]]) -> list[int | str]:
    """Return the numbers of training images that every problem can have, all of them last."""
    labels = scope.dataset.train.labels
    there = [len(split_indices(int(np.isin(labels, list(normal)).sum()), 0)[0]) for normal in problems]
    return [*(size for size in SIZES if size < min(there)), ALL]


def cells(scope: Scope) -> list[Cell]:
    """Every method with every number of images, each class normal."""
    problems = normal_classes(scope.dataset, NORMAL, scope.quick)
    seeds = QUICK_SEEDS if scope.quick else SEEDS
    return [
        scope.cell(
            measure,
            normal=normal,
            seed=seed,
            size=size,
            shown=name == SHOWN and normal == problems[0] and seed == seeds[0],
            **method_arguments(name, scope.quick),
        )
        for normal in problems
        for seed in seeds
        for name in METHODS
        for size in sizes(scope, problems)
    ]


def rows(outcomes: Sequence[Outcome]) -> list[Row]:
    """A row a method and number of images: means over classes and seeds."""
    made, places = [], []
    done = finished(outcomes)
    for (method, size), some in by_key(done, lambda asked: (asked["method"], asked["size"])).items():
        aucs = [numbers["roc_auc"] for _, numbers in some]
        row: Row = {"method": method, "size": size, "trainings": len(some), "roc_auc": mean(aucs)}
        row["n_train"] = mean([numbers["n_train"] for _, numbers in some])
        row["roc_auc_least"] = min(aucs)
        for at, end in enumerate(("low", "high")):
            row[f"roc_auc_{end}"] = mean([numbers["interval"][at] for _, numbers in some])
        by_class = by_key(some, lambda asked: str(asked["normal"])).values()
        row["seed_sd"] = deviation_within(
            [numbers["roc_auc"] for _, numbers in of_class] for of_class in by_class
        )
        made.append(row)
        places.append({place_of(asked) for asked, _ in some})
    note_missing(made, places)
    return made


COLUMNS = (
    Column("method", "method"),
    Column("size", "training images"),
    Column("roc_auc", "ROC-AUC", 4),
    Column("seed_sd", "± (seeds)", 4),
    Column("roc_auc_low", "95% from (mean)", 4),
    Column("roc_auc_high", "95% to (mean)", 4),
    Column("roc_auc_least", "lowest", 4),
    Column("trainings", "trainings"),
    compared.COLUMN,
)


def answer(table: Sequence[Row]) -> tuple[str, ...]:
    """Say how many images each method needs, which is best with few and with all, and where networks pay."""
    beside = left_out(table, lambda row: f"{row['method']} with {_images(row['size']).lower()}")
    table = whole(table)
    numbers = sorted({row["size"] for row in table if row["size"] != ALL})
    every: list[int | str] = [*numbers, *([ALL] if any(row["size"] == ALL for row in table) else [])]
    if not every:
        return tuple(beside)
    by_size = {size: [row for row in table if row["size"] == size] for size in every}
    said = []
    of_method = {
        method: [row for row in table if row["method"] == method]
        for method in dict.fromkeys(row["method"] for row in table)
    }
    needs = {
        method: needed(some) if any(row["size"] != ALL for row in some) else None
        for method, some in of_method.items()
    }
    best_last = highest(by_size[every[-1]], "roc_auc")
    if best_last is not None:
        name = best_last["method"]
        need = needs[name]
        missing = "with all" if every[-1] != ALL else "with fewer"
        said.append(
            f"How many are needed stays open: no training {missing} is there; the best method ({name}) has a ROC-AUC "
            f"of {best_last['roc_auc']:.4f} with {_images(every[-1]).lower()}."
            if need is None
            else _enough(of_method[name], need)
        )
    best_first = highest(by_size[every[0]], "roc_auc")
    if best_first is not None and len(every) > 1:
        others = [
            f"{row['roc_auc']:.4f} ({row['method']})"
            for row in sorted(by_size[every[0]], key=lambda row: -row["roc_auc"])
            if row is not best_first
        ]
        same = best_last is not None and best_last["method"] == best_first["method"]
        said.append(
            f"With {_images(every[0]).lower()} the best method is {'the same' if same else best_first['method']}, "
            "with a ROC-AUC of "
            f"{best_first['roc_auc']:.4f}{f'; the others have {text.sentence(others)}' if others else ''}."
        )
    listed = [
        f"{'all' if need == ALL else text.count(int(need))} ({method})"
        for method, need in needs.items()
        if need is not None
    ]
    if all(need == ALL for need in needs.values()):
        said.append(
            f"From no smaller number on does a method stay within {EQUAL} of its ROC-AUC with all images."
        )
    elif listed:
        said.append(
            f"The least number of images from which on a method stays within {EQUAL} of its ROC-AUC with all, or above "
            f"it, is {text.sentence(listed)}."
        )
    said += _against_baselines(by_size)
    return (*said, *beside)


def _enough(of_method: Sequence[Row], need: int | str) -> str:
    """Whether the best method needs all images, and where its ROC-AUC does not rise with their number.

    of_method: rows of the method, one of them with all images.
    need: that `needed` returns of them.
    """
    name = of_method[0]["method"]
    full = next(float(row["roc_auc"]) for row in of_method if row["size"] == ALL)
    by_size = {int(row["size"]): float(row["roc_auc"]) for row in of_method if row["size"] != ALL}
    peak = max(by_size, key=lambda size: by_size[size])
    if need == ALL:
        said = (
            f"All are needed: the best method ({name}) has a ROC-AUC of {full:.4f} with all training images"
        )
    elif by_size[int(need)] > full + EQUAL:
        said = (
            f"{_images(need)} suffice: with so many the best method ({name}) has a higher ROC-AUC, "
            f"{by_size[int(need)]:.4f}, than with all training images, {full:.4f}"
        )
    else:
        said = (
            f"{_images(need)} suffice: with so many the best method ({name}) is within {EQUAL} of its ROC-AUC with all "
            f"training images, which is {full:.4f}"
        )
    early = [
        size for size, value in by_size.items() if value >= full - EQUAL and (need == ALL or size < int(need))
    ]
    if early:
        low = min((size for size in by_size if size > min(early)), key=lambda size: by_size[size])
        said += (
            f"; with {min(early)} it is as good too ({by_size[min(early)]:.4f}), but with {low} it is not "
            f"({by_size[low]:.4f})"
        )
    elif need == ALL:
        said += f", and is not within {EQUAL} of that with fewer"
    if by_size[peak] > full + EQUAL and peak not in (need, *early):
        said += f"; it is highest with {peak}, {by_size[peak]:.4f}"
    return f"{said}."


def _images(size: int | str) -> str:
    return "All training images" if size == ALL else f"{text.count(int(size))} images"


def needed(of_method: Sequence[Row]) -> int | str | None:
    """Return the least number of images from which on a method is as good as with all; None where all is missing.

    of_method: rows of one method.
    """
    full = next((row for row in of_method if row["size"] == ALL), None)
    if full is None:
        return None
    least: int | str = ALL
    for row in sorted(
        (row for row in of_method if row["size"] != ALL), key=lambda row: int(row["size"]), reverse=True
    ):
        if row["roc_auc"] < full["roc_auc"] - EQUAL:
            break
        least = row["size"]
    return least


_AHEAD = "The default AE has a higher ROC-AUC than the best baseline"


def _against_baselines(by_size: Mapping[int | str, Sequence[Row]]) -> list[str]:
    """From which number on the default is better than every baseline."""
    ahead: list[tuple[int | str, bool, str]] = []
    for size, some in by_size.items():
        ours = next((row for row in some if row["method"] == "default AE"), None)
        theirs = highest([row for row in some if "baseline" in METHODS.get(row["method"], {})], "roc_auc")
        if ours is not None and theirs is not None:
            ahead.append((size, ours["roc_auc"] > theirs["roc_auc"], theirs["method"]))
    if not ahead:
        return []
    if all(better for _, better, _ in ahead):
        return [f"{_AHEAD} with every number of images."]
    if not any(better for _, better, _ in ahead):
        return [f"{_AHEAD} with no number of images."]
    winning = ", ".join(
        "all" if size == ALL else text.count(int(size)) for size, better, _ in ahead if better
    )
    losing = ", ".join(
        f"{'all' if size == ALL else text.count(int(size))} ({name} is as good or better)"
        for size, better, name in ahead
        if not better
    )
    return [f"{_AHEAD} with {winning} images, but not with {losing}."]


def drawings(table: Sequence[Row], outcomes: Sequence[Outcome]) -> tuple[Drawing, ...]:
    """ROC-AUC and what is missing to 1 against the number of images, and reconstructions."""
    series, missing = {}, {}
    for method in dict.fromkeys(row["method"] for row in table):
        some = sorted(
            (row for row in table if row["method"] == method), key=lambda row: float(row["n_train"])
        )
        x = [row["n_train"] for row in some]
        series[method] = plots.Series(x, [row["roc_auc"] for row in some])
        # An axis of logarithms has no place for a ROC-AUC of 1.
        missing[method] = plots.Series(
            x, [1 - row["roc_auc"] if row["roc_auc"] < 1 else None for row in some]
        )
    made = [
        Drawing(
            "roc-auc",
            "ROC-AUC against the number of training images",
            "Mean over normal classes and draws of the images; the last point is all images.",
            plots.lines(series, x="normal training images", y="ROC-AUC", log_x=True),
        )
    ]
    if any(value is not None for line in missing.values() for value in line.y):
        made.append(
            Drawing(
                "missing",
                "1 - ROC-AUC against the number of training images",
                "The same with logarithmic axes, which show differences near 1; lower is better.",
                plots.lines(missing, x="normal training images", y="1 - ROC-AUC", log_x=True, log_y=True),
            )
        )
    shown = [
        outcome for outcome in outcomes if outcome.result is not None and "rebuilt" in outcome.result.arrays
    ]
    if shown:
        film: dict[str, np.ndarray] = {}
        for outcome in shown:
            if outcome.result is not None:
                film.setdefault("held-out image", outcome.result.arrays["images"])
                count = text.count(outcome.result.numbers["n_train"])
                film[f"rebuilt, {count} images"] = outcome.result.arrays["rebuilt"]
        made.append(
            Drawing(
                "rebuilt",
                f"Held-out normal images, rebuilt by the {SHOWN}",
                "Each row is a training on the number of images beside it.",
                plots.film(film),
                wide=True,
            )
        )
    return tuple(made)


def method(scope: Scope) -> tuple[str, ...]:
    """What was trained and measured."""
    problems = normal_classes(scope.dataset, NORMAL, scope.quick)
    seeds = QUICK_SEEDS if scope.quick else SEEDS
    numbers = sizes(scope, problems)
    return (
        f"{described_problems(problems)} Seed{'s' if len(seeds) > 1 else ''} {text.listed(seeds)} of split, draw and "
        "weights.",
        NETWORKS_LINE + (" The networks are small (64 hidden units)." if scope.quick else ""),
        BASELINES_LINE,
        f"Trained on {text.listed(numbers)} of the normal training images, drawn at random; the fewer are among the "
        "more. Networks take as many epochs as make at least 800 steps, so few images are seen more often.",
        "Held-out and calibration images stay as many as they are: what changes is the training alone.",
        "Judged on development images: held-out normals against up to 10,000 training images of the other classes. "
        "The test part is not used.",
        "± is the standard deviation over the seeds within a class; the 95% interval is the mean of DeLong's; "
        "lowest is the lowest ROC-AUC of all trainings.",
    )


STUDY = Study(
    NAME,
    "How many normal images are needed?",
    "Normal images are easier to come by than anomalies, yet someone must collect them. How much worse is a detector "
    "that learned from ten images, or a hundred, and is a network then still the right tool?",
    cells,
    rows,
    COLUMNS,
    answer,
    drawings,
    method,
)
