"""Numbers and names as people read them: one order of class names, one form of each number."""

from __future__ import annotations

import random

import pytest

from anomalae import text


@pytest.mark.parametrize(
    "names",
    [
        ["0", "1", "2", "9", "10", "11"],
        ["a2", "a10", "b", "b1c2", "b1c10"],
        ["-1", "2", "9", "10", "a2", "a10", "b"],
        ["1", "1a", "2", "10", "10-b", "a"],  # an image folder's classes stand in this order in its hash
        ["0", "1.25", "1.5", "2", "", "[red]x[/red]", "caf\udce9", "line\nbreak"],
        ["01", "1", "+2", "nan", "²"],
        ["٢", "10", "١١", "inf"],
        list(range(12)),
    ],
)
def test_names_come_in_natural_order_each_once(names):
    for seed in range(5):
        shuffled = random.Random(seed).sample([*names, *names], 2 * len(names))
        assert text.natural_order(shuffled) == names


def test_printable_is_one_line_whatever_the_name():
    assert text.printable("a b/ü/数.png") == "a b/ü/数.png"
    assert text.printable("a\nb\t\x1b[31m\x7f\u2028\u202e") == r"a\nb\t\x1b[31m\x7f\u2028\u202e"
    assert text.printable("\udcff.png") == r"\udcff.png"
    assert text.printable("[red]x[/red]") == "[red]x[/red]"
    assert text.printable("\U000e0001") == r"\U000e0001"
    assert text.shortened("a\nb", 4) == r"a\nb"
    assert text.shortened("a\nbc", 4) == r"a\n…"


def test_names_that_are_the_same_are_numbered():
    assert text.distinct_names(["a", "a", "a (2)", "a"]) == ["a", "a (2)", "a (2) (2)", "a (3)"]


def test_lists_of_names():
    assert text.listed(["a\n", 1], ",") == r"a\n,1"
    assert text.setting((256, 128)) == "256, 128"
    assert text.setting([256, 128], ",") == "256,128"
    assert text.setting(0.5) == "0.5"
    assert text.table_cell("a | b\n c") == r"a \| b c"


def test_a_number_that_is_not_there_is_shown_as_asked():
    assert text.number(None) == text.percent(None) == text.short(None) == text.moment("") == "-"
    assert text.number(None, missing="–") == text.percent(None, "–") == "–"
    assert text.interval(None) == ""
    assert text.interval(None, "-", brackets=True) == "-"
    assert text.spread({"mean": 0.5, "sd": None}) == "0.5000"


def test_numbers():
    assert text.number(0.98765, 2) == "0.99"
    assert text.percent(0.05049) == "5.0%"
    assert text.short(12345.678) == "12346"
    assert [text.digits(v, 3) for v in (0.1, 123.0, 2908.4)] == ["0.100", "123", "2.91e+03"]
    assert [text.ordinal(n) for n in (1, 2, 3, 11, 22, 113)] == ["1st", "2nd", "3rd", "11th", "22nd", "113th"]
    assert text.plural(0, "class", "classes") == "0 classes"


def test_times():
    shown = ["80 ms", "4.2 s", "1 min 0 s", "1 h 0 min", "2 h 1 min"]
    assert [text.duration(s) for s in (0.08, 4.21, 59.6, 3599.6, 7300)] == shown


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        (range(-1, 2), ["-1.0", "0.0", "1.0"]),
        ([-0.06, -0.02, -0.0, 0.04], ["-0.06", "-0.02", "0.00", "0.04"]),
        ([-0.04, 0.4], ["0.0", "0.4"]),
        ([0.25, 0.25], ["0.2", "0.2"]),
        ([1e-9, 2e-9], ["1e-09", "2e-09"]),
    ],
)
def test_ticks_differ(values, texts):
    assert text.distinct_numbers(values) == texts
