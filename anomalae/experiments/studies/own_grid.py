"""A grid of one's own: any settings, data sets, classes, seeds and baselines, every combination a cell."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from anomalae import plots, text
from anomalae.datasets.dataset import Dataset
from anomalae.errors import ConfigError, PartError
from anomalae.experiments.baselines.registry import BaselineDetector, choose
from anomalae.experiments.cells import Cell, Result, Source
from anomalae.experiments.kept_cells import Outcome
from anomalae.experiments.studies import compared
from anomalae.experiments.studies.base import (
    Column,
    Drawing,
    Row,
    Scope,
    Study,
    deviation,
    deviation_within,
    finished,
    mean,
)
from anomalae.experiments.studies.compared import left_out, note_missing, place_of, whole
from anomalae.experiments.studies.recipes import by_key
from anomalae.experiments.studies.trained import judge, problem, squared_error
from anomalae.ranges import Real, Views, Whole, Widths
from anomalae.settings import DESCRIPTIONS, Settings

NAME = "grid"
# Axes that are no settings.
DATASET, CLASSES, SEED, BASELINE = "dataset", "normal", "seed", "baseline"
# Far more than anybody waits for.
MOST_CELLS = 100_000
# The least difference of ROC-AUC that a table shows.
SHOWN = 0.00005
# Hexadecimal digits that tell two grids of the same axes apart.
DIGITS = 8

Axes = Mapping[str, Sequence[Any]]


def parse_axis(axis: str) -> tuple[str, list[Any]]:
    """Return name and values of an axis as it is typed: `latent-dim=1,2,4`, `views=pixels;normalised,edges`.

    Values are separated by commas, those that hold commas themselves (`views`, `hidden`, `normal`) by semicolons.
    Besides settings there are `dataset`, `normal` (classes), `seed` and `baseline` (detectors of PyOD).

    Raises ConfigError, before anything runs, for an unknown name, a value out of its range, and none at all.

    >>> parse_axis("latent-dim=1,2")
    ('latent_dim', [1, 2])
    """
    name, equals, typed = axis.partition("=")
    name = name.strip().replace("-", "_")
    known = (*DESCRIPTIONS, DATASET, CLASSES, BASELINE)
    if name not in known:
        raise ConfigError(
            f"grid {name.replace('_', '-')!r}: must be one of {', '.join(k.replace('_', '-') for k in known)}",
            setting="grid", unknown=name.replace("_", "-"), known=[k.replace("_", "-") for k in known],
        )  # fmt: skip
    limits = DESCRIPTIONS[name].range if name in DESCRIPTIONS else None
    several = isinstance(limits, (Views, Widths)) or name == CLASSES
    words = [word.strip() for word in typed.split(";" if several or ";" in typed else ",")]
    if not equals or not all(words):
        raise ConfigError(
            f"grid {axis!r}: must be a name, = and values, as in latent-dim=1,2,4", setting="grid"
        )
    if name == BASELINE:
        values: list[Any] = [baseline.label for baseline in choose(words)]
    else:
        values = [_value(name, limits, word) for word in words]
    if len({str(value) for value in values}) < len(values):
        raise ConfigError(f"grid {axis!r}: a value is named twice", setting="grid")
    return name, values


def _value(name: str, limits: Any, word: str) -> Any:
    """Return one value of an axis, checked."""
    shown = name.replace("_", "-")
    try:
        if isinstance(limits, Whole):
            return limits.check(name, int(word))
        if isinstance(limits, Real):
            return limits.check(name, float(word))
        if isinstance(limits, Widths):
            return limits.check(name, tuple(int(width) for width in word.split(",")))
    except ConfigError as error:
        if isinstance(error, PartError):
            raise
        what = str(error).removeprefix(name) if str(error).startswith(name) else f": {error}"
        raise ConfigError(
            f"grid {shown}{what}", setting="grid", unknown=error.unknown, known=error.known
        ) from None
    except ValueError:
        article = "" if isinstance(limits, Widths) else "a "
        raise ConfigError(f"grid {shown}={word}: must be {article}{limits}", setting="grid") from None
    if isinstance(limits, Views):
        return limits.check(name, tuple(view.strip() for view in word.split(",")))
    return word if limits is None else limits.check(name, word)


def measure(dataset: Dataset, arguments: Mapping[str, Any]) -> Result:
    """Train one detector, or fit one of PyOD's, and judge it on development images."""
    task = problem(dataset, arguments)
    if arguments.get(BASELINE):
        # Not on the held-out normals: they judge it.
        fitted = BaselineDetector(arguments[BASELINE], arguments[SEED]).fit(task.train)
        return Result(judge(fitted.score(task.judged.images), task.is_anomaly))
    detector, seconds = task.fit_timed(arguments["settings"])
    numbers = {
        **judge(detector.score(task.judged.images), task.is_anomaly),
        "rule": detector.settings.rule,
        "mse_train": squared_error(detector, task.train[:5000]),
        "mse_held_out": squared_error(detector, task.held_out),
        "active_units": detector.validation.get("active_units"),
        "cpu_seconds": seconds,
    }
    return Result(numbers)


