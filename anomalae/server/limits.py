"""What a request may ask for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from anomalae.errors import AnomalaeError
from anomalae.text import printable

# All bodies that are under way have at most the bytes of so many of the largest.
BODIES = 4


@dataclass(frozen=True)
class Limits:
    """Limits of one request, and of all that are under way.

    megabytes: of a body.
    images: in a body.
    pixels: of a picture.
    seconds: from the first byte of a request to its answer.
    waiting: requests under way; more are told to come later.
    connections: that are open.
    """

    megabytes: float = 64
    images: int = 10_000
    pixels: int = 50_000_000
    seconds: float = 60
    waiting: int = 256
    connections: int = 512

    @property
    def body(self) -> int:
        """The most bytes of a body."""
        return int(self.megabytes * 1e6)

    @property
    def bodies(self) -> int:
        """The most bytes of all bodies that are under way together."""
        return BODIES * self.body


class RefusedError(AnomalaeError):
    """A request is refused. `status` is that of HTTP; the message is one line."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def json_error(message: str) -> dict[str, Any]:
    """Return the body of an answer that is an error: one printable line."""
    return {"error": printable(message)}
