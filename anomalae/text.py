"""Numbers and names as people read them, and the one natural order of class names.

A number that is not there is shown as `missing`: a hyphen in terminals and Markdown, an en dash on pages.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

Name = TypeVar("Name", int, str, int | str)

MISSING = "-"
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxlong = _SHORT.maxother = 40

# --- names ---


def printable(text: str | os.PathLike[str]) -> str:
    """Return a text, or a path, as one line that is safe to print.

    text: whatever it holds; line breaks, control characters, and bytes that are no text (surrogate escapes) are shown
        as escapes.

    >>> print(printable("new\\nline"))
    new\\nline
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in os.fspath(text))


def shortened(name: object, most: int = 24) -> str:
    """Return a name from data as one printable line of at most so many characters, its end cut off.

    >>> shortened("a class with a name", 8)
    'a class…'
    """
    line = printable(str(name))
    return line if len(line) <= most else line[: most - 1] + "…"


def shown(value: object) -> str:
    """Return any value as Python writes it, of a long, large or deep one the beginning.

    >>> shown({"beta": "x" * 100}), shown(10**90)
    ("{'beta': 'xxxxxxxxxxxxxxxxx...xxxxxxxxxxxxxxxxxx'}", '100000000000000000...0000000000000000000')
    """
    return _SHORT.repr(value)


def natural_order(names: Iterable[Name]) -> list[Name]:
    """Sort names of classes as one counts, each once.

    Names that begin with a number come first, by its value, then the others by letter; numbers inside a name are
    compared by value too. A name that is a number as a whole may have a sign and decimals.

    >>> natural_order(["b", "a10", "10", "a2", "2", "2b", "-1", "1.5"])
    ['-1', '1.5', '2', '2b', '10', 'a2', 'a10', 'b']
    """
    return sorted(set(names), key=lambda name: _natural_key(str(name)))


def _natural_key(name: str) -> tuple[bool, list[str | float], str]:
    """Key of a name: text and numbers by turns, text first, so that like is compared with like."""
    if re.fullmatch(r"[-+]\d+|[-+]?\d+\.\d+", name):
        return False, ["", float(name), ""], name
    pieces = re.split(r"(\d+)", name)
    turns: list[str | float] = [int(piece) if place % 2 else piece for place, piece in enumerate(pieces)]
    return len(pieces) == 1 or pieces[0] != "", turns, name


def distinct_names(names: Iterable[str]) -> list[str]:
    """Return the names in their order, those that were there before with a number.

    >>> distinct_names(["d0", "d0", "d1"])
    ['d0', 'd0 (2)', 'd1']
    """
    taken: list[str] = []
    for name in names:
        numbered = (name if n == 1 else f"{name} ({n})" for n in itertools.count(1))
        taken.append(next(candidate for candidate in numbered if candidate not in taken))
    return taken


def listed(names: Iterable[object], separator: str = ", ") -> str:
    """Join names, each printable, by commas.

    >>> listed([0, 1, 8])
    '0, 1, 8'
    """
    return separator.join(printable(str(name)) for name in names)


def classes(names: Sequence[object]) -> str:
    """Join names of classes behind the word.

    >>> classes(["8"]), classes([0, 1])
    ('class 8', 'classes 0, 1')
    """
    return f"class{'' if len(names) == 1 else 'es'} {listed(names)}"


def some_classes(names: Sequence[object], most: int = 10) -> str:
    """Join names of classes behind the word, of many only the first, each of them short.

    >>> some_classes(range(3)), some_classes(range(47), most=3)
    ('classes 0, 1, 2', 'classes 0, 1, 2, …')
    """
    shown = [shortened(name) for name in names[:most]]
    return classes([*shown, "…"] if len(names) > len(shown) else shown)


def setting(value: object, separator: str = ", ") -> str:
    """Return the value of a setting, that of several as a list."""
    return listed(value, separator) if isinstance(value, (list, tuple)) else str(value)


def sentence(parts: Sequence[str]) -> str:
    """Join parts of a sentence by commas, the last one by "and".

    >>> sentence(["one"]), sentence(["one", "two", "three"])
    ('one', 'one, two and three')
    """
    *most, last = parts
    return f"{', '.join(most)} and {last}" if most else last


def table_cell(name: object) -> str:
    """Return a name fit for a cell of a Markdown table: on one line, its bars escaped."""
    return " ".join(str(name).split()).replace("|", "\\|")


# --- numbers ---


def number(value: float | None, decimals: int = 4, missing: str = MISSING) -> str:
    """Return a number with so many decimals."""
    return missing if value is None else f"{value:.{decimals}f}"


