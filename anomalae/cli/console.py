"""What goes to the terminal: consoles, warnings, and the library's errors in the command line's words."""

from __future__ import annotations

import contextlib
import difflib
import os
import re
import shlex
import sys
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anomalae.cli.lines import tell
from anomalae.errors import AnomalaeError, PartWarning, PathWarning
from anomalae.text import printable

if TYPE_CHECKING:
    from rich.console import Console

# Columns where no terminal shows them.
UNSEEN = 100_000
# What the command line says after an error, by the error's advice; {about} is the name the error gives.
ADVICE = {
    "benchmark": "made by: anomalae benchmark",
    "calibrate": "make one first: anomalae calibrate",
    "dataset": "name one with --dataset",
    "density": "train with --model vae, ladder-vae or adgm",
    "evaluate": "evaluate it: anomalae evaluate --run {about}",
    "exported": "export it with that --{about}",
    "export": "make it: anomalae export --run {about}",
    "list": "`anomalae check --list` names all",
    "name": "choose another --name",
    "output": "choose another --output",
    "replace": "choose another --name, or give --replace",
    "resume": "go on with: anomalae train --resume {about}",
    "runs": "`anomalae runs` lists them",
    "scheduler": "start one, and the same command goes on; what was done is kept",
    "score": "as `anomalae score --output FILE.csv` writes it",
    "shard": "as `anomalae score --shard I/N --output FILE.csv` leaves it",
    "scores": "see --scores",
    "train": "train one first: anomalae train --normal 0",
}


def said(error: AnomalaeError) -> str:
    """Return an error as the command line says it: one line, the setting as its flag, and what would help.

    error: raised by the library, which knows of no flags.

    >>> said(AnomalaeError("runs/a: not finished", advice="resume", about="a"))
    'runs/a: not finished; go on with: anomalae train --resume a'
    >>> said(AnomalaeError("lower learning_rate (now 2)", setting="learning_rate"))
    'lower --learning-rate (now 2)'
    >>> said(AnomalaeError("runs/zreo: no such run", advice="runs", unknown="zreo", known=["zero"]))
    "runs/zreo: no such run; did you mean 'zero'?"
    """
    text = str(error)
    if error.setting is not None:
        flag = f"--{error.setting.replace('_', '-')}"
        text = re.sub(rf"(?<![\w/.-]){re.escape(error.setting)}(?![\w/.-])", flag, text, count=1)
    near = None if error.unknown is None else nearest(error.unknown, error.known)
    if near is not None:
        return printable(f"{text}; did you mean {near!r}?")
    advice = ADVICE.get(error.advice or "", "")
    return printable(f"{text}; {advice.format(about=error.about)}" if advice else text)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the one of the known names that is most like a mistyped one; None where none is.

    name: as it was typed; the beginning of a known name means that one.
    known: names there are.

    >>> nearest("mnits", ["digits", "mnist"]), nearest("fashion", ["mnist", "fashion-mnist"]), nearest("12", ["1", "2"])
    ('mnist', 'fashion-mnist', None)
    """
    # Another number is another thing, not a slip of the keys.
    if name.isdecimal():
        return None
    known = list(known)
    beginnings = [candidate for candidate in known if len(name) > 1 and candidate.startswith(name)]
    near = difflib.get_close_matches(name.lower(), beginnings or known, n=1, cutoff=0 if beginnings else 0.6)
    return near[0] if near else None


def out_console() -> Console:
    """Return standard output for people: as wide as the terminal; where nobody looks so wide that nothing is cut."""
    from rich.console import Console

    piped = not sys.stdout.isatty()
    return Console(width=UNSEEN if piped else None, highlight=False, soft_wrap=piped)


def watched() -> bool:
    """Tell whether progress goes to a terminal."""
    return sys.stderr.isatty()


def warn(message: str) -> None:
    """Print a warning line on standard error."""
    tell(f"Warning: {message}")


@contextlib.contextmanager
def warnings_shown() -> Iterator[None]:
    """Print the library's warnings of parts that do not work and of paths in runs, a line each; others stay."""
    with warnings.catch_warnings():
        shown = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, PartWarning | PathWarning):
                warn(str(message))
            else:
                shown(message, category, *where, **more)

        warnings.showwarning = show
        yield


def shell_word(path: Path | str) -> str:
    """Return a path as one would type it."""
    return shlex.quote(os.fspath(path))
