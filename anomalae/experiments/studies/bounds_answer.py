"""What the table of the study of bounds says, in words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from anomalae import text
from anomalae.experiments.studies.base import Row
from anomalae.experiments.studies.compared import left_out, whole

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
        *_samples(exact),
        *_wide(table),
        *_others(whole(table)),
        *_detection(table),
        *left_out(table, lambda row: _named(row, table), "networks"),
    ]
    return tuple(said)


def called(row: Row) -> str:
    """Return a row's model in words.

    >>> called({"model": "VAE", "width": 1})
    'VAE of 1 unit'
    """
    return f"{row['model']} of {text.plural(row['width'], 'unit')}"


def _named(row: Row, some: Sequence[Row]) -> str:
    """Return a row's model in words, with the problem where there are several."""
    several = len({other["normal_classes"] for other in some}) > 1
    return called(row) + (f", {row['normal_classes']} normal" if several else "")


def _gap(exact: Sequence[Row]) -> list[str]:
    if not exact:
        return ["No network has an exact log p(x), so how far the ELBO lies below it is not known."]
    widest = max(exact, key=lambda row: row["gap"])
    least = min(exact, key=lambda row: row["gap"])
    reach = f"{least['gap']:.2f} nats ({_named(least, exact)})"
    if widest is not least:
        reach += f" to {widest['gap']:.2f} nats ({_named(widest, exact)})"
    said = f"On held-out normal images the ELBO lies {reach} below the exact log p(x), the mean over images"
    pairs = [(row["gap"], row["gap_anomalous"]) for row in exact if row["gap_anomalous"] is not None]
    if not pairs:
        return [f"{said}."]
    larger = sum(anomalous > normal for normal, anomalous in pairs)
    low, high = min(pair[1] for pair in pairs), max(pair[1] for pair in pairs)
    reach = f"{low:.2f} nats" if len(pairs) == 1 else f"{low:.2f} to {high:.2f} nats"
    how = {len(pairs): "larger", 0: "no larger"}.get(
        larger, f"larger in {larger} of {len(pairs)} rows of the table"
    )
    return [f"{said}; on anomalies this gap is {how}: {reach}."]


def _parts(exact: Sequence[Row]) -> list[str]:
    split = [row for row in exact if row["approximation"] is not None and row["amortisation"] is not None]
    if not split:
        return []
    by_encoder = sum(row["amortisation"] > row["approximation"] for row in split)
    if by_encoder == len(split):
        lead = "Most of the gap is amortisation (the encoder misses the best Gaussian)"
    elif by_encoder == 0:
        lead = "Most of the gap is approximation (no Gaussian fits the posterior)"
    else:
        lead = (
            f"Most of the gap is amortisation (the encoder misses the best Gaussian) in {by_encoder} of {len(split)} "
            "rows of the table, and approximation (no Gaussian fits the posterior) in the others"
        )
    numbers = [
        f"{row['amortisation']:.2f} nats of amortisation and {row['approximation']:.2f} of approximation "
        f"({_named(row, split)})"
        for row in split
    ]
    return [f"{lead}: {text.listed(numbers, '; ')}."]


def _samples(exact: Sequence[Row]) -> list[str]:
    """How much of the gap the most samples close, and whether all bounds are in the order that they must have."""
    closed = [(row, (row["highest"] - row["elbo"]) / row["gap"]) for row in exact if row["gap"] > 0]
    order = _order(exact)
    if not closed:
        return [f"{order[:1].upper()}{order[1:]}."] if order else []
    most, least = max(closed, key=lambda pair: pair[1]), min(closed, key=lambda pair: pair[1])
    span = f"{least[1]:.0%} ({_named(least[0], exact)})"
    span += f" to {most[1]:.0%} ({_named(most[0], exact)})" if most is not least else ""
    verdict = (
        "close the gap"
        if least[1] >= 0.95
        else "do not close the gap"
        if most[1] < 0.95
        else "close the gap for some networks only"
    )
    samples = _counted([row for row, _ in closed])
    said = f"{samples} samples (IWAE) {verdict}: the bound goes {span} of the way from the ELBO to log p(x)"
    return [f"{said}; {order}." if order else f"{said}."]


def _wide(table: Sequence[Row]) -> list[str]:
    """What samples add where log p(x) is not known."""
    wide = [row for row in table if row["exact"] is None and len(sample_counts(row)) > 1]
    if not wide:
        return []
    gains = sorted(
        ((row["highest"] - row["elbo"], _named(row, wide)) for row in wide), key=lambda pair: pair[0]
    )
    ends = [f"{gain:.1f} nats ({name})" for gain, name in (gains[0], gains[-1])[: len(gains)]]
    steps = [sample_counts(row)[-2:] for row in wide]
    last = [row["highest"] - row[f"iwae_{fewer}"] for row, (fewer, _) in zip(wide, steps, strict=True)]
    rising = sum(added > LUCK for added in last)
    still = {len(wide): "still rises", 0: "hardly rises any more"}.get(
        rising, f"still rises in {rising} of {len(wide)} rows of the table"
    )
    increase = (
        "last fourfold increase" if all(most == 4 * fewer for fewer, most in steps) else "last increase"
    )
    added = " to ".join(dict.fromkeys(f"{end:.2f}" for end in (min(last), max(last))))
    return [
        f"Where log p(x) is not known, {_counted(wide)} samples add {' to '.join(ends)} to the ELBO, "
        f"and the bound {still}: the {increase} of samples adds {added} nats."
    ]


def sample_counts(row: Row) -> list[int]:
    """Return of how many samples a row has bounds, the fewest first.

    >>> sample_counts({"iwae_1": -1.0, "iwae_16": -0.5, "iwae_16_anomalous": -2.0})
    [1, 16]
    """
    return sorted(int(key[5:]) for key in row if key.startswith("iwae_") and key[5:].isdigit())


def _counted(rows: Sequence[Row]) -> str:
    """The number of samples of a table's rows, or the least and the most of them."""
    counts = sorted({row["samples"] for row in rows})
    return " to ".join(text.count(number) for number in dict.fromkeys((counts[0], counts[-1])))


def _order(exact: Sequence[Row]) -> str:
    checked = [row for row in exact if row["above_exact"] is not None]
    if not checked:
        return ""
    worst = max(checked, key=lambda row: row["above_exact"])
    if worst["above_exact"] <= LUCK:
        return "ELBO <= IWAE <= log p(x) holds, as it must"
    return (
        f"but ELBO <= IWAE <= log p(x) is broken by {worst['above_exact']:.2f} nats ({_named(worst, exact)}), more "
        "than the luck of the draws explains"
    )


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
            word = {len(pairs): "smaller", 0: "no smaller"}.get(smaller, "smaller for some classes only")
            said.append(f"that of the {model} is {word} ({own:.2f} against {plain:.2f} nats)")
    return [f"Compared with the gap of a VAE of the same width, {text.sentence(said)}."] if said else []


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
    tight, elbo = (float(np.mean([pair[place] for pair in judged])) for place in range(2))
    alike = abs(tight - elbo) <= EQUAL
    verdict = "neither better nor worse" if alike else "better" if tight > elbo else "worse"
    return [
        f"As an anomaly score the tightest bound (log p(x) where it is known, else that of most samples) is {verdict} "
        f"than the ELBO: a mean ROC-AUC of {tight:.4f} against {elbo:.4f}, better by more than {EQUAL} in {better} and "
        f"worse in {worse} of {text.plural(len(judged), 'row')} of the table."
    ]