def short(value: float | None, significant: int = 5, missing: str = MISSING) -> str:
    """Return a number with at most so many significant digits."""
    return missing if value is None else f"{value:.{significant}g}"


def digits(value: float, significant: int) -> str:
    """Return a number with exactly so many significant digits, so that a column of them lines up.

    >>> digits(0.1, 3), digits(123.0, 3)
    ('0.100', '123')
    """
    return f"{value:#.{significant}g}".removesuffix(".")


def percent(share: float | None, missing: str = MISSING) -> str:
    """Return a share in [0, 1] as percent with one decimal."""
    return missing if share is None else f"{100 * share:.1f}%"


def interval(ends: Sequence[float] | None, missing: str = "", *, brackets: bool = False) -> str:
    """Return both ends with four decimals, in words or in brackets.

    >>> interval((0.9, 0.95)), interval((0.9, 0.95), brackets=True)
    ('0.9000 to 0.9500', '[0.9000, 0.9500]')
    """
    if ends is None:
        return missing
    low, high = number(ends[0]), number(ends[1])
    return f"[{low}, {high}]" if brackets else f"{low} to {high}"


def spread(values: Mapping[str, Any], missing: str = MISSING) -> str:
    """Return `mean` and, where there is one, standard deviation `sd`.

    >>> spread({"mean": 0.98, "sd": 0.002})
    '0.9800 ± 0.0020'
    """
    deviation = "" if values["sd"] is None else f" ± {number(values['sd'])}"
    return number(values["mean"], missing=missing) + deviation


def count(value: int) -> str:
    """Return a whole number with commas between the thousands."""
    return f"{value:,}"


def plural(n: int, word: str, words: str | None = None) -> str:
    """Return a count of things; `words` where the plural is not made by an s.

    >>> plural(1, "image"), plural(2000, "image")
    ('1 image', '2,000 images')
    """
    return f"{count(n)} {word if n == 1 else words or word + 's'}"


def ordinal(n: int) -> str:
    """Return a place in an order.

    >>> ordinal(1), ordinal(2), ordinal(11)
    ('1st', '2nd', '11th')
    """
    ending = "th" if n % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return count(n) + ending


def distinct_numbers(values: Iterable[float]) -> list[str]:
    """Return numbers with one decimal, or with as many more as it takes that neighbours differ; zero has no sign.

    >>> distinct_numbers([-0.06, -0.02, -0.0])
    ['-0.06', '-0.02', '0.00']
    """
    numbers = [float(value) for value in values]
    for decimals in (1, 2, 3, 4, 5, 6):
        texts = [f"{value:z.{decimals}f}" for value in numbers]
        neighbours = zip(itertools.pairwise(numbers), itertools.pairwise(texts), strict=True)
        if all(a == b or text != next_text for (a, b), (text, next_text) in neighbours):
            return texts
    return [short(value, 2) for value in numbers]


# --- times ---


def duration(seconds: float) -> str:
    """Return a time as `80 ms`, `4.2 s`, `42 s`, `3 min 5 s` or `1 h 2 min`."""
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


def moment(created: str, missing: str = MISSING) -> str:
    """Return a time in ISO 8601, which is UTC, to the minute.

    >>> moment("2026-03-01T12:30:59+00:00")
    '2026-03-01 12:30 UTC'
    """
    return f"{created[:16].replace('T', ' ')} UTC" if created else missing


def typed(value: Any) -> str:
    """Return a value as it is typed: several with commas, a number as short as it may be.

    >>> typed((1024, 512)), typed(0.002), typed(600.0), typed(1 / 3)
    ('1024,512', '0.002', '600', '0.3333333333333333')
    """
    if isinstance(value, tuple | list):
        return ",".join(map(typed, value))
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return str(value)


def toml(values: Mapping[str, Any], comments: Sequence[str] = ()) -> str:
    """Return TOML of numbers, texts and lists of these, after lines of comment.

    >>> print(toml({"latent-dim": 8, "noise": 0.5, "views": ["pixels"]}, ["Found."]), end="")
    # Found.
    latent-dim = 8
    noise = 0.5
    views = ["pixels"]
    """
    lines = [f"# {' '.join(comment.split())}" for comment in comments]
    lines += [f"{key} = {_toml_value(value)}" for key, value in values.items()]
    return "\n".join(lines) + "\n"


def _toml_value(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_toml_value, value))}]"
    # What JSON escapes TOML does alike, but for one character.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
