"""What a value of a setting may be: each range checks one, and says in one line what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import Any

from anomalae.errors import ConfigError
from anomalae.plugins import VIEWS
from anomalae.text import shown

# Of a setting that is no whole number: what float32 still holds.
MOST = 1e30


@dataclass(frozen=True)
class Whole:
    """A whole number from `least` to `most`, both included; without limit upwards where `most` is None."""

    least: int
    most: int | None = None

    def __str__(self) -> str:
        return f"whole number from {self.least}" + (f" to {self.most}" if self.most is not None else "")

    def check(self, name: str, value: Any) -> int:
        """The value as an int. Raises ConfigError for anything else."""
        if isinstance(value, bool) or not isinstance(value, Integral):
            raise ConfigError(f"{name} {shown(value)}: must be a whole number", setting=name)
        value = int(value)
        if value < self.least or (self.most is not None and value > self.most):
            limit = f"at least {self.least}" if self.most is None else f"from {self.least} to {self.most}"
            raise ConfigError(f"{name} {shown(value)}: must be {limit}", setting=name)
        return value


@dataclass(frozen=True)
class Real:
    """A number that is at least `least`, or above it where `open`, and at most MOST."""

    least: float
    open: bool = False

    def __str__(self) -> str:
        return f"number {'above' if self.open else 'from'} {self.least:g}"

    def check(self, name: str, value: Any) -> Any:
        """The value as it is. Raises ConfigError for one out of range."""
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
            raise ConfigError(f"{name} {shown(value)}: must be a finite number", setting=name)
        if value > MOST:
            raise ConfigError(f"{name} {shown(value)}: must be at most {MOST:g}", setting=name)
        if value < self.least or (self.open and value == self.least):
            raise ConfigError(
                f"{name} {shown(value)}: must be {'above' if self.open else 'at least'} {self.least:g}",
                setting=name,
            )
        return value


@dataclass(frozen=True)
class Choice:
    """One of several names."""

    names: Callable[[], tuple[str, ...]]

    def __str__(self) -> str:
        return ", ".join(self.names())

    def check(self, name: str, value: Any) -> str:
        """The value as it is. Raises ConfigError for another name."""
        if value not in self.names():
            names = self.names()
            raise ConfigError(
                f"{name} {shown(value)}: must be one of {', '.join(names)}", unknown=str(value), known=names
            )
        return str(value)


@dataclass(frozen=True)
class Widths:
    """At most `count` whole numbers, each from 1 to `most`."""

    most: int
    count: int

    def __str__(self) -> str:
        return "whole numbers from 1"

    def check(self, name: str, value: Any) -> tuple[int, ...]:
        """The value as a tuple. Raises ConfigError for anything else."""
        if not hasattr(value, "__iter__") or isinstance(value, Mapping | str | bytes):
            raise ConfigError(f"{name} {shown(value)}: must be several whole numbers, as in 1024, 512")
        widths = tuple(value)
        if len(widths) > self.count:
            raise ConfigError(f"{name}: {len(widths):,} numbers, at most {self.count} are allowed")
        return tuple(Whole(1, self.most).check(name, width) for width in widths)


@dataclass(frozen=True)
class Views:
    """Several names of views, at least one, none twice."""

    def __str__(self) -> str:
        return "names of views"

    def check(self, name: str, value: Any) -> tuple[str, ...]:
        """The value as a tuple. Raises ConfigError for an unknown view, and for one that is named twice."""
        if not hasattr(value, "__iter__") or isinstance(value, Mapping | str | bytes):
            raise ConfigError(f"{name} {shown(value)}: must be several names, as in ('pixels', 'edges')")
        views = tuple(value)
        for view in views:
            if not isinstance(view, str) or view not in VIEWS:
                names = VIEWS.names()
                raise ConfigError(
                    f"view {shown(view)}: must be one of {', '.join(names)}", unknown=str(view), known=names
                )
            # One of a package that fails is refused here, not in the middle of a training.
            if not VIEWS.is_ours(view):
                VIEWS[view]
            if views.count(view) > 1:
                raise ConfigError(f"view {view!r}: named twice; for several networks of a view see members")
        if not views:
            raise ConfigError(f"{name}: at least one is needed")
        return views


@dataclass(frozen=True)
class Rule:
    """The name of a score that the model has; which it has depends on the other settings."""

    def __str__(self) -> str:
        return "name of a score"

    def check(self, name: str, value: Any) -> str:
        """The value as it is: `Settings` checks it, once all of them are known."""
        if not isinstance(value, str):
            raise ConfigError(f"{name} {shown(value)}: must be the name of a score", setting=name)
        return value


Range = Whole | Real | Choice | Widths | Views | Rule
