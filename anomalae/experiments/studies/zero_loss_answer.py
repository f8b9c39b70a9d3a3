"""What the table of the study of the loss of zero says, in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from anomalae import text
from anomalae.experiments.studies.base import Row
from anomalae.experiments.studies.compared import left_out, whole
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
    alike = whole(learned)
    said = [
        _zero(learned),
        _detects(whole(table)),
        _by_hand(table),
        _bottleneck(alike),
        _images(alike),
        _precision(alike),
        *left_out(learned, _described),
    ]
    return tuple(sentence for sentence in said if sentence)


def _small(value: float) -> str:
    return text.short(value, 2)


def _described(row: Row) -> str:
    return (
        f"{row['model']} of width {row['width']}, trained on {text.count(row['images'])} images in {row['precision']} "
        "precision"
    )


def _zero(learned: Sequence[Row]) -> str:
    if not learned:
        return "Whether training brings the loss to zero stays open: no network was trained."
    trainings, zeros = sum(row["trainings"] for row in learned), sum(row["zeros"] for row in learned)
    lowest = min(learned, key=lambda row: row["mse_train"])
    steps = text.count(lowest["steps"])
    wide = [row for row in learned if not row["bottleneck"]]
    quick = sorted(row["steps_to_level"] for row in wide if row["steps_to_level"])
    needed = ""
    if quick:
        ends = " to ".join(dict.fromkeys(text.count(round(end)) for end in (quick[0], quick[-1])))
        needed = (
            f"; without a bottleneck it took {ends} steps to reach {LEVEL:g}"
            if len(quick) == len(wide)
            else f"; without a bottleneck {len(quick)} of {len(wide)} rows of the table reach {LEVEL:g}, in {ends} "
            "steps"
        )
    which = _described(next((row for row in learned if row["zeros"]), lowest))
    if zeros:
        ended = f"{zeros} of {text.plural(trainings, 'training')} ended with an MSE of exactly zero"
        return f"Yes: {ended} ({which}){needed}."
    return (
        f"No: none of {text.plural(trainings, 'training')} ended with an MSE of exactly zero; the lowest is "
        f"{_small(lowest['mse_train'])} a pixel after {steps} steps ({which}){needed}."
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
        loss = "an MSE of exactly zero" if worst == 0 else f"an MSE of {_small(worst)}"
        value = np.mean([row["roc_auc"] for row in by_hand])
        said.append(f"two identity matrices, set by hand, have {loss} and a ROC-AUC of {value:.2f}")
    if exact:
        listed = " and ".join(f"{_small(loss)} in {precision} precision" for precision, loss in exact.items())
        said.append(f"PCA with all its axes, an identity but for rounding, has an MSE of {listed}")
    return f"{_upper('; '.join(said))}." if said else ""


def _upper(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _ratios(learned: Sequence[Row], key: str, first: Any, second: Any) -> list[float]:
    """Return how many times the loss is as high with the first value as with the second, all else alike.

    Each of the table's rows that has both gives one.
    """
    others = [name for name in ("model", "bottleneck", "few", "precision") if name != key]
    by_rest: dict[tuple[Any, ...], dict[Any, float]] = {}
    for row in learned:
        by_rest.setdefault(tuple(row[name] for name in others), {})[row[key]] = row["mse_train"]
    pairs = [losses for losses in by_rest.values() if first in losses and second in losses]
    return [_ratio(losses[first], losses[second]) for losses in pairs]


def _ratio(loss: float, other: float) -> float:
    """Return how many times as high a loss is: 1 where both are exactly zero, infinity where the other alone is."""
    if other > 0:
        return loss / other
    return 1.0 if loss == 0 else math.inf


def _times(ratios: Sequence[float]) -> str:
    """Return how many times as high losses are, in words, with the word that what they are compared with follows."""
    low, high = min(ratios), max(ratios)
    if low >= 1 / (1 + ALIKE) and high <= 1 + ALIKE:
        return "about as high as"
    if low > 1 + ALIKE:
        return f"higher by a factor of {_span(low, high)} than"
    if high < 1 / (1 + ALIKE):
        return f"lower by a factor of {_span(_ratio(1, high), _ratio(1, low))} than"
    return f"{_span(low, high)} times as high, by row of the table, as"


def _span(low: float, high: float) -> str:
    return " to ".join(dict.fromkeys((_factor(low), _factor(high))))


def _factor(value: float) -> str:
    """Return a factor in words: one that is very large or small as a power of ten."""
    if value == 0:
        return "0"
    if value == math.inf:
        return "infinity (one of the two is exactly zero)"
    if not 1e-6 < value < 1e6:
        return f"about 10^{round(math.log10(value))}"
    return text.short(value, 2) if value < 10 else text.count(round(value))


def _bottleneck(learned: Sequence[Row]) -> str:
    ratios = _ratios(learned, "bottleneck", True, False)
    said = []
    if ratios:
        width = next(row["width"] for row in learned if row["bottleneck"])
        said.append(
            f"a bottleneck of width {width} leaves a training MSE that is {_times(ratios)} without one"
        )
    above = [
        row["mse_train"] / row["optimum"] - 1
        for row in learned
        if row["model"] == LINEAR and row["bottleneck"] and row["optimum"] > 0
    ]
    if above:
        far = f"{100 * max(above):.1f}% above that of PCA, the lowest that is possible for it"
        said.append(
            f"the linear AE finds its optimum there: its MSE is at most {far}"
            if max(above) <= AT_OPTIMUM
            else f"the linear AE does not reach its optimum there: its MSE is up to {far}"
        )
    return f"{_upper('; '.join(said))}." if said else ""


def _images(learned: Sequence[Row]) -> str:
    wide = [row for row in learned if not row["bottleneck"]]
    said = []
    ratios = _ratios(wide, "few", True, False)
    if ratios:
        counts = {row["few"]: text.count(row["images"]) for row in wide}
        said.append(f"the training MSE of {counts[True]} images is {_times(ratios)} that of {counts[False]}")
    gaps = [_ratio(row["mse_held_out"], row["mse_train"]) for row in wide if row["few"]]
    if gaps:
        said.append(
            f"held-out images then have {_span(min(gaps), max(gaps))} times the MSE of these few, which are overfitted"
            if max(gaps) > 1 + ALIKE
            else "held-out images then have about the MSE of these few"
        )
    ratios = _ratios(wide, "model", NONLINEAR, LINEAR)
    if ratios:
        said.append(f"that of the nonlinear AE is {_times(ratios)} that of the linear one")
    ratios = _ratios(wide, "model", SIGMOID, NONLINEAR)
    if ratios:
        said.append(f"that of the AE with a sigmoid output is {_times(ratios)} without the sigmoid")
    return f"Without a bottleneck, {'; '.join(said)}." if said else ""


def _precision(learned: Sequence[Row]) -> str:
    ratios = _ratios(learned, "precision", "double", "single")
    if not ratios:
        return ""
    if _times(ratios).startswith("about as"):
        return "Double precision changes next to nothing: the training MSE is about that of single precision."
    return f"In double precision the training MSE is {_times(ratios)} in single precision."


def _detects(table: Sequence[Row]) -> str:
    """What networks detect that were trained on all images, as wide as the input and with a bottleneck."""
    values: dict[bool, dict[str, float]] = {False: {}, True: {}}
    for row in table:
        if row["model"] in TRAINED and row["precision"] == "single" and not row["few"]:
            values[row["bottleneck"]][row["model"]] = row["roc_auc"]
    wide, narrow = values[False], values[True]
    if not wide:
        return ""
    listed = text.sentence([f"{value:.3f} ({model})" for model, value in wide.items()])
    sentence = f"As detectors, trained on all images without a bottleneck, they reach a ROC-AUC of {listed}"
    above = sum(value > 0.5 + EQUAL for value in wide.values())
    which = {len(wide): "more", 0: "no more"}.get(above, f"{above} of {len(wide)} more")
    sentence += f", {which} than the 0.5 of an exact copy"
    both = [model for model in wide if model in narrow]
    if both:
        gain = float(np.mean([narrow[model] - wide[model] for model in both]))
        word = "raises" if gain > EQUAL else "lowers" if gain < -EQUAL else "hardly changes"
        listed = text.sentence([f"{narrow[model]:.3f} ({model})" for model in both])
        sentence += f"; a bottleneck {word} it on average: {listed}"
    return f"{sentence}."
