"""Classes of a data set as people type them, and which of them are normal and which anomalous."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np

from anomalae.errors import DataError
from anomalae.text import listed, printable

Classes = tuple[int | str, ...]
Chosen = int | str | Iterable[int | str]

NONE_NAMED = "no normal class: name at least one"


def choose_classes(
    normal: Chosen | None, anomalous: Chosen | None, classes: Classes, name: str
) -> tuple[Classes, Classes]:
    """Return the normal and the anomalous ones of `classes`, of which one side is given.

    normal, anomalous: a class, several, or a text such as "0,4-6"; the other one is None. A data set of one class is
        of normal images alone: neither need be given, and none is anomalous.
    classes: all of the data set.
    name: how an error calls the data.

    Raises DataError for an unknown class, and if no class is left to be normal or, of several, to be anomalous.

    >>> choose_classes(None, "8", tuple(range(10)), "the data")
    ((0, 1, 2, 3, 4, 5, 6, 7, 9), (8,))
    """
    if normal is not None and anomalous is not None:
        raise DataError("normal and anomalous classes exclude each other: give one of them")
    side = normal if normal is not None else anomalous
    alone = len(classes) == 1
    if side is None and alone:
        return classes, ()
    if side is None:
        raise DataError(NONE_NAMED)
    names = [side] if isinstance(side, (int, str, np.integer)) else list(side)
    named = parse_classes([str(label) for label in names], classes, name) if names else ()
    others = tuple(label for label in classes if label not in named)
    chosen, rest = (named, others) if normal is not None else (others, named)
    if not chosen:
        raise DataError(f"{printable(name)}: no normal class is left" if named else NONE_NAMED)
    if not rest and not alone:
        raise DataError(f"{printable(name)}: no class is left to be anomalous")
    return chosen, rest


def parse_classes(text: str | Sequence[str], classes: Sequence[int | str], name: str = "the data") -> Classes:
    """Read classes as they are typed: "0", "0,1,4-6", or several such texts; names for named classes.

    text: as it is typed; the name of a class means that class, whatever commas and dashes it holds.
    classes: all of the data set.
    name: how an error calls the data.

    Returns the classes in the order of `classes`, each once. Raises DataError for another syntax and for a class that
    the data lack.

    >>> parse_classes(["4-6", "0"], range(10))
    (0, 4, 5, 6)
    """
    texts = [text] if isinstance(text, str) else list(text)
    known = {str(label): label for label in classes}
    wanted: set[int | str] = set()
    for whole in texts:
        for item in [whole] if whole in known else [piece.strip() for piece in whole.split(",")]:
            wanted.update(_classes_of(item, known, name))
    return tuple(label for label in classes if label in wanted)


def _classes_of(item: str, known: dict[str, int | str], name: str) -> list[int | str]:
    if item in known:
        return [known[item]]
    numbered = all(isinstance(label, int) for label in known.values())
    span = re.fullmatch(r"([0-9]{1,18})(?:\s*-\s*([0-9]{1,18}))?", item) if numbered else None
    if item and (not numbered or not any(character.isdecimal() for character in item)):
        raise _unknown_class(item, known, name)
    if span is None:
        raise DataError(
            f"classes '{printable(item)}': expected numbers and ranges, as in 0,1,4-6",
            unknown=item,
            known=known,
        )
    first, last = int(span[1]), int(span[2] or span[1])
    if last < first:
        raise DataError(f"classes {item}: the range ends before it begins", unknown=item, known=known)
    wanted = []
    # This ends at the first class that is not there, so it is never long.
    for label in range(first, last + 1):
        if str(label) not in known:
            raise _unknown_class(label, known, name)
        wanted.append(known[str(label)])
    return wanted


def _unknown_class(label: int | str, known: Iterable[str], name: str) -> DataError:
    names = list(known)
    shown = names if len(names) <= 20 else [*names[:10], "...", names[-1]]
    return DataError(
        f"class {printable(str(label))}: not in {printable(name)}; classes: {listed(shown)}",
        unknown=str(label),
        known=names,
    )
