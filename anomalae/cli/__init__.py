"""The command line: one file a command, each thin. Commands are imported when they are called."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from anomalae.cli import help as help_
from anomalae.cli.console import nearest, said, warnings_shown
from anomalae.cli.exit_status import INTERRUPTED, WRONG_USAGE
from anomalae.cli.lines import tell
from anomalae.errors import AnomalaeError
from anomalae.text import printable
from anomalae.threads import of_process
from anomalae.version import __version__

COMMANDS = (
    "train",
    "score",
    "merge",
    "calibrate",
    "drift",
    "evaluate",
    "compare",
    "report",
    "card",
    "serve",
    "runs",
    "verify",
    "export",
    "demo",
    "benchmark",
    "study",
    "tune",
    "generate",
    "interpolate",
    "plot",
    "data",
    "check",
    "completion",
)

# Seconds after which a Ctrl-C that was lost is raised again.
AGAIN = 0.05

click.Context.formatter_class = help_.HelpFormatter

EXIT_STATUS = """
Exit status: 0 done; 1 nothing could be done; 2 wrong usage, also an unknown name of a class, data set, run, rule or
view; 3 something was flagged and --fail-on-anomaly was given; 4 done in part, some inputs failed; 130 interrupted.
"""


class _Lazy(click.Group):
    """A group whose commands live in modules of the same name and are imported on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"anomalae.cli.commands.{cmd_name}").command
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            near = nearest(args[0] if args else "", COMMANDS)
            if near is None or "Did you mean" in error.message:
                raise
            raise click.UsageError(f"{error.message} Did you mean {near!r}?", ctx) from None

    def invoke(self, ctx: click.Context) -> Any:
        """Turn our own errors into one line and an exit status, and Ctrl-C too; click's own usage errors stay 2."""
        try:
            with warnings_shown(), _interrupts_kept():
                return super().invoke(ctx)
        except AnomalaeError as error:
            tell(f"Error: {said(error)}")
            sys.exit(1 if error.unknown is None else WRONG_USAGE)
        except (KeyboardInterrupt, click.Abort):
            tell("Interrupted.")
            sys.exit(INTERRUPTED)
        except BrokenPipeError:
            sys.stderr.close()
            sys.exit(1)
        except OSError as error:
            click.echo(
                f"Error: {printable(str(error.filename or 'output'))}: {error.strerror or error}", err=True
            )
            sys.exit(1)


@contextlib.contextmanager
def _interrupts_kept() -> Iterator[None]:
    """Let no Ctrl-C be lost: neither in an error that came of it, as within an import, nor in what cannot raise one."""
    with _raised_again():
        try:
            yield
        except Exception as error:
            reason: BaseException | None = error
            while reason is not None:
                if isinstance(reason, KeyboardInterrupt):
                    raise reason from None
                reason = reason.__cause__ or reason.__context__
            raise


@contextlib.contextmanager
def _raised_again() -> Iterator[None]:
    """Raise an interrupt again that came in a `__del__` or a weak reference's callback: nothing gets out of these."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return
    hook, handler = sys.unraisablehook, signal.signal(signal.SIGALRM, signal.default_int_handler)

    def unraisable(lost: Any) -> None:
        if issubclass(lost.exc_type, KeyboardInterrupt):
            # Nothing is waited for here: another interrupt would be lost.
            signal.setitimer(signal.ITIMER_REAL, AGAIN)
        else:
            hook(lost)

    sys.unraisablehook = unraisable
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.unraisablehook = hook
        signal.signal(signal.SIGALRM, handler)


@click.group(
    cls=_Lazy,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog=EXIT_STATUS,
)
@click.version_option(__version__, prog_name="anomalae")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Learn what some handwritten digits look like; tell which other images do not belong.

    \b
    Example:
      anomalae train --normal 0
      anomalae score images/
    """
    # Before anything imports PyTorch, or its threads would spin while they wait.
    ctx.with_resource(of_process(None))
    for name in ("stdout", "stderr"):
        # None where it is closed: what would be said is said to nobody.
        if getattr(sys, name) is None:
            nobody = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - closed with the context
            setattr(sys, name, ctx.with_resource(nobody))
    # Names of files may hold what the terminal's encoding lacks.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
