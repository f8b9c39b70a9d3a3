"""Images written as JSON, parsed a row of pixels at a time, so that others are answered in between."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from anomalae.errors import AnomalaeError

# Characters of one row; nothing else is done while a row is parsed.
MOST_OF_A_ROW = 1_000_000
_SPACE = r"[ \t\r\n]*"
_HEAD = re.compile(rf'{_SPACE}\{{{_SPACE}"images"{_SPACE}:{_SPACE}(?=\[)')
_TAIL = re.compile(rf"{_SPACE}\}}{_SPACE}")
_OPEN, _CLOSE, _NEXT = (re.compile(rf"{_SPACE}{sign}{_SPACE}") for sign in (r"\[", r"\]", ","))
# A list without lists, objects and texts in it.
_ROW = re.compile(rf'\[[^\[\]{{}}"]{{0,{MOST_OF_A_ROW}}}\]')


class NoListsError(AnomalaeError):
    """It is not `{"images": [...]}`."""


def parse_images(text: str) -> Iterator[np.ndarray]:
    """Parse `{"images": [[[0, 255, ...], ...], ...]}`, or one image where one stands for the list.

    Yields an array (H, W) an image, of whatever type its numbers have. Raises NoListsError for any other object,
    ValueError for what is no JSON, is nested otherwise, or has rows of several lengths in one image.
    """
    head = _HEAD.match(text)
    if head is None:
        raise NoListsError('an object was expected, as in {"images": [[[0, 255, ...], ...], ...]}')
    place = _Place(text, head.end())
    n, alone = 0, list[Any]()
    for _ in place.items():
        if place.nested():
            n += 1
            yield np.array([place.row() for _ in place.items()])
        else:
            alone.append(place.row())
    if not _TAIL.fullmatch(text, place.at):
        raise NoListsError('nothing but "images" was expected in the object')
    if alone and n:
        raise ValueError("rows among images")
    if alone:
        yield np.array(alone)


class _Place:
    """A place in the text."""

    def __init__(self, text: str, at: int) -> None:
        self.text, self.at = text, at

    def items(self) -> Iterator[None]:
        """Go through a list; whoever is told that an item is next takes it."""
        self._take(_OPEN)
        if self._found(_CLOSE):
            return
        yield
        while not self._found(_CLOSE):
            self._take(_NEXT)
            yield

    def nested(self) -> bool:
        """Tell whether the next item is a list of lists, or of nothing."""
        found = _OPEN.match(self.text, self.at)
        return found is not None and self.text[found.end() : found.end() + 1] in ("[", "]")

    def row(self) -> Any:
        """Take a row."""
        found = _ROW.match(self.text, self.at)
        if found is None:
            raise ValueError("no row, or one that is too long")
        self.at = found.end()
        return json.loads(found[0])

    def _found(self, what: re.Pattern[str]) -> bool:
        found = what.match(self.text, self.at)
        if found:
            self.at = found.end()
        return found is not None

    def _take(self, what: re.Pattern[str]) -> None:
        if not self._found(what):
            raise ValueError(f"no list at {self.at}")
