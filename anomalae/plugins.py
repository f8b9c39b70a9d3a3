"""Parts that are known by a name: kinds of network, scores and views; ours, one's own, and those of installed packages.

A part is found in this order: ours; registered in Python (`anomalae.register_model` and its siblings); brought by an
installed package as an entry point of the group `anomalae.models`, `anomalae.scores` or `anomalae.views`. Nothing is
imported because a run folder names it: a name is looked up among these, and nowhere else.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from typing import Any, Generic, TypeVar

from anomalae.errors import ConfigError, PartError, PartWarning

Part = TypeVar("Part")

OURS = "anomalae"


class Registry(Generic[Part]):
    """The parts of one sort, by name."""

    def __init__(
        self, sort: str, ours: Mapping[str, Any] | str, needs: tuple[str, ...], reserved: tuple[str, ...] = ()
    ) -> None:
        """
        sort: what such a part is called: model, score, view.
        ours: the parts that come with anomalae by name, each itself or as "module:NAME", which is imported on use; or
            "module:NAME" of a mapping of all, where even their names are not needed before use.
        needs: attributes that a part must have.
        reserved: names that no part may have, for they mean something else.
        """
        self._reserved = reserved
        self.sort, self.group, self.needs = sort, f"anomalae.{sort}s", needs
        self._ours, self._own = ours, dict[str, Part]()
        self._warned: set[str] = set()

    def names(self) -> tuple[str, ...]:
        """Names of all parts: ours first, then those registered in Python, then those of installed packages."""
        return tuple(dict.fromkeys((*self._all_ours(), *self._own, *_entry_points(self.group))))

    def __iter__(self) -> Iterator[Part]:
        """All parts; PartError where a package cannot give one. See `usable`."""
        return (self[name] for name in self.names())

    def usable(self, use: Callable[[Part], bool] = lambda part: True) -> Iterator[Part]:
        """The parts for which `use` is true. One that fails, or whose package does, is passed over.

        A PartWarning tells of it, once in a process.
        """
        for name in self.names():
            try:
                part = self[name]
                used = use(part)
            except Exception as error:
                if self.is_ours(name):
                    raise
                self.warn(name, error)
            else:
                if used:
                    yield part

    def warn(self, name: str, error: Exception) -> None:
        """Warn that a part which does not come with anomalae is passed over, once in a process."""
        if name not in self._warned:
            self._warned.add(name)
            line = str(error) if isinstance(error, PartError) else str(self.failure(name, error))
            warnings.warn(f"{line}; it is left out", PartWarning, stacklevel=3)

    def failure(self, name: str, error: BaseException, what: str = "fails") -> PartError:
        """The error, in one line, for a part that raised another where it was used."""
        return PartError(f"{self.sort} {name!r}: of {self.origin(name)}: {what}: {_line(error)}")

    def __contains__(self, name: object) -> bool:
        return name in self.names()

    def __getitem__(self, name: str) -> Part:
        """The part of this name. Raises ConfigError for an unknown one, PartError for one its package cannot give."""
        if name in self._all_ours():
            return imported(self._all_ours()[name])
        if name in self._own:
            return self._own[name]
        points = _entry_points(self.group).get(name, ())
        if not points:
            raise ConfigError(
                f"{self.sort} {name!r}: must be one of {', '.join(self.names())}",
                unknown=name,
                known=self.names(),
            )
        if len(points) > 1:
            raise PartError(f"{self.sort} {name!r}: brought by {' and by '.join(map(_package, points))}")
        return self._loaded(name, points[0])

    def register(self, part: Part) -> Part:
        """Make a part of one's own known by its `name`, and return it.

        A part registered before under this name is replaced, so that a notebook's cell can be run again. Raises
        ConfigError for a name that is ours or an installed package's, and for a part that lacks what it needs.
        """
        fault = self._fault(part)
        name = getattr(part, "name", "")
        if not fault and (name in self._all_ours() or name in _entry_points(self.group)):
            fault = f"is taken by {self.origin(name)}"
        if fault:
            raise ConfigError(f"{self.sort} {name!r}: {fault}")
        self._own[name] = part
        return part

    def origin(self, name: str) -> str:
        """Where a part comes from: anomalae, a package with its version, or a module; "" for an unknown one."""
        if name in self._all_ours():
            return OURS
        if name in self._own:
            return f"module {_module(self._own[name])}"
        return " and ".join(map(_package, _entry_points(self.group).get(name, ())))

    def modules(self, name: str) -> tuple[str, ...]:
        """Names of the modules that a part comes from: that which brings it, and that in which it was written."""
        points = () if name in self._own else _entry_points(self.group).get(name, ())
        modules = {point.module for point in points}
        # What its package cannot give was written nowhere.
        with contextlib.suppress(PartError):
            modules.add(_module(self[name]))
        return tuple(sorted(modules - {""}))

    def ours(self) -> tuple[str, ...]:
        """Names of the parts that come with anomalae."""
        return tuple(self._all_ours())

    def is_ours(self, name: str) -> bool:
        """Whether the part comes with anomalae."""
        return name in self._all_ours()

    def _all_ours(self) -> Mapping[str, Any]:
        return imported(self._ours) if isinstance(self._ours, str) else self._ours

    def _loaded(self, name: str, point: metadata.EntryPoint) -> Part:
        """What an entry point gives. Whatever goes wrong there is that package's, and said in one line."""
        part, error = _load(point)
        if error is not None:
            raise PartError(
                f"{self.sort} {name!r}: {_package(point)} cannot give it: {_line(error)}"
            ) from error
        fault = self._fault(part) or ("" if part.name == name else f"calls itself {part.name!r}")
        if fault:
            raise PartError(f"{self.sort} {name!r}: of {_package(point)}: {fault}")
        loaded: Part = part
        return loaded

    def _fault(self, part: Any) -> str:
        if isinstance(part, type):
            return f"{part.__name__} is a class: an instance of it is needed"
        lacking = [need for need in ("name", *self.needs) if not hasattr(part, need)]
        if lacking:
            return f"{type(part).__name__} has no {', '.join(lacking)}"
        name = part.name
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
            return "a name must be letters, digits, '-' or '_', and begin with a letter or a digit"
        if name in self._reserved:
            return "the name means something else here; choose another"
        return ""


