"""Calling the command line in tests, and a run made once for all of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from anomalae.cli import main

ROOT = Path(__file__).parents[2]
SMALL = ["--dataset", "digits", "--epochs", "2", "--hidden", "32", "--latent-dim", "8"]
# Of `train` one training, not one a fold: few images in folds are the matter of test_few_images.
QUICK = [*SMALL, "--conformal", "split"]


def run(*args: str | Path, stdin: str | bytes | None = None, env: dict[str, str] | None = None) -> Result:
    """What the command line does with these words; no exception but SystemExit may reach us."""
    result = CliRunner().invoke(main, [str(word) for word in args], input=stdin, env=env)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def ok(*args: str | Path, **more: Any) -> Result:
    """As `run`, for a call that must succeed."""
    result = run(*args, **more)
    assert result.exit_code == 0, result.output
    return result


def fails(status: int, *args: str | Path, **more: Any) -> str:
    """As `run`, for a call that must fail with this status; returns its one line of complaint."""
    result = run(*args, **more)
    assert result.exit_code == status, result.output
    assert "Traceback" not in result.output
    lines = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1, result.stderr
    assert result.stderr.rstrip().splitlines()[-1] == lines[0], result.stderr
    return lines[0]


def parsed(*args: str | Path, **more: Any) -> Any:
    """The JSON a call prints."""
    return json.loads(ok(*args, **more).stdout)


def process(place: Path, *lines: str, blocked: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run lines of Python where some packages cannot be imported."""
    block = f"import sys; sys.modules.update(dict.fromkeys({blocked!r}))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-c", "\n".join([block, *lines])]
    return subprocess.run(words, capture_output=True, text=True, env=environment, cwd=place, check=False)
