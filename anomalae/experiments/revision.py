"""What computes a cell's numbers: our code, that of packages' parts, versions, the arithmetic and the processor."""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import importlib.util
import inspect
import itertools
import platform
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import anomalae
from anomalae.arithmetic import chosen
from anomalae.network_kinds import REGISTRIES
from anomalae.runs.environment import versions_of
from anomalae.version import __version__

# Hexadecimal digits of a revision.
DIGITS = 20
# Those of a hash that are shown.
PART_OF_HASH = 8
# Where a training's numbers are made.
COMPUTING_ROOMS = ("models", "scores")
COMPUTING_FILES = (
    "settings",
    "network_kinds",
    "seeds",
    "arithmetic",
    "compiling",
    "datasets/classes",
    "datasets/dataset",
    "datasets/splits",
    "evaluation/checks",
    "evaluation/delong_covariance",
    "evaluation/metrics",
    "evaluation/intervals",
    "evaluation/conformal",
    "detectors/detector",
    "detectors/fitting",
    "detectors/ensemble",
    "detectors/member",
    "detectors/neighbours",
    "detectors/saving",
    "detectors/batches",
    "experiments/baselines/registry",
    "experiments/grid",
    "experiments/run",
)
# Others' code that makes numbers; another version of it may make other ones.
COMPUTING_PACKAGES = ("torch", "numpy", "scipy", "scikit-learn", "numba", "pyod")


