"""Numbers and names as a reader sees them; the filters of the templates."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

DASH = "–"


def number(value: float | None, digits: int = 4) -> str:
    """With so many decimals; a dash where there is none."""
    return DASH if value is None else f"{value:.{digits}f}"


def short(value: float | None, digits: int = 5) -> str:
    """With so many significant digits."""
    return DASH if value is None else f"{value:.{digits}g}"


def digits(value: float, count: int) -> str:
    """With exactly so many significant digits, so that a column of them lines up."""
    return f"{value:#.{count}g}".removesuffix(".")


def percent(share: float | None) -> str:
    """A share in [0, 1] as percent with one decimal."""
    return DASH if share is None else f"{100 * share:.1f}%"


def interval(ends: Sequence[float] | None) -> str:
    """Both ends with four decimals; empty where there is none."""
    return "" if ends is None else f"{ends[0]:.4f} to {ends[1]:.4f}"


def count(value: int) -> str:
    """With commas between the thousands."""
    return f"{value:,}"


def plural(n: int, word: str, words: str | None = None) -> str:
    """`1 image`, `2 images`."""
    return f"{n:,} {word if n == 1 else words or word + 's'}"


def listed(names: Iterable[Any]) -> str:
    """Names with commas."""
    return ", ".join(str(name) for name in names)


def classes(names: Sequence[str]) -> str:
    """`class 8`, `classes 0, 1`."""
    return f"class{'' if len(names) == 1 else 'es'} {listed(names)}"


def in_order(names: Iterable[str]) -> list[str]:
    """Names of classes, each once: numbers first, by value."""
    return sorted(
        set(names), key=lambda name: (not name.isdecimal(), int(name) if name.isdecimal() else 0, name)
    )


def apart(names: Iterable[str]) -> list[str]:
    """The names, those that were there before with a number: `d0`, `d0 (2)`."""
    found: list[str] = []
    for name in names:
        numbered = (name if n == 1 else f"{name} ({n})" for n in itertools.count(1))
        found.append(next(one for one in numbered if one not in found))
    return found


def ordinal(n: int) -> str:
    """`1st`, `2nd`, `11th`; the first is left out before a superlative, as in `the largest`, `the 2nd largest`."""
    ending = "th" if n % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n:,}{ending}"


def duration(seconds: float) -> str:
    """`80 ms`, `4.2 s`, `42 s`, `3 min 5 s`, `1 h 2 min`."""
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def moment(created: str) -> str:
    """A time in ISO 8601, UTC, to the minute; a dash where there is none."""
    return f"{created[:16].replace('T', ' ')} UTC" if created else DASH


def setting(value: Any) -> str:
    """The value of a setting."""
    return listed(value) if isinstance(value, (list, tuple)) else str(value)


FILTERS = {
    one.__name__: one
    for one in (
        number,
        short,
        digits,
        percent,
        interval,
        count,
        plural,
        listed,
        classes,
        apart,
        ordinal,
        duration,
        moment,
        setting,
    )
}
