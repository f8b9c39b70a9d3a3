"""What the table of the study of one dimension says, in words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from anomalae import text
from anomalae.experiments.studies.base import Row
from anomalae.experiments.studies.lines import CLASS_MEANS, MEAN, MODELS, REFERENCE

# Share of the variance within classes from which on something counts as learned.
LEARNED = 0.1
# Relative difference of two errors below which they are as good as equal.
EQUAL = 0.02


def answer(table: Sequence[Row]) -> tuple[str, ...]:
    """Say whether one class can and two cannot, what a line leaves beside means and PCA, and what lies on it."""
    models = list(
        dict.fromkeys(row["model"] for row in table if row["model"] in MODELS and row["width"] == 1)
    )
    if not models:
        return ("No network of one dimension was trained, so the question stays open.",)
    model = REFERENCE if REFERENCE in models else models[0]
    lines = [row for row in table if (row["model"], row["width"]) == (model, 1)]
    return tuple(
        sentence
        for sentence in (
            _verdict(lines, model),
            _compared(table, lines),
            _pairs(table, lines),
            _all(table, lines),
            _line(lines),
            _networks(table, models),
        )
        if sentence
    )


def _verdict(lines: Sequence[Row], model: str) -> str:
    one = [row["within"] for row in lines if row["kind"] == "one" and row["within"] is not None]
    two = [row["within"] for row in lines if row["kind"] == "two" and row["within"] is not None]
    if not one or not two:
        return "Whether one class can and two cannot be learned with one dimension stays open: a training is missing."
    share, shares = float(np.mean(one)), float(np.mean(two))
    of_one = _explained(share, "the variance of one class", "its mean image")
    of_two = _explained(
        shares, "the variance within the classes of a pair", "the mean image of the right class"
    )
    can, both = share >= 100 * LEARNED, shares >= 100 * LEARNED
    by = f"on held-out images one dimension of a {model} explains"
    if can and not both:
        return f"Yes, the note is right: {by} {of_one}, but only {of_two}."
    if can:
        return f"No, one dimension learns two classes too: {by} {of_one} and {of_two}."
    if both:
        return f"No, it is the other way round: {by} only {of_one}, but {of_two}."
    return f"No, one dimension learns neither one class nor two: {by} only {of_one} and {of_two}."


def _explained(percent: float, variance: str, instead: str) -> str:
    """Return how much of a variance is explained: none of it, where something else is nearer to the images."""
    if percent >= 0.5:
        return f"{percent:.0f}% of {variance}"
    if percent > -0.5:
        return f"0% of {variance}"
    return f"0% of {variance} (the MSE is {-percent:.0f}% higher than that of {instead})"


def _mse(value: float) -> str:
    return text.digits(value, 3)


def _of(table: Sequence[Row], label: str, model: str, width: int) -> float | None:
    return next(
        (
            row["mse_held_out"]
            for row in table
            if (row["classes"], row["model"], row["width"]) == (label, model, width)
        ),
        None,
    )


def _than(error: float, other: float, than: str) -> str:
    """Return how an error compares with another one, in words."""
    if abs(error - other) <= EQUAL * other:
        return f"as much as {than} ({_mse(other)})"
    return f"{'less' if error < other else 'more'} than {than} ({_mse(other)})"


def _compared(table: Sequence[Row], lines: Sequence[Row]) -> str:
    line = next((row for row in lines if row["kind"] == "one"), None)
    if line is None:
        return ""
    said = []
    for name, width, words in ((MEAN, 0, "the mean image"), ("PCA-1", 1, "PCA of one dimension")):
        other = _of(table, line["classes"], name, width)
        if other is not None:
            said.append(_than(line["mse_held_out"], other, words))
    wider = [
        f"{_mse(row['mse_held_out'])} with a width of {row['width']}"
        for row in table
        if (row["classes"], row["model"]) == (line["classes"], line["model"]) and row["width"] > 1
    ]
    sentence = f"Trained on one class, it leaves an MSE of {_mse(line['mse_held_out'])} a pixel"
    sentence += f": {' and '.join(said)}" if said else ""
    if wider:
        sentence += f"; wider embeddings leave {text.sentence(wider)}"
    return f"{sentence}."


def _pairs(table: Sequence[Row], lines: Sequence[Row]) -> str:
    said = []
    for row in lines:
        if row["kind"] != "two":
            continue
        part = f"an MSE of {_mse(row['mse_held_out'])} for {row['classes']}"
        compared = []
        other = _of(table, row["classes"], CLASS_MEANS, 0)
        if other is not None:
            compared.append(_than(row["mse_held_out"], other, "the mean image of the right class"))
        if row.get("line_each"):
            more = row["mse_held_out"] / row["line_each"] - 1
            size = f"{abs(100 * more):.0f}% {'more' if more > 0 else 'less'} than"
            compared.append(f"{'as much as' if abs(more) <= EQUAL else size} a network for each class alone")
        said.append(f"{part}, which is {' and '.join(compared)}" if compared else part)
    return f"Trained on two classes, it leaves {'; '.join(said)}." if said else ""


def _all(table: Sequence[Row], lines: Sequence[Row]) -> str:
    row = next((row for row in lines if row["kind"] == "all"), None)
    other = row and _of(table, row["classes"], CLASS_MEANS, 0)
    if row is None or not other or row["explained"] is None:
        return ""
    compared = _than(row["mse_held_out"], other, "the mean image of the right class")
    explained = _explained(row["explained"], "the variance of the images", "the mean image")
    return (
        f"Trained on {row['classes']}, it explains {explained}, and leaves an MSE of {_mse(row['mse_held_out'])}: "
        f"{compared}."
    )


def _line(lines: Sequence[Row]) -> str:
    apart = [
        f"{text.percent(row['told_apart'])} of the held-out images of {row['classes']}"
        for row in lines
        if row["told_apart"] is not None
    ]
    walks = [f"{row['jumps']:.1f} with {row['classes']}" for row in lines if row["jumps"] is not None]
    said = []
    if apart:
        said.append(f"the code alone tells the class right for {text.sentence(apart)}")
    if walks:
        said.append(
            "jumps of the decoded image from one end of the codes to the other, mean over trainings: "
            f"{text.sentence(walks)}"
        )
    return f"{_upper('; '.join(said))}." if said else ""


def _upper(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _networks(table: Sequence[Row], models: Sequence[str]) -> str:
    """What each network and PCA leave, the mean over the problems that every one of them has."""
    names = [*models, *(["PCA-1"] if any(row["model"] == "PCA-1" for row in table) else [])]
    by_problem = {
        name: {
            row["classes"]: row["mse_held_out"]
            for row in table
            if (row["model"], row["width"]) == (name, 1) and row["mse_held_out"] is not None
        }
        for name in names
    }
    common = set.intersection(*(set(values) for values in by_problem.values()))
    if len(names) < 2 or not common:
        return ""
    errors = {
        name: float(np.mean([values[label] for label in sorted(common)]))
        for name, values in by_problem.items()
    }
    over = list(dict.fromkeys(row["classes"] for row in table if row["classes"] in common))
    listed = text.listed(
        f"{'PCA' if name == 'PCA-1' else name} {_mse(errors[name])}"
        for name in sorted(errors, key=lambda name: errors[name])
    )
    mean_of = f", the mean of {text.sentence(over)}" if len(over) > 1 else f" for {over[0]}"
    return f"MSE of one dimension by network, lowest first{mean_of}: {listed}."
