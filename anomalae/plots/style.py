"""How figures look: the palette, the style sheet, and writing a figure so that the same figure is the same bytes.

Colours are told apart by colour-blind readers (see `tests/plots/test_colours.py`) and have a contrast of at least 3:1
on white and on a dark page (text: 4.5:1 on white; points of classes: 2:1). INK, MUTED, GRID and PAPER are used for
text, axes, grids and halos and for nothing else, and are written as these very strings, so a dark page recolours a
figure by replacing them in the text of its SVG; `svg` leaves the background out, `save` paints it PAPER.
"""

from __future__ import annotations

import contextlib
import functools
import io
import re
import textwrap
import unicodedata
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from anomalae import files
from anomalae.errors import ConfigError
from anomalae.text import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

P = ParamSpec("P")
R = TypeVar("R")

# Text and axes.
INK = "#1f2329"
# Lesser text and lines: chance, prevalence.
MUTED = "#5d6671"
GRID = "#d9dee3"
# Background, and the rim of markers on it.
PAPER = "#ffffff"

# Blue: normal images.
NORMAL = "#0072b2"
# Vermilion: anomalous images.
ANOMALY = "#d55e00"
# Violet: the run itself.
MODEL = "#7d5cc6"
# Other methods, each with a dash pattern of its own (on, off, ... in line widths); after the last comes the first.
BASELINES: tuple[tuple[str, tuple[float, ...]], ...] = (
    ("#f15242", (5, 1.5)),
    ("#09a851", (1.5, 1.5)),
    ("#e467af", (7, 1.5, 1.5, 1.5)),
    ("#0196fa", (3, 1.5)),
    ("#726702", (7, 1.5, 1.5, 1.5, 1.5, 1.5)),
    ("#6d9e77", (1, 1)),
)
# Anomalous classes of the latent space, beside normal ones in NORMAL; each class has a marker of its own.
CLASSES = (
    "#b00417", "#bc6712", "#71ba4f", "#970e66", "#2abcb3", "#7a4549", "#f18e82", "#83814b", "#b8af02",
)  # fmt: skip
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p")

# Inches of a figure with one panel, width and height.
WIDTH, HEIGHT = 5.4, 4.4

RC: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "text.color": INK,
    # Class and file names are text, whatever they hold.
    "text.parse_math": False,
    "axes.unicode_minus": True,
    "axes.edgecolor": INK,
    "axes.formatter.useoffset": False,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "figure.dpi": 100,
    "figure.facecolor": PAPER,
    "figure.titlesize": 10,
    "figure.titleweight": "bold",
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "legend.edgecolor": "none",
    "legend.facecolor": "none",
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "lines.linewidth": 1.6,
    "pdf.fonttype": 42,
    "savefig.dpi": 160,
    "svg.fonttype": "none",
    "svg.hashsalt": "anomalae",
    "xtick.color": INK,
    "xtick.labelsize": 8.5,
    "ytick.color": INK,
    "ytick.labelsize": 8.5,
}

FORMATS = ("png", "svg", "pdf")


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Run a function that draws, or writes a drawing, under this style sheet and no other."""

    @functools.wraps(draw)
    def under_the_sheet(*args: P.args, **kwargs: P.kwargs) -> R:
        with sheet():
            return draw(*args, **kwargs)

    return under_the_sheet


@contextlib.contextmanager
def sheet() -> Iterator[None]:
    """Draw under this style sheet and no other, as long as the context lasts."""
    from matplotlib import style

    with style.context(["default", RC]), warnings.catch_warnings():
        # Names from data may be in any script; what the font lacks is drawn as a box, and stays text in an SVG.
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font", UserWarning)
        yield


def figure(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Make a function draw its figure under this style sheet, with places that stay as they are whatever it becomes.

    One that draws into axes it was given, `ax`, leaves the layout of their figure alone.
    """

    @functools.wraps(draw)
    @styled
    def settled(*args: P.args, **kwargs: P.kwargs) -> Figure:
        drawn = draw(*args, **kwargs)
        if kwargs.get("ax") is not None:
            return drawn
        # The layout moves a little each time, so a figure would depend on how often it was drawn.
        for _ in range(2):
            drawn.draw_without_rendering()
        drawn.set_layout_engine("none")
        return drawn

    return settled


