"""What the table of the study of bounds says, in words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from anomalae import text
from anomalae.experiments.studies.base import Row

# Nats by which a bound may lie above the exact value for the luck of its draws, and be no breach of the order.
LUCK = 0.05
# ROC-AUC below which two scores are as good as each other.
EQUAL = 0.002


def answer(table: Sequence[Row]) -> tuple[str, ...]:
    """Say how far the ELBO is below log p(x), what the gap is made of, what samples buy, and whether it matters."""
    exact = [row for row in table if row["gap"] is not None]
    said = [
        *_gap(exact),
        *_parts(exact),
        *_samples(table),
        *_order(exact),
        *_others(table),
        *_detection(table),
    ]
    return tuple(said)


def called(row: Row) -> str:
    """Return a row's model in words.

    >>> called({"model": "VAE", "width": 1})
    'VAE of 1 unit'
    """
    return f"{row['model']} of {text.plural(row['width'], 'unit')}"


def _gap(exact: Sequence[Row]) -> list[str]:
    if not exact:
        return ["No network has an exact log p(x), so how far the ELBO lies below it is not known."]
    widest = max(exact, key=lambda row: row["gap"])
    least = min(exact, key=lambda row: row["gap"])
    if widest is least:
        said = f"The ELBO lies {widest['gap']:.2f} nats an image below the exact log p(x) ({called(widest)})"
    else:
        said = (
            f"The ELBO lies {least['gap']:.2f} ({called(least)}) to {widest['gap']:.2f} nats ({called(widest)}) an "
            "image below the exact log p(x)"
        )
    pairs = [(row["gap"], row["gap_anomalous"]) for row in exact if row["gap_anomalous"] is not None]
    if not pairs:
        return [f"{said}."]
    larger = sum(anomalous > normal for normal, anomalous in pairs)
    low, high = min(pair[1] for pair in pairs), max(pair[1] for pair in pairs)
    reach = f"{low:.2f}" if len(pairs) == 1 else f"{low:.2f} to {high:.2f}"
    how = {len(pairs): "more", 0: "no more"}.get(larger, f"more in {larger} of {len(pairs)} rows")
    return [f"{said}; on anomalies {reach} nats, {how}."]


def _parts(exact: Sequence[Row]) -> list[str]:
    split = [row for row in exact if row["approximation"] is not None and row["amortisation"] is not None]
    if not split:
        return []
    shares = {
        called(row) + (f", {row['normal_classes']} normal" if _several(split) else ""): (
            row["amortisation"],
            row["approximation"],
        )
        for row in split
    }
    by_encoder = sum(amortised > approximated for amortised, approximated in shares.values())
    if by_encoder == len(shares):
        lead = "Most of the gap is amortisation: the encoder misses the best Gaussian"
    elif by_encoder == 0:
        lead = "Most of the gap is approximation: no Gaussian fits the posterior"
    else:
        lead = (
            f"The larger part is amortisation (the encoder misses the best Gaussian) in {by_encoder} of {len(shares)} "
            "rows, and approximation (no Gaussian fits the posterior) in the others"
        )
    numbers = [
        f"{amortised:.2f} nats of amortisation and {approximated:.2f} of approximation ({name})"
        for name, (amortised, approximated) in shares.items()
    ]
    return [f"{lead}; {text.listed(numbers, '; ')}."]


def _several(some: Sequence[Row]) -> bool:
    return len({row["normal_classes"] for row in some}) > 1


def _samples(table: Sequence[Row]) -> list[str]:
    closed = [(row, (row["highest"] - row["elbo"]) / row["gap"]) for row in table if (row["gap"] or 0) > 0]
    said = []
    if closed:
        most, least = max(closed, key=lambda pair: pair[1]), min(closed, key=lambda pair: pair[1])
        span = f"{least[1]:.0%} ({called(least[0])})"
        span += f" to {most[1]:.0%} ({called(most[0])})" if most is not least else ""
        verdict = (
            "close the gap"
            if least[1] >= 0.95
            else "do not close the gap"
            if most[1] < 0.95
            else "close it in part"
        )
        said.append(f"{most[0]['samples']} samples (IWAE) {verdict}: they make up {span} of it")
    wide = [row for row in table if row["exact"] is None and row["samples"] >= 4]
    if wide:
        gains = [
            f"{row['highest'] - row['elbo']:.1f} ({called(row)})" for row in wide if not _later(row, wide)
        ]
        last = min(row["highest"] - row[f"iwae_{row['samples'] // 4}"] for row in wide)
        still = "still rises" if last > LUCK else "hardly rises any more"
        said.append(
            f"where there is no exact value, {wide[0]['samples']} samples add {text.listed(gains)} nats to the ELBO, "
            f"which {still}: the last fourfold adds at least {last:.2f}"
        )
    return ["; ".join(said)[:1].upper() + "; ".join(said)[1:] + "."] if said else []


def _later(row: Row, some: Sequence[Row]) -> bool:
    """Whether the same model comes earlier, of another problem."""
    first = next(other for other in some if (other["model"], other["width"]) == (row["model"], row["width"]))
    return first is not row


def _order(exact: Sequence[Row]) -> list[str]:
    checked = [row for row in exact if row["above_exact"] is not None]
    if not checked:
        return []
    worst = max(checked, key=lambda row: row["above_exact"])
    if worst["above_exact"] <= LUCK:
        held = (
            f"ELBO <= IWAE <= log p(x) holds in all {len(checked)} rows"
            if len(checked) > 1
            else ("ELBO <= IWAE <= log p(x) holds")
        )
        return [f"{held}, as it must."]
    return [
        f"ELBO <= IWAE <= log p(x) is broken by {worst['above_exact']:.2f} nats ({called(worst)}): more than the luck "
        "of the draws explains."
    ]


def _others(table: Sequence[Row]) -> list[str]:
    said = []
    for model in ("ladder VAE", "ADGM"):
        pairs = [
            (row["gap"], plain["gap"])
            for row in table
            for plain in table
            if row["model"] == model
            and plain["model"] == "VAE"
            and all(row[key] == plain[key] for key in ("normal_classes", "width"))
            and row["gap"] is not None
            and plain["gap"] is not None
        ]
        if pairs:
            own, plain = (float(np.mean([pair[place] for pair in pairs])) for place in range(2))
            smaller = sum(first < second for first, second in pairs)
            word = {len(pairs): "narrower", 0: "no narrower"}.get(smaller, "narrower in some rows only")
            said.append(f"that of the {model} is {word} ({own:.2f} nats against {plain:.2f})")
    return [f"Beside the gap of a VAE of the same width, {text.listed(said, '; ')}."] if said else []


def _detection(table: Sequence[Row]) -> list[str]:
    judged = [
        (row["roc_auc_tightest"], row["roc_auc_elbo"])
        for row in table
        if row["roc_auc_tightest"] is not None and row["roc_auc_elbo"] is not None
    ]
    if not judged:
        return []
    better = sum(tight > elbo + EQUAL for tight, elbo in judged)
    worse = sum(tight < elbo - EQUAL for tight, elbo in judged)
    verdict = "better" if better > worse else "worse" if worse > better else "neither better nor worse"
    tight, elbo = (float(np.mean([pair[place] for pair in judged])) for place in range(2))
    return [
        f"As a detector the tighter value is {verdict} than the ELBO: ROC-AUC {tight:.4f} by log p(x), or by the most "
        f"samples, against {elbo:.4f} on average; better in {better} of {text.plural(len(judged), 'row')}, worse in "
        f"{worse}."
    ]
