"""Cards: small pieces of HTML by which a notebook shows an object. Hand-made, so that they need nothing else.

Colours follow the notebook's own, light or dark: text, lines and frames are drawn in `currentColor`. Styles stand in
each tag, as the style sheets of notebooks would win otherwise. Every text is escaped.
"""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from anomalae import files
from anomalae.text import printable

if TYPE_CHECKING:
    import numpy as np

# Contrast of at least 3:1 on white and on the dark grounds of notebooks.
CURVE = "#2f86c6"
# Images that are shown of many.
MOST = 20
# Pixels a side: of an image, and of a plot.
IMAGE, PLOT = 48, 220
# Room for labels left of a plot's axes and below them, and for the line's width above.
MARGIN, TOP = 40, 6

_TABLE = "border-collapse:collapse;border:0;margin:0;width:auto;font:inherit;color:inherit"
_CELL = "border:0;background:none;padding:2px 14px 2px 0;vertical-align:top;white-space:nowrap"


def escaped(value: object) -> str:
    """Return a value as text that HTML shows as it is, on one line.

    >>> escaped("<b>\\n")
    '&lt;b&gt;\\\\n'
    """
    # Half of a surrogate pair cannot be written as UTF-8; `printable` turns it into an escape.
    return html.escape(printable(str(value)))


def card(title: str, *parts: str) -> str:
    """Return parts side by side, wrapped where they need more room, below a title.

    title: text.
    parts: pieces of HTML, as the other functions here return them.
    """
    frame = "border:1px solid;border-color:color-mix(in srgb,currentColor 25%,transparent);border-radius:6px"
    font = "font-family:system-ui,sans-serif;font-size:13px;line-height:1.45;text-align:left"
    shown = "".join(f'<div style="min-width:0">{part}</div>' for part in parts)
    return (
        f'<div class="anomalae-card" style="{font};{frame};padding:10px 14px;margin:4px 0;display:inline-block;'
        'max-width:100%;box-sizing:border-box;overflow-x:auto">'
        f'<div style="font-weight:600;margin-bottom:6px">{escaped(title)}</div>'
        f'<div style="display:flex;flex-wrap:wrap;gap:10px 28px;align-items:flex-start">{shown}</div></div>'
    )


