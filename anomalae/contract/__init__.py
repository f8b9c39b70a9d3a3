"""The contract: what every network, score and view must do, ours and one's own, a check a property.

>>> from anomalae import contract
>>> [result.error for result in contract.run("deskewed")][:3]
[None, None, None]

In one's own tests, each check a test:

    @anomalae.contract.parametrize("convnet", "darkest", "flipped")
    def test_contract(check):
        check()
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from anomalae.contract import of_models, of_scores, of_views
from anomalae.errors import AnomalaeError, ConfigError, ContractError
from anomalae.network_kinds import REGISTRIES

__all__ = ["ContractError", "Result", "checks", "listed", "parametrize", "run", "sort_of"]

_OF: dict[str, Any] = {"model": of_models, "score": of_scores, "view": of_views}


@dataclass(frozen=True)
class Result:
    """How one check of a part ended.

    sort: model, score or view.
    name: of the part.
    check: the property, in words.
    error: one line that says what is wrong and where to look; None where the property holds.

    >>> Result("view", "edges", "it keeps its input as it was", None).error is None
    True
    """

    sort: str
    name: str
    check: str
    error: str | None


def checks(sort: str, name: str) -> list[tuple[str, Callable[[], None]]]:
    """Return the checks of a part, each as its label and a function that raises where the property does not hold.

    sort: model, score or view.
    name: of the part.

    A training that several checks need is made once, by the first of them.

    Raises ConfigError for an unknown sort or name, PartError for a part that its package cannot give.

    >>> label, check = checks("view", "edges")[0]
    >>> check()
    """
    if sort not in _OF:
        raise ConfigError(f"sort {sort!r}: must be one of {', '.join(_OF)}")
    REGISTRIES[sort][name]
    trial = _OF[sort].trial(name)
    return [(label, partial(check, trial)) for label, check in _OF[sort].checks(name)]


def run(name: str, sort: str | None = None) -> Iterator[Result]:
    """Check a part, a check a property.

    name: of the part.
    sort: model, score or view; needed only where parts of several sorts have the name.

    Returns how each check ended, as they end. Raises ConfigError for an unknown name, and for one that several sorts
    have.

    >>> all(result.error is None for result in run("edges"))
    True
    """
    sort = sort_of(name) if sort is None else sort
    for label, check in checks(sort, name):
        yield Result(sort, name, label, _fault(check))


def sort_of(name: str) -> str:
    """Return the sort of the part that has this name.

    name: of a model, a score or a view.

    Raises ConfigError where none has it, or several have.

    >>> sort_of("edges")
    'view'
    """
    sorts = [sort for sort, registry in REGISTRIES.items() if name in registry]
    if not sorts:
        known = [part for registry in REGISTRIES.values() for part in registry.names()]
        raise ConfigError(
            f"{name!r}: no model, score or view has this name", advice="list", unknown=name, known=known
        )
    if len(sorts) > 1:
        raise ConfigError(f"{name!r}: is a {' and a '.join(sorts)}: say which")
    return sorts[0]


def parametrize(*names: str, sort: str | None = None) -> Callable[[Any], Any]:
    """Return a decorator that makes one pytest test of each check of these parts; the test calls its argument `check`.

    names: of the parts.
    sort: model, score or view; needed only where parts of several sorts have a name.

    Raises ConfigError as `run`.

    >>> @parametrize("edges")
    ... def test_contract(check):
    ...     check()
    """
    import pytest

    cases = [
        pytest.param(check, id=f"{name}: {label}")
        for name in names
        for label, check in checks(sort or sort_of(name), name)
    ]
    decorator: Callable[[Any], Any] = pytest.mark.parametrize("check", cases)
    return decorator


def listed() -> list[dict[str, Any]]:
    """Return all parts as JSON-able rows: sort, name, line, origin, and error, which is None for one that works.

    >>> [row["name"] for row in listed() if row["sort"] == "view"]
    ['pixels', 'deskewed', 'normalised', 'settled', 'edges']
    """
    rows = []
    for sort, registry in REGISTRIES.items():
        for name in registry.names():
            line, error = "", None
            try:
                part = registry[name]
                line = part.title if sort == "model" else part.line
            except AnomalaeError as fault:
                error = str(fault)
            origin = registry.origin(name)
            rows.append({"sort": sort, "name": name, "line": line, "origin": origin, "error": error})
    return rows


def _fault(check: Callable[[], None]) -> str | None:
    """What a check complains of, in one line; what was not meant to be raised, with the place where it was."""
    try:
        check()
    except AnomalaeError as error:
        return str(error)
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        first = ": ".join([type(error).__name__, *str(error).splitlines()[:1]])
        return f"{first} ({Path(frame.filename).name}, line {frame.lineno})"
    return None