def new(width: float = WIDTH, height: float = HEIGHT) -> Figure:
    """Return an empty figure of this size in inches, which a notebook shows."""
    from anomalae.plots.notebook import Figure

    return Figure(figsize=(width, height), layout="constrained")


def panel(ax: Axes | None, width: float = WIDTH, height: float = HEIGHT) -> tuple[Figure, Axes]:
    """Return a figure and the axes to draw into: those given, or the only ones of a new figure of this size."""
    if ax is None:
        figure = new(width, height)
        return figure, figure.subplots()
    whole: Any = ax.figure
    # Axes may lie in a figure's part.
    while whole.figure is not whole:
        whole = whole.figure
    return whole, ax


def legend_below(figure: Figure, axes: Axes, columns: int = 1, first: int = 0) -> None:
    """Put the legend of these axes under them, where it covers nothing, beginning with its entry number `first`."""
    figure.legend(*_entries(axes, first), loc="outside lower center", ncols=columns)


def fit(axes: Axes, first: int = 0, marker_scale: float = 1) -> None:
    """Break the texts of axes that were given to their size, and put the legend inside them, where it hides least.

    axes: with title and labels.
    first: number of the legend's entry that comes first.
    marker_scale: how much larger markers are in the legend.
    """
    box = axes.get_window_extent()
    width, height = (72 * size / axes.figure.dpi for size in box.size)
    axes.set_title(_broken(axes.get_title(loc="left"), width, 10))
    axes.set_xlabel(_broken(axes.get_xlabel(), width, 9))
    axes.set_ylabel(_broken(axes.get_ylabel(), height, 9))
    handles, texts = _entries(axes, first)
    if handles:
        lines = [_broken(text, 0.62 * width, 7) for text in texts]
        look: dict[str, Any] = {"frameon": True, "facecolor": PAPER, "framealpha": 0.8}
        look |= {"fontsize": 7, "handlelength": 1.8, "markerscale": marker_scale}
        legend = axes.legend(handles, lines, loc="best", **look)
        legend.set_zorder(6)


def _entries(axes: Axes, first: int) -> tuple[list[Any], list[str]]:
    handles, texts = axes.get_legend_handles_labels()
    return handles[first:] + handles[:first], texts[first:] + texts[:first]


def _broken(text: str, width: float, size: float) -> str:
    """Break a text of this font size into lines of about this width, both in points."""
    return textwrap.fill(text, max(12, int(width / (0.56 * size))))


def narrowed(name: object, most: int) -> str:
    """Return a name from data as one line of at most so many columns, its middle cut out; wide characters take two.

    >>> narrowed("class 7 of a data set", 12), narrowed("数字の七", 5)
    ('class 7…set', '数…七')
    """
    line = printable(str(name))
    if display_columns(line) <= most:
        return line
    head, tail = "", ""
    for character in line:
        if display_columns(head + character) > 2 * (most - 1) // 3:
            break
        head += character
    for character in reversed(line):
        if display_columns(head + character + tail) > most - 1:
            break
        tail = character + tail
    return f"{head.rstrip()}…{tail.lstrip()}"