def facts(values: Mapping[str, object]) -> str:
    """Return a table of names and values, a line each; what is None or "" is left out."""
    lines = "".join(
        f'<tr style="background:none"><th scope="row" style="{_CELL};text-align:left;font-weight:400;opacity:.7">'
        f'{escaped(name)}</th><td style="{_CELL};text-align:left;white-space:normal;overflow-wrap:anywhere">'
        f"{escaped(value)}</td></tr>"
        for name, value in values.items()
        if value not in (None, "")
    )
    return f'<table style="{_TABLE}"><tbody>{lines}</tbody></table>'


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table, the first column on the left and all others on the right.

    caption: text above it.
    head: a title a column.
    rows: a value a column each.
    """
    sides = ["left", *["right"] * (len(head) - 1)]

    def line(values: Sequence[object], tag: str, more: str) -> str:
        cells = "".join(
            f'<{tag} style="{_CELL};text-align:{side};{more}">{escaped(value)}</{tag}>'
            for value, side in zip(values, sides, strict=True)
        )
        return f'<tr style="background:none">{cells}</tr>'

    body = "".join(line(row, "td", "font-variant-numeric:tabular-nums") for row in rows)
    return (
        f'<table style="{_TABLE}">'
        f'<caption style="caption-side:top;text-align:left;opacity:.7;padding:2px 0;color:inherit">{escaped(caption)}'
        f"</caption><thead>{line(head, 'th', 'font-weight:600')}</thead><tbody>{body}</tbody></table>"
    )


def gallery(images: np.ndarray, captions: Sequence[object], title: str = "") -> str:
    """Return images with a caption below each, as many in a line as there is room for.

    images: uint8 (N, H, W).
    captions: N of them.
    title: text above them.
    """
    figures = "".join(
        f'<figure style="margin:0;width:{IMAGE}px;text-align:center"><img alt="{escaped(caption)}" '
        f'src="data:image/png;base64,{base64.b64encode(files.png_bytes(image)).decode()}" style="width:{IMAGE}px;'
        f'height:{IMAGE}px;max-width:none;margin:0;display:block;image-rendering:pixelated"><figcaption '
        'style="font-size:11px;margin:0;overflow:hidden;text-overflow:ellipsis;white-space:nowrap" '
        f'title="{escaped(caption)}">{escaped(caption)}</figcaption></figure>'
        for image, caption in zip(images, captions, strict=True)
    )
    heading = f'<div style="opacity:.7;padding:2px 0">{escaped(title)}</div>' if title else ""
    return f'{heading}<div style="display:flex;flex-wrap:wrap;gap:4px 6px">{figures}</div>'


def curve(
    x: Sequence[float],
    y: Sequence[float],
    labels: tuple[str, str],
    *,
    spans: tuple[tuple[float, float], tuple[float, float]] | None = None,
    ends: tuple[tuple[str, str], tuple[str, str]] = (("", ""), ("", "")),
    diagonal: bool = False,
    marked: tuple[float, float] | None = None,
    told: str = "",
) -> str:
    """Return a line through points as an SVG.

    x, y: of the points, finite.
    labels: of both axes.
    spans: least and most of x, and of y; None takes those of the points.
    ends: texts at both ends of x, and of y.
    diagonal: whether a dashed line from corner to corner is drawn.
    marked: a point with a dot.
    told: what the picture shows, for who cannot see it.
    """
    across, down = spans or ((min(x), max(x)), (min(y), max(y)))
    size = PLOT - MARGIN

    def place(a: float, b: float) -> tuple[float, float]:
        right, up = (
            (value - least) / (most - least or 1) for value, (least, most) in ((a, across), (b, down))
        )
        return round(MARGIN + right * size, 1), round((1 - up) * size + TOP, 1)

    left, top, right, bottom = MARGIN, TOP, MARGIN + size, TOP + size
    # Half a pixel apart is near enough, and a curve of ten thousand points a few kilobytes.
    points = list(
        dict.fromkeys(tuple(math.floor(2 * c + 0.5) / 2 for c in place(*p)) for p in zip(x, y, strict=True))
    )
    stroke = 'stroke="currentColor" stroke-opacity'
    lines = [f'<path d="M{left} {top}V{bottom}H{right}" {stroke}=".6"/>']
    if diagonal:
        lines.append(f'<path d="M{left} {bottom}L{right} {top}" {stroke}=".4" stroke-dasharray="4 4"/>')
    path = " ".join(f"{a:g},{b:g}" for a, b in points)
    lines.append(f'<polyline points="{path}" stroke="{CURVE}" stroke-width="2" stroke-linejoin="round"/>')
    if marked is not None:
        a, b = place(*marked)
        lines.append(f'<circle cx="{a}" cy="{b}" r="4" fill="{CURVE}" stroke="currentColor"/>')

    def text(a: float, b: float, value: str, more: str = "") -> str:
        return f'<text x="{a:g}" y="{b:g}" {more}>{escaped(value)}</text>' if value else ""

    middle, end = 'text-anchor="middle"', 'text-anchor="end"'
    turned = f'{middle} transform="rotate(-90 12 {(top + bottom) / 2:g})"'
    words = "".join(
        (
            text((left + right) / 2, bottom + 26, labels[0], middle),
            text(12, (top + bottom) / 2, labels[1], turned),
            text(left, bottom + 13, ends[0][0], middle),
            text(right, bottom + 13, ends[0][1], end),
            text(left - 4, bottom, ends[1][0], end),
            text(left - 4, top + 9, ends[1][1], end),
        )
    )
    return (
        f'<svg role="img" aria-label="{escaped(told)}" xmlns="http://www.w3.org/2000/svg" width="{PLOT + 8}" '
        f'height="{PLOT + 8}" viewBox="0 0 {PLOT + 8} {PLOT + 8}" fill="none" style="max-width:100%;display:block">'
        f'{"".join(lines)}<g fill="currentColor" font-size="11" font-family="inherit">{words}</g></svg>'
    )
