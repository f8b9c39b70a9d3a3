"""Images: any file, array or table becomes canonical, uint8 (N, 28, 28), light ink on a dark ground."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anomalae.lazy import front_door

if TYPE_CHECKING:
    from anomalae.images.check import PIXELS as PIXELS
    from anomalae.images.check import SIDE as SIDE
    from anomalae.images.check import check_images as check_images
    from anomalae.text import printable as printable

_HOMES = {
    "PIXELS": "anomalae.images.check",
    "SIDE": "anomalae.images.check",
    "check_images": "anomalae.images.check",
    "printable": "anomalae.text",
}

__all__ = list(_HOMES)
__getattr__, __dir__ = front_door(__name__, _HOMES)
