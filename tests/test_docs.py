"""The command line reference is what the commands say; each help has an example; `--help` imports nothing heavy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from anomalae.version import __version__
from tests.reference import commands, help_of, reference

ROOT = Path(__file__).parent.parent


def test_reference_is_fresh():
    assert (ROOT / "cli.md").read_text() == reference(), "cli.md is stale: run make docs"


@pytest.mark.parametrize("path", list(commands()), ids=" ".join)
def test_every_help_has_an_example(path):
    assert "Example:\n" in help_of(path)
    assert f"anomalae {' '.join(path)}".strip() in help_of(path).split("Example:")[1]


def test_help_imports_nothing_heavy():
    code = (
        "import sys, anomalae\n"
        "from click.testing import CliRunner\n"
        "from anomalae.cli import main\n"
        "for args in (['--help'], ['train', '--help'], ['score', '--help'], ['--version']):\n"
        "    assert CliRunner().invoke(main, args).exit_code == 0\n"
        "print(sorted({'torch', 'torchvision', 'sklearn', 'pyod', 'matplotlib', 'scipy', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_versions_agree():
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text()
    assert f"version: {__version__}" in (ROOT / "CITATION.cff").read_text()
