"""The library names settings and arguments; flags and commands are the command line's to say."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from anomalae.cli.console import ADVICE, said
from anomalae.errors import AnomalaeError

PACKAGE = Path(__file__).parent.parent / "anomalae"
SPEAKS_OF_FLAGS = ("cli", "experiments/command_lines.py")
FLAG = re.compile(r"(^|[\s`'\"(])--[a-z]")


def strings(path: Path) -> list[str]:
    """String constants of a module that are no docstrings, parts of f-strings among them."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose
    ]


def raised(path: Path) -> list[ast.Call]:
    """Calls that make an error."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    named = (
        node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    )
    return [call for call in named if call.func.id.endswith("Error")]  # type: ignore[attr-defined]


def modules(*but: str) -> list[Path]:
    places = [PACKAGE / name for name in but]
    return [
        path
        for path in sorted(PACKAGE.rglob("*.py"))
        if not any(path == place or place in path.parents for place in places)
    ]


def test_no_string_of_the_library_names_a_flag():
    named = {
        str(path.relative_to(PACKAGE)): flags
        for path in modules(*SPEAKS_OF_FLAGS)
        if (flags := [text for text in strings(path) if FLAG.search(text)])
    }
    assert named == {}


def test_every_advice_of_the_library_has_words():
    keys = {
        keyword.value.value
        for path in modules("cli")
        for call in raised(path)
        for keyword in call.keywords
        if keyword.arg == "advice" and isinstance(keyword.value, ast.Constant)
    }
    assert keys == set(ADVICE)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (AnomalaeError("runs/a: broken"), "runs/a: broken"),
        (AnomalaeError("runs/a: exists already", advice="name"), "runs/a: exists already; choose another --name"),
        (
            AnomalaeError("a: not finished", advice="resume", about="a"),
            "a: not finished; go on with: anomalae train --resume a",
        ),
        (
            AnomalaeError("data/latent_dim/x: lower latent_dim", setting="latent_dim"),
            "data/latent_dim/x: lower --latent-dim",
        ),
        (AnomalaeError("a\nb", advice="unheard of"), "a\\nb"),
    ],
)  # fmt: skip
def test_the_command_line_says_what_would_help(error: AnomalaeError, line: str):
    assert said(error) == line