def computed_by(work: Callable[..., Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return what computes a cell's numbers, JSON-able.

    work, arguments: of the cell.

    Returns the `revision` of our code, the `versions` of packages, `parts`: whence the networks, scores and views
    are that the arguments name and that do not come with anomalae, each with a hash of its code; the `arithmetic` of
    products on the CPU, and the `processor`: its architecture and the instructions that PyTorch uses of it.
    """
    return {
        "revision": revision(work),
        "versions": dict(_versions()),
        "parts": _parts(arguments),
        "arithmetic": chosen(torch.device("cpu")),
        "processor": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
    }


def differences(those: Mapping[str, Any], these: Mapping[str, Any]) -> str:
    """Say in what two cells' specs differ, but for work, threads and arguments; "" where in nothing.

    >>> differences({"revision": "a", "versions": {"torch": "2.5"}}, {"revision": "a", "versions": {"torch": "2.6"}})
    'torch 2.5, not 2.6'
    """
    said = ["other code"] if those.get("revision") != these.get("revision") else []
    for key, words in (("versions", "{}"), ("parts", "{}"), ("data", "other data: {} part")):
        # A spec that lacks what the other has is an old one, or of what computes alone.
        some, others = those.get(key), these.get(key)
        if not isinstance(some, dict) or not isinstance(others, dict):
            said += ["versions that are not recorded"] if key == "versions" and some != others else []
            continue
        for name in dict.fromkeys((*others, *some)):
            one, other = (
                str(each.get(name, "none"))[: PART_OF_HASH if key == "data" else None]
                for each in (some, others)
            )
            if some.get(name) != others.get(name):
                said.append(f"{words.format(name)} {one}, not {other}")
    for key in ("arithmetic", "processor"):
        if those.get(key) != these.get(key):
            said.append(
                f"{key} {those[key]}, not {these.get(key)}" if key in those else f"{key} that is not recorded"
            )
    return "; ".join(said)


@functools.cache
def _versions() -> Mapping[str, str]:
    return {"anomalae": __version__, **versions_of(COMPUTING_PACKAGES)}


def _parts(arguments: Mapping[str, Any]) -> dict[str, str]:
    """Whence the parts are that are named in arguments and are not ours, with a hash of their code."""
    named = set(_texts(arguments))
    return {
        f"{sort} {name}": f"{registry.origin(name)} {_hash_of(registry.modules(name))}"
        for sort, registry in REGISTRIES.items()
        for name in sorted(named.intersection(registry.names()).difference(registry.ours()))
    }


def _texts(value: Any) -> Iterator[str]:
    """All texts in something JSON-able."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _texts(each)


@functools.cache
def _hash_of(modules: tuple[str, ...]) -> str:
    """A hash of the code of modules, and of all that they import from their packages and from beside these.

    Of those that have no file, as a notebook, nothing goes into it.
    """
    roots = {module.partition(".")[0] for module in modules}
    places = {_place(file) for file in map(_file, roots) if file is not None}
    waiting, codes = set(modules), dict.fromkeys(modules, "")
    while waiting:
        module = waiting.pop()
        codes[module] = ""
        file = _file(module)
        # Whatever a module of others raises is told where it is used.
        with contextlib.suppress(Exception):
            if file is None or not file.is_file():
                continue
            if file.suffix != ".py":
                codes[module] = hashlib.sha256(file.read_bytes()).hexdigest()
                continue
            tree = _tree(file.read_text(encoding="utf-8"))
            codes[module] = ast.dump(tree)
            package = module if file.stem == "__init__" else module.rpartition(".")[0]
            waiting |= {
                name for name in _imported(tree, package) if _is_beside(name, roots, places)
            } - codes.keys()
    return hashlib.sha256("".join(codes[name] for name in sorted(codes)).encode()).hexdigest()[:PART_OF_HASH]


def _file(module: str) -> Path | None:
    """The file of a module; None of one that has none, or is not there."""
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:
        with contextlib.suppress(Exception):
            spec = importlib.util.find_spec(module)
            file = spec.origin if spec is not None and spec.has_location else None
    return None if file is None else Path(file)


def _imported(tree: ast.Module, package: str) -> set[str]:
    """Names of all that a module of a package imports, wherever in its code, with the packages that these lie in."""
    named: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            named += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            # From above its package nothing can be imported.
            with contextlib.suppress(ImportError):
                base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
                named += [f"{base}.{alias.name}" for alias in node.names]
    return {part for name in named for part in itertools.accumulate(name.split("."), lambda a, b: f"{a}.{b}")}


def _is_beside(module: str, roots: set[str], places: set[Path]) -> bool:
    """Tell whether a module is of these packages, or installed with one, or else lies where one of them lies."""
    root = module.partition(".")[0]
    if root in roots:
        return True
    file = None if root == "anomalae" or root in sys.stdlib_module_names else _file(root)
    if file is None:
        return False
    if {"site-packages", "dist-packages"}.intersection(file.parts):
        installed = _distributions()
        return any(set(installed.get(root, ())).intersection(installed.get(own, ())) for own in roots)
    return _place(file) in places


def _place(file: Path) -> Path:
    """The folder in which a module, or the package that a file stands for, lies."""
    return file.parent.parent if file.stem == "__init__" else file.parent


@functools.cache
def _distributions() -> Mapping[str, Sequence[str]]:
    """What was installed together, by the names under which it is imported."""
    return metadata.packages_distributions()


def revision(work: Callable[..., Any]) -> str:
    """Return the revision of what computes: a hash of the code of the work, of all that it names in its module and in
    those beside it, and of all that trains and scores.

    Comments, docstrings, layout, a move to a module beside, and what the work does not name, as the words of an answer,
    do not change it.
    """
    return hashlib.sha256(f"{_code_of(work)} {_computing()}".encode()).hexdigest()[:DIGITS]


@functools.cache
def _computing() -> str:
    """A hash of the code in which numbers are made."""
    package = Path(anomalae.__file__).parent
    found = [package / f"{name}.py" for name in COMPUTING_FILES]
    found += [path for name in COMPUTING_ROOMS for path in sorted((package / name).rglob("*.py"))]
    codes = "".join(_code(path.read_text(encoding="utf-8")) for path in found)
    return hashlib.sha256(codes.encode()).hexdigest()


@functools.cache
def _code_of(work: Callable[..., Any]) -> str:
    """The code of a function, and of all that it names in its module and in those beside it, and so on."""
    package = work.__module__.rpartition(".")[0]
    seen, codes = set(), set()
    waiting = [(work.__module__, work.__qualname__.partition(".")[0])]
    while waiting:
        module, name = place = waiting.pop()
        if place in seen:
            continue
        seen.add(place)
        for statement in _statements(module).get(name, ()):
            if not isinstance(statement, ast.ImportFrom):
                codes.add(ast.dump(statement))
                waiting += [(module, node.id) for node in ast.walk(statement) if isinstance(node, ast.Name)]
                continue
            names = [alias.name for alias in statement.names if name in (alias.name, alias.asname)]
            if (statement.module or "").startswith(f"{package}."):
                waiting += [(str(statement.module), each) for each in names]
            else:
                codes.add(f"{statement.module} {names} {name}")
    return "".join(sorted(codes))


@functools.cache
def _statements(module: str) -> Mapping[str, Sequence[ast.stmt]]:
    """The statements of a module's top level, without docstrings, by each name they give a meaning to."""
    found: dict[str, list[ast.stmt]] = {}
    for statement in _tree(inspect.getsource(sys.modules[module])).body:
        match statement:
            case ast.Import() | ast.ImportFrom():
                names = {alias.asname or alias.name for alias in statement.names}
            case ast.FunctionDef() | ast.ClassDef():
                names = {statement.name}
            case _:
                used = [node for node in ast.walk(statement) if isinstance(node, ast.Name)]
                # An assignment gives a meaning to its targets; what fills a table, to all that it uses.
                names = {node.id for node in used if isinstance(node.ctx, ast.Store)}
                names = names or {node.id for node in used}
        for name in names:
            found.setdefault(name, []).append(statement)
    return found


def _code(source: str) -> str:
    """Return code without comments, docstrings and layout."""
    return ast.dump(_tree(source))


def _tree(source: str) -> ast.Module:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and _is_text(node.body[:1]):
            node.body = node.body[1:] or [ast.Pass()]
    return tree


def _is_text(body: list[ast.stmt]) -> bool:
    return any(
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
        for node in body
    )
