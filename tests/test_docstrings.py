"""Docstrings of the public names are in one order: a sentence, arguments a line each, returns, raises, an example.

The examples run as doctests, with those of all other modules.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from torch import nn

from anomalae.models import DensityNetwork, Network
from anomalae.settings import DESCRIPTIONS

ROOMS = (
    "anomalae",
    "anomalae.contract",
    "anomalae.datasets",
    "anomalae.detectors",
    "anomalae.estimator",
    "anomalae.evaluation",
    "anomalae.experiments",
    "anomalae.images",
    "anomalae.models",
    "anomalae.plots",
    "anomalae.reports.collect",
    "anomalae.runs",
    "anomalae.scores",
)
# Names that are not in this order yet, and rooms all of whose names are not.
NOT_YET: tuple[str, ...] = ()
# Classes whose arguments are described where their ranges are, for checks and command line alike.
DESCRIBED = {
    "anomalae.settings.Settings": DESCRIPTIONS,
    "anomalae.detectors.detector.Detector": DESCRIPTIONS,
}

# Methods whose arguments are described once, by the contract of networks.
CONTRACTS = {**vars(Network), **vars(DensityNetwork)}

ARGUMENT = re.compile(r"(?m)^((?:\*{0,2}\w+)(?:, \*{0,2}\w+)*): +\S")


def full_name(thing: Any) -> str:
    return f"{thing.__module__}.{thing.__qualname__}"


def public() -> dict[str, Any]:
    """Functions and classes of the front doors, each once, by the name of their place."""
    things = (
        getattr(module, name) for module in map(importlib.import_module, ROOMS) for name in module.__all__
    )
    named = {
        full_name(thing): thing for thing in things if inspect.isfunction(thing) or inspect.isclass(thing)
    }
    return {name: thing for name, thing in sorted(named.items()) if not name.startswith(NOT_YET)}


PUBLIC = public()
CLASSES = {name: thing for name, thing in PUBLIC.items() if inspect.isclass(thing)}


def parameters(thing: Any) -> list[str]:
    """Names of what a function or a class is called with; of a protocol nothing."""
    if getattr(thing, "_is_protocol", False):
        return []
    names = inspect.signature(thing).parameters.values()
    return [
        p.name
        for p in names
        if p.name not in ("self", "cls") and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]


def arguments(doc: str) -> dict[str, int]:
    """Arguments that have a line of their own, and where it begins; a line may be of several that are alike."""
    found = {}
    for line in ARGUMENT.finditer(doc):
        names = line[1].replace("*", "").split(", ")
        # A word at the head of a paragraph, as Reference, is no argument.
        if all(name == name.lower() or len(name) == 1 for name in names):
            found |= dict.fromkeys(names, line.start())
    return found


def order(doc: str) -> list[tuple[int, str]]:
    """Where arguments, returns, raises and the example stand behind the first sentence, and which is which."""
    first = len(doc.partition("\n")[0])
    parts = [(place, "arguments") for place in arguments(doc).values()]
    for word, pattern in (
        ("returns", r"(?<![\w`])Returns\b"),
        ("raises", r"(?<![\w`])Raises\b"),
        ("example", r"(?m)^>>>"),
    ):
        match = re.search(pattern, doc[first:])
        if match:
            parts.append((first + match.start(), word))
    return sorted(parts)


RANKS = ("arguments", "returns", "raises", "example")


def raised(thing: Callable[..., Any]) -> set[str]:
    """Names of the errors that a function raises itself."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(thing)))
    calls = (
        node.exc for node in ast.walk(tree) if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)
    )
    return {
        call.func.id for call in calls if isinstance(call.func, ast.Name) and call.func.id.endswith("Error")
    }