def display_columns(line: str) -> int:
    """Return the columns that a line takes where letters are of one width: Chinese and Japanese ones take two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in line)


def close_up(axes: Axes, place: tuple[float, float, float, float], title: str) -> Axes:
    """Return axes inside the axes, on a ground that covers lines.

    axes: those around it.
    place: left, bottom, width and height, in shares of theirs.
    title: above it.
    """
    from matplotlib.patches import Rectangle

    left, bottom, width, height = place
    corner, size = (left - 0.1, bottom - 0.08), (width + 0.13, height + 0.16)
    look: dict[str, Any] = {"facecolor": PAPER, "edgecolor": GRID, "linewidth": 0.8}
    axes.add_patch(Rectangle(corner, *size, transform=axes.transAxes, zorder=4, **look))
    inside = axes.inset_axes(place, zorder=5)
    inside.tick_params(labelsize=7.5)
    inside.set_title(title, fontsize=8, fontweight="normal", color=MUTED)
    return inside


def mark(axes: Axes, inside: Axes) -> None:
    """Draw a frame, in the axes, around what is enlarged inside them."""
    shown = axes.indicate_inset_zoom(inside, edgecolor=MUTED, alpha=0.8, linewidth=0.7)
    for line in shown.connectors or ():
        line.set_visible(False)


def log_axis(axis: Axis, span: float) -> None:
    """Put ticks at 1, 2, 5, 10, ... of a logarithmic axis as far as there is room, written out."""
    from matplotlib.ticker import LogLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if span < 1e3 else (1,), numticks=12))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(lambda value, _: f"{value:g}")


@styled
def save(figure: Figure, path: str | Path) -> None:
    """Write a figure as PNG, SVG (text as text) or PDF by the path's suffix, atomically; no date, so always alike.

    figure: drawn already.
    path: ends in .png, .svg or .pdf.

    Raises ConfigError for another suffix, BundleError where it cannot be written.

    >>> import tempfile
    >>> from anomalae import plots
    >>> figure = plots.matrix([[0.98]], rows=["a"], columns=["b"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     plots.save(figure, f"{folder}/matrix.png")
    """
    path = Path(path)
    suffix = path.suffix.lower().lstrip(".")
    if suffix not in FORMATS:
        raise ConfigError(f"{path}: the suffix must be one of .{', .'.join(FORMATS)}")
    metadata = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[suffix]
    with files.replacing(path) as file:
        figure.savefig(file, format=suffix, metadata=metadata)


@styled
def svg(figure: Figure, name: str = "figure") -> str:
    """Return the figure as an `<svg>` element for a page: text as text, no background, no date, no references.

    figure: drawn already.
    name: letters, digits, `-`, `_`; it begins every id, so that several figures fit one page.

    Returns the markup. Raises ConfigError for another name.

    >>> from anomalae import plots
    >>> plots.svg(plots.matrix([[0.98]], rows=["a"], columns=["b"]), "pairs").count("<svg")
    1
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name):
        raise ConfigError(f"name {name!r}: must be letters, digits, '-' or '_', beginning with a letter")
    file = io.StringIO()
    metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(file, format="svg", transparent=True, metadata=metadata)
    text = file.getvalue()
    # The prologue is left out, as its DTD is a reference.
    text = text[text.index("<svg") :]
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    return in_tags(r'(\bid="|url\(#|href="#)', lambda match: f"{match[1]}{name}-", text)


def in_tags(pattern: str, replace: Callable[[re.Match[str]], str], markup: str) -> str:
    """Replace a pattern, whatever its case, in the tags of an SVG, and never in its text, which may hold anything."""
    inside = re.compile(pattern, re.IGNORECASE)
    return re.sub(r"<[^<>]*>", lambda tag: inside.sub(replace, tag[0]), markup)


def frames(figure: Figure) -> list[dict[str, Any]]:
    """Return where the first panel and its close-up lie, for a page that reads points off them.

    `box`: left, top, width and height as shares of the figure; `x`, `y`: the data at the ends of the axes; `log`:
    whether the x axis is logarithmic.
    """
    places = []
    for axes in (figure.axes[0], *figure.axes[0].child_axes):
        place = axes.get_position()
        places.append(
            {
                "box": [float(v) for v in (place.x0, 1 - place.y1, place.width, place.height)],
                "x": [float(v) for v in axes.get_xlim()],
                "y": [float(v) for v in axes.get_ylim()],
                "log": axes.get_xscale() == "log",
            }
        )
    return places
