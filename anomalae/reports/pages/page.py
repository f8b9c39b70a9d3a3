"""The page of a report: templates filled in, every name escaped, pictures and data put inside."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from anomalae import files, plots
from anomalae.reports.pages import words
from anomalae.text import printable
from anomalae.version import __version__

if TYPE_CHECKING:
    from jinja2 import Environment

# These words mark a page as ours.
GENERATOR = "anomalae report"
ICON = (
    "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'><circle cx='8' cy='8' r='6' fill='none' "
    "stroke='#7d5cc6' stroke-width='2'/><circle cx='12' cy='4' r='3.2' fill='#d55e00'/></svg>"
)


def fill(template: str, content: Mapping[str, Any], data: Mapping[str, Any] | None) -> str:
    """Fill the page of this template; `data` is put inside as JSON for its script."""
    from markupsafe import Markup

    script = _part("report.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    ramp = plots.heat(np.linspace(-1, 1, 101)[None], 1.0)
    return (
        _environment()
        .get_template(f"{template}.html.j2")
        .render(
            **content,
            generator=f"{GENERATOR} {__version__}",
            version=__version__,
            css=Markup(_part("report.css")),
            js=Markup(script),
            script_hash=f"sha256-{digest}",
            icon="data:image/svg+xml;base64," + base64.b64encode(ICON.encode()).decode(),
            heat_ramp=_png(ramp),
            page_data=None if data is None else Markup(inline_json(data)),
        )
    )


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("anomalae.reports.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.filters |= words.FILTERS | {
        "basename": lambda path: PurePath(path).name or str(path),
        "entry": lambda values, key: values.get(str(key)),
        "exact": lambda value: repr(float(value)),
        "gray_png": lambda image: _png(plots.gray(image)[..., 0]),
        "markup": Markup,
        "tail": lambda path: "/".join(PurePath(path).parts[-2:]),
    }
    return environment


def _shown(value: Any) -> Any:
    """Return text from data with control characters and undecodable bytes as escapes; markup as it is."""
    return printable(value) if type(value) is str else value


def inline_json(value: Any) -> str:
    """Return JSON that may stand in a `<script>` element: no `<`, `>`, `&`, nor line separator is left in it."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _part(name: str) -> str:
    return (resources.files("anomalae.reports.pages") / "templates" / name).read_text(encoding="utf-8")


def heat_png(scale: float) -> Callable[[np.ndarray], str]:
    """Return a function that turns the terms of a heatmap into a data URI, on this scale."""
    return lambda terms: _png(plots.heat(terms, scale))


def _png(pixels: np.ndarray) -> str:
    """Return pixels (H, W) or (H, W, 3) as a data URI."""
    return "data:image/png;base64," + base64.b64encode(files.png_bytes(pixels, optimize=True)).decode()
