"""What the table of the study of generating says, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from anomalae import text
from anomalae.experiments.studies.base import Row
from anomalae.experiments.studies.compared import left_out, whole
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
    # The words are of the first problem, the table and the figures of all.
    some = [row for row in table if row["normal_classes"] == kinds[0]]
    said = [
        *_generates(some),
        *_keeps(some),
        *_copies(some),
        *_control(some),
        *_prior(some),
        *_holes(some),
        *_variety(some),
    ]
    if len(kinds) > 1 and said:
        problem = "one class" if kinds[0] == "one" else "all classes but one"
        said[0] = f"With {problem} normal, {said[0][:1].lower()}{said[0][1:]}"
    return (*said, *left_out(some, _named))


def _named(row: Row) -> str:
    if row["model"] is None:
        return str(row["images"])
    return f"{row['model']} of width {row['width']}" + (", trained on few images" if row["few"] else "")


def _of(table: Sequence[Row], images: str, **wanted: Any) -> list[Row]:
    return [
        row
        for row in whole(table)
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
        f"The VAE {verdict}, and rebuilds {how}: with a width of {width} a classifier trained on real images "
        f"recognises {drawn:.0%} of the images drawn from its prior and {again:.0%} of its "
        f"reconstructions{_real(table)}"
    )
    others = [row for row in _of(table, DRAWN, model="VAE") if row["width"] != width]
    beside = [f"{row['recognised']:.0%} with a width of {row['width']}" for row in others]
    return [f"{said}; of the drawn images {text.sentence(beside)}." if beside else f"{said}."]


def _keeps(table: Sequence[Row]) -> list[str]:
    """Whether reconstructions are of the class of their images."""
    best, real = _best(table, "VAE"), _of(table, REAL)
    rebuilt = _of(table, REBUILT, model="VAE", width=best["width"]) if best else []
    if not rebuilt or not real or rebuilt[0]["class_kept"] is None or real[0]["class_kept"] is None:
        return []
    own, theirs = rebuilt[0]["class_kept"], real[0]["class_kept"]
    how = (
        "less often than"
        if own < theirs - EQUAL
        else "more often than"
        if own > theirs + EQUAL
        else "as often as"
    )
    return [
        f"The classifier takes {own:.0%} of the reconstructions with a width of {rebuilt[0]['width']} for the class of "
        f"their image, {how} new real images ({theirs:.0%})."
    ]


def _real(table: Sequence[Row]) -> str:
    real = _of(table, REAL)
    return f", where it recognises {real[0]['recognised']:.0%} of new real images" if real else ""


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
        "are mostly copies of training images"
        if share >= COPIES
        else "are partly copies of training images"
        if share >= LEANS
        else "are no copies of training images"
    )
    return [
        f"The drawn images {verdict}: {best['nearest_seen']:.0%} of them are nearer to a training image than to any of "
        f"as many images that were not trained on, against {real:.0%} of new real images."
    ]


def _control(table: Sequence[Row]) -> list[str]:
    few = _of(table, DRAWN, model="VAE", few=True)
    shares = copied(table, few[0]) if few else None
    if shares is None:
        return []
    share, real = shares
    verdict = "copies" if share >= COPIES else "copies in part" if share >= LEANS else "does not copy either"
    return [
        f"Trained on no more than {few[0]['trained_on']} images, the VAE {verdict}: {few[0]['nearest_seen']:.0%} of "
        f"the drawn images are nearer to a training image, against {real:.0%} of new real images."
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
        parts = []
        for kind, which in (("better", better), ("worse", worse)):
            widths = [str(width) for (_, _, width), so in zip(pairs, which, strict=True) if so]
            if widths:
                parts.append(f"{kind} than the VAE with a width of {' or '.join(widths)}")
        as_well = not all(either for either in map(max, zip(worse, better, strict=True)))
        rest = f", else as well (within {100 * EQUAL:.0f} points)" if as_well else ""
        verdict = f"generates {' and '.join(parts)}{rest}"
    shares = [f"{plain:.0%} against {own:.0%} with a width of {width}" for plain, own, width in pairs]
    return [
        f"A plain autoencoder, its codes drawn from a Gaussian fitted to those of the training images, {verdict}: "
        f"recognised are {text.sentence(shares)}."
    ]


def _holes(table: Sequence[Row]) -> list[str]:
    pairs = [
        (row["recognised"], again["recognised"], row["width"], row["code_rms"])
        for row in _of(table, DRAWN, model="VAE")
        for again in _of(table, REDRAWN, model="VAE", width=row["width"])
    ]
    if not pairs:
        return []
    widths: dict[str, list[str]] = {}
    for prior, fitted, width, _ in pairs:
        gain = fitted - prior
        word = "helps" if gain > EQUAL else "does harm" if gain < -EQUAL else "changes little"
        widths.setdefault(word, []).append(str(width))
    there = {"helps": " (there the prior does not match the codes)"}
    verdict = text.sentence(
        [f"{word} with a width of {' or '.join(at)}{there.get(word, '')}" for word, at in widths.items()]
    )
    if len(widths) == 1:
        verdict = {
            "helps": "helps, so the prior does not match the codes",
            "does harm": "does harm, so the prior matches the codes better than that Gaussian",
            "changes little": "changes little, so the prior matches the codes about as well",
        }[next(iter(widths))]
    shares = [
        f"{fitted:.0%} instead of {prior:.0%} with a width of {width}" for prior, fitted, width, _ in pairs
    ]
    spreads = [f"{spread:.1f}" for *_, spread in pairs if spread is not None]
    beside = (
        f"; the codes have a root mean square of {text.sentence(spreads)}, the prior of 1" if spreads else ""
    )
    return [
        f"Drawing the VAE's codes from such a Gaussian instead of the prior {verdict}: recognised are "
        f"{text.sentence(shares)}{beside}."
    ]


def _variety(table: Sequence[Row]) -> list[str]:
    best = _best(table, "VAE")
    real = _of(table, REAL)
    if best is None or not real:
        return []
    own, theirs = best["kinds"], real[0]["kinds"]
    verdict = "as varied as" if own >= 0.9 * theirs else "less varied than"
    return [
        f"The recognised draws are {verdict} new real images: {own:.1f} classes in effect (the exponential of the "
        f"entropy of their classes) against {theirs:.1f}."
    ]
