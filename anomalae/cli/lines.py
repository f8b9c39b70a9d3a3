"""Lines of text for people, broken between words where the terminal is narrow and left whole where nobody looks."""

from __future__ import annotations

import re
import sys

import click

from anomalae.text import printable


def wrapped(text: str, width: int) -> list[str]:
    """Break a text into lines of at most so many columns.

    text: one line.
    width: columns of the terminal; wide characters take two of them.

    Returns the lines. They end between words; a word that is longer than a line, which is a path as a rule, is broken
    after its slashes, and is left whole where it has none.

    >>> wrapped("kept: runs/mnist-0-ae/evaluation.json", 32)
    ['kept:', 'runs/mnist-0-ae/evaluation.json']
    >>> wrapped("runs/mnist-0-ae/evaluation.json", 20)
    ['runs/mnist-0-ae/', 'evaluation.json']
    """
    from rich.cells import cell_len

    lines, line = [], ""
    for word in re.findall(r"\s*\S+", text):
        parts = [word] if cell_len(word.strip()) <= width else re.findall(r"\s*[^/]*/|[^/]+", word)
        for part in parts:
            if line and cell_len(line + part) > width:
                lines.append(line)
                line = part.lstrip()
            else:
                line += part
    return [*lines, line]


def longest_part(text: str) -> int:
    """Return how many columns a text takes at least: those of what `wrapped` never breaks."""
    from rich.cells import cell_len

    return max((cell_len(part) for part in re.findall(r"[^\s/]*/|[^\s/]+", text)), default=0)


def command_lines(command: str, width: int) -> list[str]:
    """Return a command, indented, on lines that can be copied to a shell: all but the last end with a backslash.

    command: as it is typed; what stands in quotes stays together.
    width: columns of the terminal.

    >>> command_lines("anomalae evaluate --run a", 20)
    ['  anomalae \\\\', '      evaluate \\\\', '      --run a']
    """
    words = re.findall(r"(?:'[^']*'|[^\s'])+", printable(command))
    lines = [f"  {words[0]}"]
    for word in words[1:]:
        # A space and a backslash may follow.
        if len(f"{lines[-1]} {word}") + 2 <= width:
            lines[-1] += f" {word}"
        else:
            lines[-1] += " \\"
            lines.append(f"      {word}")
    return lines


def tell(text: str) -> None:
    """Print a line on standard error, as several where that is a terminal too narrow for it."""
    line = printable(text)
    if not sys.stderr.isatty():
        click.echo(line, err=True)
        return
    from rich.console import Console

    # Not by Click, which would pass by the progress that Rich shows.
    for part in wrapped(line, Console(stderr=True).width):
        print(part, file=sys.stderr)


def tell_command(before: str, command: str) -> None:
    """Print what a command does and the command, on standard error; on a terminal the command begins a line."""
    if not sys.stderr.isatty():
        tell(f"{before} {command}")
        return
    from rich.console import Console

    tell(before)
    for line in command_lines(command, Console(stderr=True).width):
        print(line, file=sys.stderr)
