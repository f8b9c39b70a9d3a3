"""Images and their heatmaps drawn in the terminal: two pixels a character, by half-blocks in colour."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from anomalae.cli import tables
from anomalae.text import printable

if TYPE_CHECKING:
    import numpy as np
    from rich.console import Console
    from rich.text import Text

    from anomalae.detectors.judging import Scorer
    from anomalae.experiments.run import Run

# Images that are drawn, at most, by `score --show` and by `runs RUN`.
SHOWN, SHOWN_OF_RUN = 6, 3
# Test images of a folder of pictures, which is read whole to draw some: at most this many.
READ_AT_MOST = 500
# Pixels that are left out along each edge, where images hold nothing, so that three fit into 80 columns.
EDGE = 1
# The upper half is drawn in the colour of the text, the lower half in that of the ground.
HALF = "▀"
GAP = " "


def can_draw(console: Console) -> bool:
    """Tell whether a console shows colours and half-blocks to somebody: not where it is piped."""
    if not console.is_terminal or console.color_system is None:
        return False
    try:
        HALF.encode(console.encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def show(
    console: Console,
    detector: Scorer,
    images: np.ndarray,
    names: Sequence[str],
    scores: Sequence[float],
    flagged: Sequence[bool],
    *,
    rule: str,
    alpha: float,
    calibration: str | None = None,
) -> None:
    """Draw images, each above its heatmap, as many side by side as the console is wide; nothing where it cannot.

    console: where to.
    detector: a fitted one, that makes the heatmaps.
    images: uint8 (N, 28, 28), N at least 1.
    names, scores, flagged: of each image.
    rule: by which they were scored.
    alpha, calibration: false-alarm level, and whose, that set the colour scale.
    """
    from anomalae import plots
    from anomalae.images.sources import Canonical

    if not can_draw(console):
        return
    scale = plots.heat_scale(detector.heatmap_level(alpha, rule, calibration=calibration))
    inner = slice(EDGE, -EDGE)
    drawn = [
        [*blocks(plots.gray(image)[inner, inner]), *blocks(plots.heat(terms, scale)[inner, inner])]
        for image, terms in zip(images, detector.heatmap(Canonical(images), rule), strict=True)
    ]
    width = drawn[0][0].cell_len
    captions = [
        _caption(name, score, flag, width) for name, score, flag in zip(names, scores, flagged, strict=True)
    ]
    columns = max(1, (console.width + len(GAP)) // (width + len(GAP)))
    for start in range(0, len(drawn), columns):
        some = zip(drawn[start : start + columns], captions[start : start + columns], strict=True)
        _print_beside(console, [[*lines, *caption] for lines, caption in some])
    tables.say(f"Heatmaps: {detector.heatmap_note(rule)}. Red is ink too much, blue is ink missing.", console)


def blocks(pixels: np.ndarray) -> list[Text]:
    """Return pixels, uint8 RGB (H, W, 3), as lines of half-blocks, two rows a line; H is even."""
    from rich.color import Color
    from rich.style import Style
    from rich.text import Text

    lines = []
    for upper, lower in zip(pixels[::2], pixels[1::2], strict=True):
        line = Text(no_wrap=True)
        for above, below in zip(upper.tolist(), lower.tolist(), strict=True):
            line.append(HALF, Style(color=Color.from_rgb(*above), bgcolor=Color.from_rgb(*below)))
        lines.append(line)
    return lines


def _caption(name: str, score: float, flagged: bool, width: int) -> list[Text]:
    """Return two lines: the end of the name, which tells most; the score and the verdict."""
    from rich.text import Text

    shown = printable(name)
    first = Text(shown if len(shown) <= width else "…" + shown[1 - width :], no_wrap=True)
    second = Text(f"{score:.5g}", no_wrap=True)
    if flagged:
        second.append(" flagged", "bold red")
    for line in (first, second):
        line.truncate(width)
    return [first, second]


def _print_beside(console: Console, pictures: list[list[Text]]) -> None:
    """Print pictures of equally many lines side by side."""
    from rich.text import Text

    width = max(picture[0].cell_len for picture in pictures)
    for parts in zip(*pictures, strict=True):
        line = Text(no_wrap=True, overflow="crop")
        for place, part in enumerate(parts):
            line.append(GAP if place else "")
            line.append_text(part)
            line.append(" " * (width - part.cell_len) if place < len(parts) - 1 else "")
        console.print(line)
    console.print()


def show_run(folder: Path, *, as_json: bool = False) -> None:
    """Draw the test images of a finished run that score highest, where somebody looks and its data are at hand.

    folder: of the run. One that keeps no evaluation, or whose data would have to be downloaded or take long to read,
        is passed over, and so is one that is broken: that is for the commands that use it to say.
    as_json: whether standard output is for a program.
    """
    from anomalae.cli.console import out_console
    from anomalae.errors import AnomalaeError

    console = out_console()
    if as_json or not can_draw(console):
        return
    import numpy as np

    from anomalae.experiments.run import Run

    run = Run(folder)
    try:
        evaluation = run.kept_evaluation() if _is_at_hand(run) else None
        if evaluation is None:
            return
        highest = np.argsort(-evaluation.scores, kind="stable")[:SHOWN_OF_RUN]
        test = run.dataset().test
        images, labels, detector = test.images[highest], test.labels[highest], run.detector
        rule = run.record.settings.rule
    except AnomalaeError:
        return
    console.print(f"\nhighest scores of {len(evaluation.scores):,} test images:")
    names = [f"test image {index}, class {label}" for index, label in zip(highest, labels, strict=True)]
    scores, flagged = evaluation.scores[highest].tolist(), evaluation.flagged[highest].tolist()
    show(console, detector, images, names, scores, flagged, rule=rule, alpha=evaluation.alpha)


def _is_at_hand(run: Run) -> bool:
    """Tell whether the run's data set is there and quickly read."""
    from anomalae.datasets.load import DATASETS, is_outside, is_there, locate

    data = run.record.data
    if data.name in DATASETS:
        return locate(data.name).state == "present"
    # What a run names elsewhere is not read for a look at it.
    near = data.name is not None and not is_outside(data.name)
    return near and is_there(str(data.name)) and data.n_test <= READ_AT_MOST