def hash_of(cells: Sequence[Cell]) -> str:
    """Return a short hash of all that a grid's cells are asked for, and of their data; of no code that does them."""
    asked = [[cell.spec[key] for key in ("data", "arguments")] for cell in cells]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:DIGITS]


def own_study(
    axes: Axes,
    fixed: Mapping[str, Any],
    problems: Sequence[tuple[Dataset, Sequence[int | str]]],
    seeds: Sequence[int],
    name: str | None = None,
) -> Study:
    """Return a study of every combination of values.

    axes: values by setting, and of `baseline`; `dataset`, `normal` and `seed` say which have rows of their own.
    fixed: settings that are the same for all.
    problems: a data set and its normal classes, each.
    seeds: of splits and trainings.
    name: of the study; None is made of the axes, as in `grid-latent-dim-noise`.

    Raises ConfigError for a combination that cannot be, as a likelihood of an autoencoder, and for too many.
    """
    own = {key: values for key, values in axes.items() if key not in (DATASET, CLASSES, SEED, BASELINE)}
    baselines = list(axes.get(BASELINE, ()))
    total = (math.prod(map(len, own.values())) + len(baselines)) * len(problems) * len(seeds)
    if total > MOST_CELLS:
        raise ConfigError(
            f"grid: has {text.count(total)} cells, at most {text.count(MOST_CELLS)} are taken", setting="grid"
        )
    if len({(id(dataset), frozenset(classes)) for dataset, classes in problems}) < len(problems):
        raise ConfigError("grid normal: the same classes are named twice", setting="grid")
    short = {id(dataset): dataset.short_name for dataset, _ in problems}
    # Two of the same short name go by their whole ones.
    called = {
        id(dataset): dataset.name
        if list(short.values()).count(dataset.short_name) > 1
        else dataset.short_name
        for dataset, _ in problems
    }
    combinations = [dict(zip(own, values, strict=True)) for values in itertools.product(*own.values())]
    settings = [Settings.of(**{**fixed, **chosen}) for chosen in combinations]
    apart = [key for key in (DATASET, CLASSES, SEED) if key in axes]
    shown = [*apart, *([key for key, values in own.items() if len(values) > 1] or list(own))]

    def cells(scope: Scope) -> list[Cell]:
        made = []
        for seed in seeds:
            for dataset, classes in problems:
                source = Source.of(dataset)
                shared = {CLASSES: list(classes), SEED: seed}
                # Axes of their own have a row for each value; else a row is a mean over them.
                every_place = {DATASET: called[id(dataset)], CLASSES: text.listed(classes, ","), SEED: seed}
                place = {key: every_place[key] for key in apart}
                for chosen, asked in zip(combinations, settings, strict=True):
                    values = {key: value for key, value in asked.to_dict().items() if key != "seed"}
                    own_values = {
                        key: text.typed(value) if isinstance(value, tuple) else value
                        for key, value in chosen.items()
                    }
                    asked_for = {**shared, "settings": values, "axes": {**place, **own_values}}
                    made.append(Cell(measure, asked_for, source))
                made += [
                    Cell(measure, {**shared, BASELINE: baseline, "axes": place}, source)
                    for baseline in baselines
                ]
        return made

    def rows(outcomes: Sequence[Outcome]) -> list[Row]:
        groups: dict[str, list[tuple[Mapping[str, Any], Mapping[str, Any]]]] = {}
        for asked, numbers in finished(outcomes):
            groups.setdefault(str((asked["axes"], asked.get(BASELINE))), []).append((asked, numbers))
        made, places = [], []
        for some in groups.values():
            asked = some[0][0]
            row: Row = {**asked["axes"], "trainings": len(some)}
            if baselines:
                row[BASELINE] = asked.get(BASELINE)
            aucs = [numbers["roc_auc"] for _, numbers in some]
            by_class = by_key(some, lambda asked: str(asked[CLASSES])).values()
            row |= {"roc_auc": mean(aucs), "roc_auc_sd": deviation(aucs), "roc_auc_least": min(aucs)}
            row["seed_sd"] = deviation_within([numbers["roc_auc"] for _, numbers in one] for one in by_class)
            for key in ("mse_train", "mse_held_out", "active_units", "cpu_seconds"):
                row[key] = mean([numbers.get(key) for _, numbers in some])
            made.append(row)
            places.append({place_of(asked) for asked, _ in some})
        # Values of `normal`, `seed` and `dataset` that have rows of their own differ in their trainings by themselves.
        note_missing(made, places, lambda row: tuple(row[key] for key in apart))
        return made

    columns = (
        *(Column(key, key.replace("_", "-")) for key in shown),
        *((Column(BASELINE, "baseline"),) if baselines else ()),
        Column("trainings", "trainings"),
        Column("roc_auc", "ROC-AUC", 4),
        Column("roc_auc_sd", "± over classes and seeds", 4),
        Column("seed_sd", "± over seeds", 4),
        Column("roc_auc_least", "least ROC-AUC", 4),
        Column("mse_train", "MSE, training images", 5),
        Column("mse_held_out", "MSE, held-out", 5),
        Column("active_units", "active units", 1),
        Column("cpu_seconds", "CPU seconds", 1),
        compared.COLUMN,
    )

    def answer(table: Sequence[Row]) -> tuple[str, ...]:
        beside = left_out(table, lambda row: _named(row, shown))
        table = whole(table)
        if len(table) < 2:
            return (
                *(f"{_named(row, shown)} has a mean ROC-AUC of {row['roc_auc']:.4f}." for row in table),
                *beside,
            )
        best = max(table, key=lambda row: row["roc_auc"])
        worst = min(table, key=lambda row: row["roc_auc"])
        apart = best["roc_auc"] - worst["roc_auc"]
        if apart < SHOWN:
            return (f"All have a mean ROC-AUC of {best['roc_auc']:.4f}, as far as it is shown.", *beside)
        said = [
            f"The highest mean ROC-AUC, {best['roc_auc']:.4f}, has {_named(best, shown)}; "
            f"the lowest, {worst['roc_auc']:.4f}, {_named(worst, shown)}."
        ]
        spread = max(row["roc_auc_sd"] or 0.0 for row in (best, worst))
        if min(best["trainings"], worst["trainings"]) < 2:
            said.append(
                "Each is one training: how much of the difference is luck is not known; more seeds tell."
            )
        elif spread >= apart:
            said.append(
                f"The difference, {apart:.4f}, is no larger than the standard deviation of the trainings behind one of "
                f"the two means, {spread:.4f} over classes and seeds: it may be luck."
            )
        return (*said, *beside)

    def drawings(table: Sequence[Row], outcomes: Sequence[Outcome]) -> tuple[Drawing, ...]:
        caption = "Mean over classes and seeds."
        several = any(row["seed_sd"] is not None for row in table)
        numbers = {
            key: sorted({row[key] for row in table})
            for key in shown
            if all(isinstance(row.get(key), (int, float)) for row in table)
        }
        along = max(numbers, key=lambda key: min(len(numbers[key]), 3), default=None)
        if along is None:
            named = {_named(row, shown): row for row in table}
            figure = plots.bars(
                {name: {"ROC-AUC": row["roc_auc"]} for name, row in named.items()},
                y="ROC-AUC",
                spreads={name: {"ROC-AUC": row["seed_sd"]} for name, row in named.items()},
            )
            caption += (
                " The lines at their ends are one standard deviation over the seeds of a class."
                if several
                else ""
            )
            return (Drawing("roc-auc", "ROC-AUC", caption, figure),)
        rest = [key for key in shown if key != along]
        lines: dict[str, list[Row]] = {}
        for row in sorted(table, key=lambda row: row[along]):
            lines.setdefault(_named(row, rest) if rest else "mean", []).append(row)
        series = {line: _series(along, some) for line, some in lines.items()}
        every = numbers[along]
        # Between two values nothing is known that a line could show.
        joined = len(every) > 2
        figure = plots.lines(
            series,
            x=along.replace("_", "-"),
            y="ROC-AUC",
            log_x=joined and every[0] > 0 and every[-1] / every[0] > 8,
            ticks=every,
            joined=joined,
        )
        bars = "band is" if joined else "bars are"
        caption += f" The {bars} one standard deviation over the seeds of a class." if several else ""
        return (Drawing("roc-auc", f"ROC-AUC against {along.replace('_', '-')}", caption, figure),)

    def method(scope: Scope) -> tuple[str, ...]:
        several = DATASET in axes
        in_turn = [
            f"{f'{called[id(dataset)]} ' if several else ''}{text.listed(classes)}"
            for dataset, classes in problems
        ]
        return (
            f"Normal in turn: {'; '.join(in_turn)}. Seeds: {text.listed(seeds)}. "
            "Judged on development images: held-out normals against up to 10,000 training images of the other classes.",
        )

    names = [key.replace("_", "-") for key in axes]
    return Study(
        name or "-".join([NAME, *names]),
        f"What {'do' if len(names) > 1 else 'does'} {text.sentence(names)} change?",
        "A grid of one's own: every combination of the values is trained for each class and seed.",
        cells,
        rows,
        columns,
        answer,
        drawings,
        method,
    )


def _series(along: str, some: Sequence[Row]) -> plots.Series:
    """A line of mean ROC-AUCs against an axis, with a band of one standard deviation over seeds to either side."""
    low, high = (
        [None if row["seed_sd"] is None else row["roc_auc"] + side * row["seed_sd"] for row in some]
        for side in (-1, 1)
    )
    return plots.Series([row[along] for row in some], [row["roc_auc"] for row in some], low, high)


def _named(row: Row, keys: Sequence[str]) -> str:
    """A row in a few words: what its axes are."""
    if row.get(BASELINE):
        return str(row[BASELINE])
    return (
        ", ".join(f"{key.replace('_', '-')} {row[key]}" for key in keys if row.get(key) is not None)
        or "the defaults"
    )
