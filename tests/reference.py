"""Makes `cli.md` from the commands' own `--help`: `python -m tests.reference > cli.md`, or `make docs`."""

from __future__ import annotations

from collections.abc import Iterator

import click
from click.testing import CliRunner

from anomalae.cli import main

HEAD = """# Command line

Made from `--help` by `make docs`; a test fails when it is stale.

RUN is the name of a run inside `--runs-dir`, or the path of a run folder: `--run RUN` in every command that takes one,
an argument too where it is the only operand. Left out, the newest finished run is taken and named in the output.

## Exit status, the same for all commands

| status | meaning |
|---|---|
| 0 | done |
| 1 | nothing could be done, of a broken or unfinished run for instance; one line on standard error says why |
| 2 | wrong usage: an unknown option, a value out of its range, an unknown class, data set, run, rule or view |
| 3 | something was flagged, and `--fail-on-anomaly` was given |
| 4 | done in part, some inputs failed (beats 3) |
| 130 | interrupted by Ctrl-C; what can be gone on with is said |

Tables are for people. `--json` and files are for programs and stay stable; progress and warnings go to standard
error.
"""


def commands(command: click.Command = main, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of every command, groups before what is in them."""
    yield path
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from commands(inner, (*path, name))


def help_of(path: tuple[str, ...]) -> str:
    """What `anomalae PATH --help` prints, 100 columns wide."""
    result = CliRunner().invoke(main, [*path, "--help"], prog_name="anomalae", terminal_width=100)
    assert result.exit_code == 0, result.output
    return result.output


def reference() -> str:
    """The whole of `cli.md`."""
    parts = [HEAD]
    for path in commands():
        parts.append(f"\n## `{' '.join(('anomalae', *path))}`\n\n```text\n{help_of(path).rstrip()}\n```\n")
    return "".join(parts)


if __name__ == "__main__":
    print(reference(), end="")
