"""What the table of the study of generating says, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from anomalae import text
from anomalae.experiments.studies.base import Row
from anomalae.experiments.studies.reader import (
    DRAWN,
    REAL,
    REBUILT,
    REDRAWN,
)

# Shares that differ by less are as good as each other.
EQUAL = 0.03
# Share of draws that must be copies to lie as often nearer to what was seen as they do: from the first on they lean to
# copies, from the second on most are.
LEANS, COPIES = 0.15, 0.5
# Share of recognised draws from which on a network generates, and below which it hardly does.
MOST, SOME = 0.75, 0.4


def answer(table: Sequence[Row]) -> tuple[str, ...]:
    """Say whether draws look like digits, whether they are copies, and what the prior has to do with it."""
    kinds = list(dict.fromkeys(row["normal_classes"] for row in table))
    if not kinds:
        return ()
    some = [row for row in table if row["normal_classes"] == kinds[0]]
    said = [*_generates(some), *_copies(some), *_control(some), *_prior(some), *_holes(some), *_variety(some)]
    return tuple(said)


def _of(table: Sequence[Row], images: str, **wanted: Any) -> list[Row]:
    return [
        row
        for row in table
        if row["images"] == images
        and row["recognised"] is not None
        and all(row[key] == value for key, value in {"few": False, **wanted}.items())
    ]


def _best(table: Sequence[Row], model: str) -> Row | None:
    """Return the draws of a model, at the width at which most are recognised."""
    return max(_of(table, DRAWN, model=model), key=lambda row: row["recognised"], default=None)


def _generates(table: Sequence[Row]) -> list[str]:
    best = _best(table, "VAE")
    if best is None:
        return []
    width = best["width"]
    rebuilt_there = _of(table, REBUILT, model="VAE", width=width)
    if not rebuilt_there:
        return []
    drawn, again = best["recognised"], rebuilt_there[0]["recognised"]
    verdict = "generates" if drawn >= MOST else "generates in part" if drawn >= SOME else "hardly generates"
    how = "better" if again > drawn + EQUAL else "worse" if again < drawn - EQUAL else "as well"
    said = (
        f"The VAE {verdict}, and rebuilds {how}: a classifier of real images recognises {drawn:.0%} of draws from its "
        f"prior, {again:.0%} of its reconstructions{_real(table)} (at {text.plural(width, 'unit')}"
    )
    others = [row for row in _of(table, DRAWN, model="VAE") if row["width"] != width]
    beside = [f"{row['recognised']:.0%} of draws at {row['width']}" for row in others]
    return [f"{said}; {text.listed(beside)})." if beside else f"{said})."]


def _real(table: Sequence[Row]) -> str:
    real = _of(table, REAL)
    return f", and {real[0]['recognised']:.0%} of new real images" if real else ""


def copied(table: Sequence[Row], row: Row) -> tuple[float, float] | None:
    """Return the share of a row's images that would be copies, and the share of real images nearer to what was seen.

    Were a share c copies, and the others as real held-out images are, `c + (1 - c) real` would lie nearer to what was
    seen. None where there is no row of real images beside it.
    """
    real = [own["nearest_seen"] for own in _of(table, REAL, few=row["few"])]
    if not real or real[0] >= 1:
        return None
    return max(0.0, (row["nearest_seen"] - real[0]) / (1 - real[0])), real[0]


def _copies(table: Sequence[Row]) -> list[str]:
    best = _best(table, "VAE")
    shares = copied(table, best) if best else None
    if best is None or shares is None:
        return []
    share, real = shares
    verdict = (
        "are copies, most of them"
        if share >= COPIES
        else "lean to copies"
        if share >= LEANS
        else "are no copies"
    )
    return [
        f"Its draws {verdict}: {best['nearest_seen']:.0%} lie nearer to an image that was trained on than to any of as "
        f"many that were not, and so do {real:.0%} of new real images."
    ]


def _control(table: Sequence[Row]) -> list[str]:
    few = _of(table, DRAWN, model="VAE", few=True)
    shares = copied(table, few[0]) if few else None
    if shares is None:
        return []
    share, real = shares
    verdict = "copies" if share >= COPIES else "leans to copies" if share >= LEANS else "does not copy either"
    return [
        f"Trained on {few[0]['trained_on']} images alone, the VAE {verdict}: {few[0]['nearest_seen']:.0%} against "
        f"{real:.0%}."
    ]


def _prior(table: Sequence[Row]) -> list[str]:
    pairs = [
        (plain["recognised"], own["recognised"], plain["width"])
        for plain in _of(table, DRAWN, model="AE")
        for own in _of(table, DRAWN, model="VAE", width=plain["width"])
    ]
    if not pairs:
        return []
    worse = [plain < own - EQUAL for plain, own, _ in pairs]
    better = [plain > own + EQUAL for plain, own, _ in pairs]
    if all(worse):
        verdict = "generates worse than the VAE"
    elif all(better):
        verdict = "generates better than the VAE"
    elif not any(worse) and not any(better):
        verdict = "generates as well as the VAE"
    else:
        verdict = "generates better or worse than the VAE by width"
    shares = [f"{plain:.0%} against {own:.0%} at {width}" for plain, own, width in pairs]
    return [
        f"A plain autoencoder whose codes are drawn from a Gaussian fitted to its codes {verdict}: "
        f"{text.listed(shares)} units are recognised."
    ]


def _holes(table: Sequence[Row]) -> list[str]:
    pairs = [
        (row["recognised"], again["recognised"], row["width"], row["code_rms"])
        for row in _of(table, DRAWN, model="VAE")
        for again in _of(table, REDRAWN, model="VAE", width=row["width"])
    ]
    if not pairs:
        return []
    gains = [fitted - prior for prior, fitted, *_ in pairs]
    if max(gains) > EQUAL:
        verdict = "helps: the prior is not where the codes are"
    elif min(gains) < -EQUAL:
        verdict = "costs: the prior is where the codes are, and better than a Gaussian fitted to them"
    else:
        verdict = "changes little: the prior is about where the codes are"
    if max(gains) > EQUAL and min(gains) < -EQUAL:
        verdict = "helps at some widths and costs at others"
    shares = [f"{fitted:.0%} instead of {prior:.0%} at {width}" for prior, fitted, width, _ in pairs]
    spreads = [f"{spread:.1f}" for *_, spread in pairs if spread is not None]
    beside = f"; codes have a root mean square of {text.listed(spreads)}, the prior of 1" if spreads else ""
    return [f"Drawing the VAE's codes from such a Gaussian too {verdict} ({text.listed(shares)}{beside})."]


def _variety(table: Sequence[Row]) -> list[str]:
    best = _best(table, "VAE")
    real = _of(table, REAL)
    if best is None or not real:
        return []
    own, theirs = best["kinds"], real[0]["kinds"]
    verdict = "as many classes as" if own >= 0.9 * theirs else "fewer classes than"
    return [f"The recognised draws hold {verdict} the real images: {own:.1f} in effect against {theirs:.1f}."]
