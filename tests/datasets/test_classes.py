"""Classes as they are typed."""

from __future__ import annotations

import pytest

from anomalae.datasets.classes import parse_classes
from anomalae.errors import DataError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", (0,)),
        ("0,1,4-6", (0, 1, 4, 5, 6)),
        (" 4 - 6 , 0 ", (0, 4, 5, 6)),
        (["3", "1-2"], (1, 2, 3)),
        ("7-7,7", (7,)),
        ("0-9", tuple(range(10))),
    ],
)
def test_numbered_classes(text: str, expected: tuple[int, ...]) -> None:
    assert parse_classes(text, range(10)) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("12", "class 12: not in mnist; classes: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9"),
        ("8-12", "class 10: not in mnist"),
        ("0-999999999999999999", "class 10: not in mnist"),
        ("", "classes '': expected numbers and ranges"),
        ("1,,2", "classes '': expected"),
        ("1-", "classes '1-': expected"),
        ("-1", "classes '-1': expected"),
        ("zero", "class zero: not in mnist; classes: 0, 1"),
        ("1.0", "classes '1.0': expected"),
        ("٣", "expected numbers"),
        ("9" * 5000, "expected numbers"),
        ("6-4", "classes 6-4: the range ends before it begins"),
        ("a\nb", r"class a\\nb: not in mnist"),
    ],
)
def test_bad_numbered_classes(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        parse_classes(text, range(10), "mnist")
    assert "\n" not in str(caught.value)


def test_named_classes() -> None:
    names = ("a-b", "c,d", "cat", "4-6", "x\ny")
    assert parse_classes("a-b", names) == ("a-b",)
    assert parse_classes("cat, a-b", names) == ("a-b", "cat")
    assert parse_classes(["c,d", "4-6"], names) == ("c,d", "4-6")
    with pytest.raises(DataError, match=r"class dog: not in the data; classes: a-b, c,d, cat, 4-6, x\\ny"):
        parse_classes("dog", names)
    with pytest.raises(DataError, match="class 4: not in the data"):
        parse_classes("4", names)
    with pytest.raises(DataError, match=r"classes: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, \.\.\., 99"):
        parse_classes("100", range(100))
