"""Scripts beside the package use what it shows to all: they can be imported, and touch nothing private."""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent
SCRIPTS = sorted([*ROOT.glob("benchmarks/**/*.py"), *ROOT.glob("examples/*.py")])
COMMANDS = [path for path in SCRIPTS if "ArgumentParser" in path.read_text(encoding="utf-8")]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imported(path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module of a script, as another would import it: its main is not run."""
    folder = next(ROOT / name for name in ("benchmarks", "examples") if ROOT / name in path.parents)
    monkeypatch.syspath_prepend(str(folder))
    spec = importlib.util.spec_from_file_location(f"script_{path.stem}", path)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    # Where its dataclasses look for the names in their annotations.
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    return module


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def reached_into(path: Path) -> list[str]:
    """Private names that a script reads of others, and attributes of imported modules that it sets."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found, foreign = [], set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            parts = [part for name in node.names for part in name.name.split(".")]
            parts += (getattr(node, "module", None) or "").split(".")
            found += [f"{node.lineno}: import of {part}" for part in parts if private(part)]
            foreign |= {name.asname or name.name.partition(".")[0] for name in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            if private(node.attr) and not own:
                found.append(f"{node.lineno}: .{node.attr}")
            is_set = isinstance(node.ctx, ast.Store) and isinstance(node.value, ast.Name)
            if is_set and node.value.id in foreign:
                found.append(f"{node.lineno}: {node.value.id}.{node.attr} = ...")
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "setattr":
            found.append(f"{node.lineno}: setattr")
    return found


@pytest.mark.parametrize("path", SCRIPTS, ids=name_of)
def test_a_script_is_imported_without_running(path, monkeypatch, capsys):
    module = imported(path, monkeypatch)
    assert module.__doc__
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("path", COMMANDS, ids=name_of)
def test_a_script_tells_how_it_is_called(path, monkeypatch, capsys):
    module = imported(path, monkeypatch)
    monkeypatch.setattr(sys, "argv", [path.name, "--help"])
    with pytest.raises(SystemExit) as done:
        module.main()
    assert done.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: {path.name}")


@pytest.mark.parametrize("path", SCRIPTS, ids=name_of)
def test_a_script_touches_nothing_private(path):
    assert reached_into(path) == []


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("seeds.corrupt = 1", "2: seeds.corrupt = ..."),
        ("print(seeds._load())", "2: ._load"),
        ("from anomalae.plugins import _imported", "2: import of _imported"),
        ("setattr(seeds, 'corrupt', 1)", "2: setattr"),
        ("seeds.__doc__", None),
        ("local = seeds.corrupt", None),
    ],
)
def test_reaching_into_the_package_is_seen(line, found):
    path = Path("script.py")
    path.write_text(f"from anomalae import seeds\n{line}\n")
    assert reached_into(path) == ([] if found is None else [found])