def imported(part: Any) -> Any:
    """The part itself, or what "module:NAME" stands for."""
    if not isinstance(part, str):
        return part
    module, _, name = part.partition(":")
    return getattr(importlib.import_module(module), name)


@functools.cache
def _entry_points(group: str) -> dict[str, tuple[metadata.EntryPoint, ...]]:
    """Entry points of a group by name, none of them imported; several where packages use the same name."""
    points: dict[str, tuple[metadata.EntryPoint, ...]] = {}
    for point in metadata.entry_points(group=group):
        if point not in points.get(point.name, ()):
            points[point.name] = (*points.get(point.name, ()), point)
    return points


@functools.cache
def _load(point: metadata.EntryPoint) -> tuple[Any, BaseException | None]:
    """What an entry point gives, or the error it raises; a package that fails is not imported again."""
    try:
        return point.load(), None
    except (Exception, SystemExit) as error:
        return None, error


def _line(error: BaseException) -> str:
    """An error in one line: its type and its message's first line."""
    return ": ".join([type(error).__name__, *str(error).splitlines()[:1]])


def _package(point: metadata.EntryPoint) -> str:
    """The package of an entry point, with its version."""
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value


def _module(part: Any) -> str:
    """The module in which a part was written."""
    for maker in (getattr(part, "maker", None), getattr(part, "source", None), type(part)):
        maker = getattr(maker, "func", maker)  # of functools.partial
        if maker is not None:
            return maker.partition(":")[0] if isinstance(maker, str) else str(maker.__module__)
    return ""


# Parts are used above: what each is, `anomalae.scores.base.Score` and `anomalae.models.views.View` say.
SCORES: Registry[Any] = Registry(
    "score",
    "anomalae.scores:SCORES",
    ("line", "scale", "judges", "learned", "least_images", "has_terms", "fits", "learn", "score", "terms"),
)
VIEWS: Registry[Any] = Registry(
    "view",
    {
        "pixels": "anomalae.models.views:PIXELS",
        "deskewed": "anomalae.models.views:DESKEWED",
        "normalised": "anomalae.models.views:NORMALISED",
        "settled": "anomalae.models.views:SETTLED",
        "edges": "anomalae.models.views:EDGES",
    },
    ("line", "source", "channels", "see", "again", "back"),
    # The member of an ensemble that is no network.
    reserved=("neighbours",),
)


def register_score(score: Part) -> Part:
    """Make a score of one's own known by its name.

    score: an object that has all that `anomalae.Score` has.

    Returns it. Raises ConfigError for a name that is taken and for a score that lacks something.

    >>> from anomalae import Score
    >>> class Ink(Score):
    ...     name = "ink"
    ...     def score(self, seen, learned):
    ...         return seen.source.double().cpu().mean((1, 2, 3))
    >>> ink = register_score(Ink())
    >>> SCORES["ink"] is ink
    True
    """
    SCORES.register(score)
    return score


def register_view(view: Part) -> Part:
    """Make a view of one's own known by its name.

    view: an `anomalae.View`, or an object that has all that one has.

    Returns it. Raises ConfigError for a name that is taken and for a view that lacks something.

    >>> from anomalae import View
    >>> view = register_view(View("inverted", "ink and ground exchanged", lambda images: 1 - images))
    >>> VIEWS["inverted"] is view
    True
    """
    VIEWS.register(view)
    return view
