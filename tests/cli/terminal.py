"""A terminal of so many columns in which a program runs, for tests of what a person sees."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from typing import Any

import pyte

# The program gets the terminal as its own, so that Ctrl-C reaches it, even where the tests run in the background.
LAUNCHER = """
import fcntl, os, signal, sys, termios
signal.signal(signal.SIGINT, signal.default_int_handler)
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""
PATIENCE = 120


class _Screen(pyte.Screen):
    """A screen that counts the lines it had to break because they were longer than it is wide."""

    overlong = 0

    def draw(self, data: str) -> None:
        for character in data:
            self.overlong += self.cursor.x == self.columns
            super().draw(character)


class Terminal:
    """Runs a program in a pseudo terminal; `lines` is what stands there now.

    words: the program and its arguments.
    columns: width of the terminal.
    rows: its height; what is scrolled out of it is gone.
    environment: variables that the program gets besides ours.
    """

    def __init__(self, *words: str, columns: int, rows: int = 40, **environment: str) -> None:
        self._screen = _Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)
        self._here, there = pty.openpty()
        fcntl.ioctl(there, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        ours = {
            name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")
        }
        self._process = subprocess.Popen(
            [sys.executable, "-c", LAUNCHER, *words],
            stdin=there,
            stdout=there,
            stderr=there,
            env={**ours, "TERM": "xterm-256color", "OMP_NUM_THREADS": "1", **environment},
        )
        os.close(there)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: Any) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        os.close(self._here)

    @property
    def lines(self) -> list[str]:
        """What stands on the screen, without the empty lines at its end."""
        return "\n".join(line.rstrip() for line in self._screen.display).rstrip().split("\n")

    @property
    def overlong(self) -> int:
        """How many lines were ever broken by the terminal."""
        return self._screen.overlong

    def type(self, keys: str) -> None:
        """Type these keys."""
        os.write(self._here, keys.encode())

    def until(self, text: str) -> None:
        """Wait until a line has this text."""
        end = time.monotonic() + PATIENCE
        while not any(text in line for line in self.lines):
            assert time.monotonic() < end, "\n".join(self.lines)
            assert self._read() or any(text in line for line in self.lines), "\n".join(self.lines)

    def end(self) -> int:
        """Wait for the program to end; return its exit status."""
        while self._read():
            pass
        return self._process.wait(PATIENCE)

    def _read(self) -> bool:
        """Show what the program has written; False when it is gone."""
        if not select.select([self._here], [], [], PATIENCE)[0]:
            return False
        written = b""
        # A pseudo terminal whose other end is closed is an error on Linux, an empty read elsewhere.
        with contextlib.suppress(OSError):
            written = os.read(self._here, 65536)
        self._stream.feed(written)
        return bool(written)
