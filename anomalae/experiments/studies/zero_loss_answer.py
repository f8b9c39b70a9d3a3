"""What the table of the study of the loss of zero says, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from anomalae import text
from anomalae.experiments.studies.base import Row
from anomalae.experiments.studies.wide_networks import (
    IDENTITY,
    LEVEL,
    LINEAR,
    NONLINEAR,
    PRINCIPAL,
    SIGMOID,
    TRAINED,
)

# A linear AE is at its optimum when it is not further above it than this share.
AT_OPTIMUM = 0.01
# Differences below which two results are as good as equal: of ROC-AUC, and relative ones of the loss.
EQUAL, ALIKE = 0.005, 0.2


def answer(table: Sequence[Row]) -> tuple[str, ...]:
    """Say whether the loss is zero, what a bottleneck, more images and precision change, and what is detected."""
    learned = [row for row in table if row["model"] in TRAINED]
    said = [
        _zero(learned),
        _by_hand(table),
        _bottleneck(learned),
        _images(learned),
        _precision(learned),
        _detects(table),
    ]
    return tuple(sentence for sentence in said if sentence)


def _small(value: float) -> str:
    return text.short(value, 2)


def _described(row: Row) -> str:
    return f"{row['model']}, width {row['width']}, {text.count(row['images'])} images, {row['precision']} precision"


def _zero(learned: Sequence[Row]) -> str:
    if not learned:
        return "Whether training brings the loss to zero stays open: no network was trained."
    trainings, zeros = sum(row["trainings"] for row in learned), sum(row["zeros"] for row in learned)
    lowest = min(learned, key=lambda row: row["mse_train"])
    steps = text.count(lowest["steps"])
    quick = sorted(
        row["steps_to_level"] for row in learned if row["steps_to_level"] and not row["bottleneck"]
    )
    needed = ""
    if quick:
        ends = [text.count(round(end)) for end in (quick[0], quick[-1])]
        needed = f"; {LEVEL:g} was reached in {' to '.join(dict.fromkeys(ends))} steps without a bottleneck"
    which = _described(next((row for row in learned if row["zeros"]), lowest))
    if zeros:
        ended = f"{zeros} of {text.plural(trainings, 'training')} ended with a loss of exactly zero"
        return f"Yes: {ended} ({which}){needed}."
    return (
        f"No: none of {text.plural(trainings, 'training')} ended with a loss of zero; the lowest, after {steps} steps, "
        f"is an MSE of {_small(lowest['mse_train'])} a pixel ({which}){needed}."
    )


def _by_hand(table: Sequence[Row]) -> str:
    by_hand = [row for row in table if row["model"] == IDENTITY]
    exact = {
        row["precision"]: row["mse_train"]
        for row in table
        if row["model"] == PRINCIPAL and not row["bottleneck"] and not row["few"]
    }
    said = []
    if by_hand:
        worst = max(row["mse_train"] for row in by_hand)
        loss = "a loss of exactly zero" if worst == 0 else f"an MSE of {_small(worst)}"
        value = np.mean([row["roc_auc"] for row in by_hand])
        said.append(f"set by hand, two identity matrices have {loss} and a ROC-AUC of {value:.2f}")
    if exact:
        listed = " and ".join(f"{_small(loss)} in {precision} precision" for precision, loss in exact.items())
        said.append(
            f"two matrices of all principal axes, which should do the same, are off by {listed} through rounding"
        )
    return f"{_upper('; '.join(said))}." if said else ""


def _upper(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _ratio(learned: Sequence[Row], key: str, first: Any, second: Any) -> float | None:
    """Return how many times the loss is as high with the first value as with the second, all else alike.

    It is the geometric mean over the rows that have both; None where there is none, or a loss is zero.
    """
    others = [name for name in ("model", "bottleneck", "few", "precision") if name != key]
    by_rest: dict[tuple[Any, ...], dict[Any, float]] = {}
    for row in learned:
        by_rest.setdefault(tuple(row[name] for name in others), {})[row[key]] = row["mse_train"]
    pairs = [losses for losses in by_rest.values() if losses.get(first) and losses.get(second)]
    if not pairs:
        return None
    return float(np.exp(np.mean([np.log(losses[first] / losses[second]) for losses in pairs])))


def _times(ratio: float) -> str:
    """Return a ratio of losses in words."""
    if 1 / (1 + ALIKE) <= ratio <= 1 + ALIKE:
        return "about as high"
    return f"{_factor(max(ratio, 1 / ratio))} times {'higher' if ratio > 1 else 'lower'}"


def _factor(value: float) -> str:
    return text.short(value, 2) if value < 10 else text.count(round(value))


def _bottleneck(learned: Sequence[Row]) -> str:
    ratio = _ratio(learned, "bottleneck", True, False)
    said = []
    if ratio is not None:
        width = next(row["width"] for row in learned if row["bottleneck"])
        said.append(f"with a bottleneck of {width} the loss ends {_times(ratio)}")
    above = [
        row["mse_train"] / row["optimum"] - 1
        for row in learned
        if row["model"] == LINEAR and row["bottleneck"] and row["optimum"] > 0
    ]
    if above:
        far = f"{100 * max(above):.1f}% above PCA's, the lowest there is"
        said.append(
            f"there the linear AE finds its optimum: at most {far}"
            if max(above) <= AT_OPTIMUM
            else f"there the linear AE stops short of its optimum: up to {far}"
        )
    return f"{_upper('; '.join(said))}." if said else ""


def _images(learned: Sequence[Row]) -> str:
    wide = [row for row in learned if not row["bottleneck"]]
    said = []
    ratio = _ratio(wide, "few", True, False)
    if ratio is not None:
        counts = {row["few"]: text.count(row["images"]) for row in wide}
        said.append(
            f"the loss of {counts[True]} images ends {_times(ratio)} {_as(ratio)} that of {counts[False]}"
        )
    few = [row for row in wide if row["few"] and row["mse_train"] and row["mse_held_out"]]
    if few:
        gap = float(np.exp(np.mean([np.log(row["mse_held_out"] / row["mse_train"]) for row in few])))
        said.append(
            f"others are rebuilt {_factor(gap)} times worse than these few, which are learned by heart"
            if gap > 1 + ALIKE
            else "others are rebuilt as well as these few"
        )
    ratio = _ratio(wide, "model", NONLINEAR, LINEAR)
    if ratio is not None:
        said.append(f"nonlinear the loss ends {_times(ratio)} {_as(ratio)} linear")
    ratio = _ratio(wide, "model", SIGMOID, NONLINEAR)
    if ratio is not None:
        said.append(f"with a sigmoid at the output {_times(ratio)} {_as(ratio)} without")
    return f"Without a bottleneck, {'; '.join(said)}." if said else ""


def _as(ratio: float) -> str:
    return "as" if _times(ratio).endswith("high") else "than"


def _precision(learned: Sequence[Row]) -> str:
    ratio = _ratio(learned, "precision", "double", "single")
    if ratio is None:
        return ""
    if _as(ratio) == "as":
        return "Double precision changes next to nothing: the loss ends where single precision leaves it."
    return f"In double precision the loss ends {_times(ratio)} than in single precision."


def _detects(table: Sequence[Row]) -> str:
    """What networks detect that were trained on all images, as wide as the input and with a bottleneck."""
    values: dict[bool, dict[str, float]] = {False: {}, True: {}}
    for row in table:
        if row["model"] in TRAINED and row["precision"] == "single" and not row["few"]:
            values[row["bottleneck"]][row["model"]] = row["roc_auc"]
    wide, narrow = values[False], values[True]
    if not wide:
        return ""
    listed = text.listed(f"{model} {value:.3f}" for model, value in wide.items())
    sentence = f"As detectors, trained on all images without a bottleneck, they have a ROC-AUC of {listed}"
    low = min(wide.values())
    verdict = "no more than the 0.5 of a copy" if low <= 0.5 + EQUAL else "all above the 0.5 of a copy"
    sentence += f", {verdict if low > 0.5 + EQUAL else f'the lowest {verdict}'}"
    both = [model for model in wide if model in narrow]
    if both:
        gain = float(np.mean([narrow[model] - wide[model] for model in both]))
        word = "helps" if gain > EQUAL else "harms" if gain < -EQUAL else "changes little"
        listed = text.listed(f"{model} {narrow[model]:.3f}" for model in both)
        sentence += f"; a bottleneck {word}: {listed}"
    return f"{sentence}."
