"""What is named in documents and docstrings is there: modules and what is in them, files, links."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path
from typing import Any

import pytest

from anomalae.network_kinds import MODELS
from anomalae.plugins import SCORES, VIEWS

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    path for path in ROOT.rglob("*.md") if not {".venv", "tests", "node_modules"} & set(path.parts)
)
MODULES = sorted((ROOT / "anomalae").rglob("*.py"))
DOTTED = re.compile(r"(?<![\w./-])anomalae(?:\.[A-Za-z_]\w*)+")
FOLDERS = "anomalae|benchmarks|examples|tests|docs"
PLACE = re.compile(rf"`(?:python )?((?:{FOLDERS})/[\w./-]+)")
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")

GROUPS = {registry.group: registry for registry in (MODELS, SCORES, VIEWS)}


def prose(path: Path) -> str:
    """A page as it is; of a module the docstrings, and its comments."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return text
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, documented)]
    comments = re.findall(r"(?m)(?<!\S)#.*$", text)
    return "\n".join([*(ast.get_docstring(node) or "" for node in nodes), *comments])


def meant(name: str) -> Any:
    """What a dotted name stands for: the longest module, and then attributes. Raises where there is none.

    Groups of entry points are named like modules, and are the registries'.
    """
    if name in GROUPS:
        return GROUPS[name]
    first, *rest = name.split(".")
    found = importlib.import_module(first)
    for depth, part in enumerate(rest, 2):
        if not hasattr(found, part):
            importlib.import_module(".".join(name.split(".")[:depth]))
        found = getattr(found, part)
    return found


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", [*PAGES, *MODULES], ids=name_of)
def test_dotted_names_stand_for_something(path):
    for name in DOTTED.findall(prose(path)):
        try:
            meant(name)
        except (ImportError, AttributeError) as error:
            pytest.fail(f"{name}: {error}")


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_links_and_files_are_there(path):
    text = prose(path)
    assert [link for link in LINK.findall(text) if not (path.parent / link).exists()] == []
    assert [place for place in PLACE.findall(text) if not (ROOT / place).exists()] == []


def test_dotted_names_are_found():
    text = "`anomalae.Detector`, see anomalae.models.views.View. Not runs/anomalae.json, nor `xanomalae.y`."
    assert DOTTED.findall(text) == ["anomalae.Detector", "anomalae.models.views.View"]
    assert meant("anomalae.models.views.View.see").__name__ == "see"
    for gone in ("anomalae.detector", "anomalae.Detektor", "anomalae.models.views.LOOKS"):
        with pytest.raises((ImportError, AttributeError)):
            meant(gone)