def faults(name: str, thing: Any) -> Iterator[str]:
    """What is not as it should be in a docstring."""
    doc = inspect.getdoc(thing) or ""
    first, _, rest = doc.partition("\n")
    if not re.fullmatch(r"[A-Z`\d(].*\.", first):
        yield f"the first line is no sentence: {first!r}"
    if rest and not rest.startswith("\n"):
        yield "no blank line behind the first sentence"
    described = {**arguments(doc), **DESCRIBED.get(name, {})}
    for base in thing.__mro__[1:] if inspect.isclass(thing) else ():
        # What a class takes as its base does is described there.
        described |= arguments(inspect.getdoc(base) or "") if base.__module__.startswith("anomalae") else {}
    missing = [parameter for parameter in parameters(thing) if parameter not in described]
    if missing:
        yield f"arguments without a line: {', '.join(missing)}"
    ranks = [RANKS.index(part) for _, part in order(doc)]
    if ranks != sorted(ranks):
        yield f"in the order {[part for _, part in order(doc)]}"
    if ">>>" not in doc:
        yield "no example"
    elif "doctest: +SKIP" in doc:
        yield "an example that does not run"
    elif any(not part.startswith(">>>") for part in re.split(r"\n\s*\n", doc[doc.index(">>>") :])):
        yield "something stands behind the example"
    if inspect.isfunction(thing):
        gone = set(arguments(doc)) - set(inspect.signature(thing).parameters)
        if gone:
            yield f"lines of what is no argument: {', '.join(sorted(gone))}"
        returned = thing.__annotations__.get("return")
        if returned not in (None, "None") and not re.search(r"\bReturns?\b", doc):
            yield "does not say what it returns"
        unsaid = raised(thing) - set(re.findall(r"\w+Error", doc))
        if unsaid:
            yield f"does not say that it raises {', '.join(unsaid)}"


def methods(cls: type) -> Iterator[tuple[str, Any]]:
    """Public methods and properties of a class that we have written."""
    for base in cls.__mro__:
        if not base.__module__.startswith("anomalae"):
            continue
        for name, member in vars(base).items():
            function = getattr(member, "__func__", getattr(member, "fget", getattr(member, "func", member)))
            is_torchs = hasattr(nn.Module, name) and name != "forward"
            if not name.startswith("_") and inspect.isfunction(function) and not is_torchs:
                yield name, function


@pytest.mark.parametrize("name", PUBLIC)
def test_the_docstring_is_in_order(name):
    assert list(faults(name, PUBLIC[name])) == []


@pytest.mark.parametrize("name", CLASSES)
def test_every_method_has_a_sentence_that_names_its_arguments(name):
    wrong = {}
    for method, function in methods(CLASSES[name]):
        doc = inspect.getdoc(function) or ""
        named = parameters(function)
        several = len(named) > 1 and method not in CONTRACTS
        missing = [word for word in named if not re.search(rf"\b{word}\b", doc)] if several else []
        if not re.match(r"[^\n]*[.:]\n?", doc) or missing:
            wrong[method] = (doc.partition("\n")[0], missing)
    assert wrong == {}


def example(images: list[int], most: int = 3) -> int:
    """Count images.

    images: of any size, (N, H, W).
    most: number at which counting ends, at least 1.

    Returns the count. Raises ValueError for a limit below 1.

    >>> example([4, 5])
    2
    """
    if most < 1:
        raise ValueError(most)
    return min(len(images), most)


def test_what_is_in_order_has_no_fault():
    assert list(faults("example", example)) == []


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("Count images.", "how many images", "the first line is no sentence"),
        ("images.\n", "images.\n    One by one.\n", "no blank line behind the first sentence"),
        ("    images: of any size, (N, H, W).\n", "", "arguments without a line: images"),
        ("most: number", "least: number", "lines of what is no argument: least"),
        ("Returns the count. ", "", "does not say what it returns"),
        ("Raises ValueError for", "Not for", "does not say that it raises ValueError"),
        ("Returns the count. Raises ValueError.", "Raises ValueError. Returns the count.", "in the order"),
        ("    >>> example([4, 5])\n    2\n", "", "no example"),
        ("example([4, 5])", "example([4, 5])  # doctest: +SKIP", "an example that does not run"),
        ("    2\n", "    2\n\n    It stops early.\n", "something stands behind the example"),
    ],
)
def test_a_fault_is_seen(old, new, fault, monkeypatch):
    doc = (
        example.__doc__.replace(" for a limit below 1", "")
        if "Raises ValueError." in old
        else example.__doc__
    )
    assert old in doc
    monkeypatch.setattr(example, "__doc__", doc.replace(old, new))
    assert any(line.startswith(fault) for line in faults("example", example))
