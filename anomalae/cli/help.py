"""Help that is broken between words only: `--fail-on-anomaly` is one."""

from __future__ import annotations

from collections.abc import Iterable

import click

# Stands for a hyphen, after which text may be broken, while lines are made.
_HYPHEN = "\ue000"


class HelpFormatter(click.HelpFormatter):
    """Click's formatter, which takes a hyphen for the end of a word; this one does not."""

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        """Write how the command is called."""
        super().write_usage(prog, args.replace("-", _HYPHEN), prefix)

    def write_text(self, text: str) -> None:
        """Write paragraphs."""
        super().write_text(text.replace("-", _HYPHEN))

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        """Write names, and what each of them is, in two columns."""
        whole = [(name.replace("-", _HYPHEN), text.replace("-", _HYPHEN)) for name, text in rows]
        super().write_dl(whole, col_max, col_spacing)

    def getvalue(self) -> str:
        """Return what was written."""
        return super().getvalue().replace(_HYPHEN, "-")
