"""What computes a cell is part of its key: our code, that of packages' parts, versions; a worker checks it."""

from __future__ import annotations

import ast
import importlib
import json
import linecache
import os
import pickle
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from anomalae import load_dataset
from anomalae.arithmetic import computing
from anomalae.experiments import revision as module
from anomalae.experiments.cells import Cell, Done, Result, Source, attempt
from anomalae.experiments.kept_cells import Shelf
from tests.experiments import working

ROOT = Path(__file__).parents[2]
# Where no number of a cell is made, though what makes them imports it.
NO_NUMBERS = {
    "cards": "how a notebook shows an object",
    "datasets.load": "loads: a cell's data are known by the hash of their images",
    "datasets.official": "loads",
    "detectors.described": "words",
    "detectors.folds": "of few images, in folds, which no cell makes",
    "detectors.probe": "by which a run is verified",
    "detectors.starting": "begins with another's weights, as no cell does",
    "detectors.verifying": "compares scores",
    "errors": "words",
    "files": "reads and writes",
    "evaluation.described": "words",
    "experiments.cells": "does the work",
    "experiments.kept_cells": "keeps the numbers",
    "images": "reads pictures: a cell's images are canonical already",
    "lazy": "imports later",
    "plots": "figures of numbers",
    "plugins": "finds parts by name; those of others are in a key by themselves",
    "ranges": "refuses",
    "runs": "files of a run",
    "text": "words",
    "threads": "a cell's are in its key",
}
FILES = ("datasets/classes", "datasets/dataset", "evaluation/checks", "evaluation/delong_covariance")
SCRIPT = """
import json, pickle, sys
from pathlib import Path
import anomalae
from anomalae import load_dataset, plugins
from anomalae.experiments import revision
from anomalae.experiments.cells import Cell, Source, attempt
from tests.experiments import working

def forget():
    for cached in (revision._hash_of, plugins._entry_points, plugins._load):
        cached.cache_clear()
    for name in ("inky", "inky.scores", "inky.helper"):
        sys.modules.pop(name, None)

def name():
    try:
        from anomalae.experiments.tuning import Tuning
        return Tuning(load_dataset("digits"), (3,), Path("nowhere")).name
    except anomalae.errors.ConfigError:
        return None

site, package = Path(sys.argv[1]), Path(anomalae.__file__).parent
cell = pickle.loads((site / "cell").read_bytes())
said = {"package": str(package), "same": attempt(0, cell).problem, "name": name()}
said["processor"] = revision.computed_by(working.count, {})["processor"]

def part(score="inky"):
    forget()
    return Cell(working.train, {"settings": {"score": score}}, Source.of(load_dataset("digits"))).spec["parts"]

said["parts"] = [part()]
helper = site / "inky" / "helper.py"
source = helper.read_text()
for text in ("# A comment.\\n" + source, source + "OTHER = 1\\n"):
    helper.write_text(text)
    said["parts"].append(part())
(site / "inky-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\\nName: inky\\nVersion: 1.1\\n")
said["parts"].append(part())
said["ours"] = part("mse")

said["revisions"] = [revision.revision(working.train)]
for file in sys.argv[2:]:
    path = package / f"{file}.py"
    code = path.read_text()
    path.write_text(code + "\\nOTHER = 1\\n")
    revision._computing.cache_clear()
    said["revisions"].append(revision.revision(working.train))
    said["other"], said["other_name"] = attempt(0, cell).problem, name()
    path.write_text(code)
print(json.dumps(said))
"""
INKY = {
    "__init__.py": "from inky.scores import INKY\n",
    "scores.py": """
from anomalae import Score
from .helper import ink

class Inky(Score):
    name, line = "inky", "ink"

    def score(self, seen, learned):
        return ink(seen.source)

INKY = Inky()
""",
    "helper.py": """
def ink(images):
    return images.double().cpu().mean((1, 2, 3))
""",
}


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """What a process says that has a copy of our code, and changes it, and a package with a score, and changes that."""
    copy, site = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("site")
    shutil.copytree(ROOT / "anomalae", copy / "anomalae", ignore=shutil.ignore_patterns("__pycache__"))
    (site / "inky").mkdir()
    for name, text in INKY.items():
        (site / "inky" / name).write_text(text)
    (site / "inky-1.0.dist-info").mkdir()
    for name, text in (
        ("METADATA", "Metadata-Version: 2.1\nName: inky\nVersion: 1.0\n"),
        ("entry_points.txt", "[anomalae.scores]\ninky = inky:INKY\n"),
    ):
        (site / "inky-1.0.dist-info" / name).write_text(text)
    arguments = {"normal": 0, "log": str(site / "log")}
    (site / "cell").write_bytes(
        pickle.dumps(Cell(working.count, arguments, Source.of(load_dataset("digits"))))
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", SCRIPT, str(site), *FILES],
        # As on a processor that can do less.
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, (copy, site, ROOT))),
            "ATEN_CPU_CAPABILITY": "default",
        },
        capture_output=True,
        text=True,
        cwd=copy,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["package"] == str(copy / "anomalae")
    return said


def test_each_file_that_decides_numbers_changes_the_revision(elsewhere):
    assert len(set(elsewhere["revisions"])) == 1 + len(FILES)


def test_a_worker_with_other_code_or_another_processor_refuses_the_cell(elsewhere):
    here = module.computed_by(working.count, {})["processor"]
    assert here == f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    assert elsewhere["revisions"][0] == module.revision(working.train)
    if elsewhere["processor"] == here:
        pytest.skip("the processor cannot do less than it does")
    differs = "ConfigError: the process that works differs from where the grid was made: "
    processors = f"processor {elsewhere['processor']}, not {here}"
    assert elsewhere["same"] == f"{differs}{processors}"
    assert elsewhere["other"] == f"{differs}other code; {processors}"


def test_a_worker_of_another_arithmetic_refuses_the_cell(tmp_path):
    arguments = {"normal": 0, "log": str(tmp_path / "log")}
    source = Source.of(load_dataset("digits"))
    here = Cell(working.count, arguments, source)
    with computing("plain"):
        there = Cell(working.count, arguments, source)
        assert there.spec["arithmetic"] == "plain"
    arithmetic = here.spec["arithmetic"]
    if arithmetic == "plain":
        pytest.skip("this processor has one arithmetic")
    assert here.key != there.key
    assert attempt(0, here).problem == ""
    assert attempt(0, there).problem.endswith(f"made: arithmetic {arithmetic}, not plain")
    shelf = Shelf(tmp_path / "cells")
    shelf.put(there, Done(0, Result({"n": 1})))
    assert shelf.take(here) is None
    assert shelf.others([here]) == {f"arithmetic plain, not {arithmetic}": 1}
    (kept,) = shelf.kept.values()
    for key in ("arithmetic", "processor"):
        del kept["spec"][key]
    assert shelf.others([here]) == {"arithmetic that is not recorded; processor that is not recorded": 1}


def test_a_worker_with_other_versions_refuses_the_cell(tmp_path):
    arguments = {"normal": 0, "log": str(tmp_path / "log")}
    cell = Cell(working.count, arguments, Source.of(load_dataset("digits")))
    sent = pickle.loads(pickle.dumps(cell))
    assert attempt(0, sent).problem == ""
    sent.spec["versions"]["torch"] = "0.1"
    here = module._versions()["torch"]
    assert attempt(0, sent).problem.endswith(f"made: torch {here}, not 0.1")


def test_a_search_of_other_code_is_another(elsewhere):
    pytest.importorskip("optuna")
    assert elsewhere["name"] != elsewhere["other_name"]


def test_parts_of_others_are_known_by_package_version_and_code(elsewhere):
    first, commented, changed, newer = (parts["score inky"] for parts in elsewhere["parts"])
    assert first == commented
    assert first.startswith("inky 1.0 ")
    assert changed.startswith("inky 1.0 ")
    assert changed != first
    assert newer == changed.replace("1.0", "1.1")
    assert elsewhere["ours"] == {}


def test_a_revision_follows_the_code_and_not_its_comments(monkeypatch):
    code = 'def f():\n    """Old."""\n    return 1  # why\n'
    same = 'def f():\n\n    """New, in other words."""\n    return (1)\n'
    assert module._code(code) == module._code(same) != module._code(code.replace("1", "2"))
    before = module.revision(working.train)
    monkeypatch.setattr(module, "_computing", lambda: "changed")
    assert module.revision(working.train) != before


def test_a_revision_follows_what_the_work_names_and_nothing_else(monkeypatch, tmp_path):
    work = """
from beside.other import unused, used as helper
LIMIT: dict[str, int] = {"most": 3}
WORDS: dict[str, str] = {"a": "b"}
TABLE = {}
def measure(dataset, arguments):
    return Step().do(LIMIT, TABLE)
class Step:
    def do(self, limit, table):
        return helper(limit)
def answer(rows):
    return WORDS
TABLE["entry"] = 1
"""
    other = """
FACTOR = 2
def used(limit):
    return FACTOR
def unused():
    return 0
"""

    def of(work: str, other: str = other) -> str:
        module._statements.cache_clear()
        (tmp_path / "beside" / "work.py").write_text(work)
        (tmp_path / "beside" / "other.py").write_text(other)
        for name in ("beside", "beside.work", "beside.other"):
            monkeypatch.delitem(sys.modules, name, raising=False)
        importlib.invalidate_caches()
        linecache.clearcache()
        return module.revision(importlib.import_module("beside.work").measure)

    (tmp_path / "beside").mkdir()
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(tmp_path)
    before = of(work)
    assert of(work) == before
    for old, new in (('"b"', '"c"'), ("return WORDS", "return 0"), ("def answer", "def reply")):
        assert of(work.replace(old, new)) == before, old
    assert of(work, other.replace("return 0", "return 1")) == before
    moved = 'LIMIT: dict[str, int] = {"most": 3}\n'
    assert of(work.replace(moved, "").replace("used as", "LIMIT, used as"), moved + other) == before
    for old, new in (('"most": 3', '"most": 4'), ('"entry"', '"name"'), ("Step().do(", "Step().do(*")):
        assert of(work.replace(old, new)) != before, old
    assert of(work, other.replace("FACTOR = 2", "FACTOR = 3")) != before
    module._statements.cache_clear()


def test_what_trains_and_scores_is_part_of_the_revision():
    package = module.Path(module.anomalae.__file__).parent
    for name in module.COMPUTING_FILES:
        assert (package / f"{name}.py").is_file(), name
    for name in module.COMPUTING_ROOMS:
        assert (package / name / "__init__.py").is_file(), name


def test_a_part_is_known_by_all_modules_that_its_own_imports(tmp_path, monkeypatch):
    """Those of its package, those that lie beside it, and those that were installed with it; no others."""
    site = tmp_path / "site-packages"
    for name, text in {
        "beside/own_part.py": "import own_helper.inner as inner\nimport own_far, own_installed\n",
        "beside/own_helper/__init__.py": "",
        "beside/own_helper/inner.py": "def late():\n    from . import deep\n    from .. import nothing\n",
        "beside/own_helper/deep.py": "",
        "elsewhere/own_far.py": "",
        "site-packages/own_installed.py": "import _own_installed, own_stranger\n",
        "site-packages/_own_installed.py": "",
        "site-packages/own_stranger.py": "",
        "site-packages/own_installed-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: own\nVersion: 1.0\n",
        "site-packages/own_installed-1.0.dist-info/top_level.txt": "own_installed\n_own_installed\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    for folder in ("beside", "elsewhere", "site-packages"):
        monkeypatch.syspath_prepend(tmp_path / folder)

    def changed_by(module_name: str, file: str) -> bool:
        module._distributions.cache_clear()
        before = module._hash_of.__wrapped__((module_name,))
        text = (tmp_path / file).read_text()
        (tmp_path / file).write_text(f"{text}OTHER = 1\n")
        after = module._hash_of.__wrapped__((module_name,))
        (tmp_path / file).write_text(f"# A comment.\n{text}")
        assert module._hash_of.__wrapped__((module_name,)) == before
        return after != before

    try:
        for file in ("own_part", "own_helper/__init__", "own_helper/inner", "own_helper/deep"):
            assert changed_by("own_part", f"beside/{file}.py"), file
        assert not changed_by("own_part", "elsewhere/own_far.py")
        assert not changed_by("own_part", "site-packages/own_installed.py")
        assert changed_by("own_installed", "site-packages/_own_installed.py")
        assert not changed_by("own_installed", "site-packages/own_stranger.py")
        before = module._hash_of.__wrapped__(("own_part",))
        (tmp_path / "beside/own_helper/deep.py").write_text("no Python")
        assert module._hash_of.__wrapped__(("own_part",)) != before
    finally:
        module._distributions.cache_clear()
    assert not {"own_part", "own_installed", "own_stranger"}.intersection(sys.modules)
    assert site.is_dir()


def imports(name: str, modules: dict[str, Path]) -> set[str]:
    """Modules of ours that a module imports, wherever in its code."""
    found = set()
    for node in ast.walk(ast.parse(modules[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {
                f"{node.module}.{alias.name}" if f"{node.module}.{alias.name}" in modules else node.module
                for alias in node.names
            }
    return found.intersection(modules)


def test_all_that_makes_numbers_is_part_of_the_revision():
    package = ROOT / "anomalae"
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in package.rglob("*.py")
    }
    hashed = {name.replace("/", ".") for name in module.COMPUTING_FILES}
    # What lies beside a work is hashed as far as it is named.
    rooms = (*module.COMPUTING_ROOMS, "experiments.studies")
    waiting = [name for name in modules if name.startswith("anomalae.experiments.studies")]
    waiting.append("anomalae.experiments.trials")
    seen, left_out, used = set(waiting), {}, set()
    while waiting:
        importer = waiting.pop()
        for name in imports(importer, modules) - seen:
            short = name.removeprefix("anomalae.")
            excepted = [each for each in NO_NUMBERS if f"{short}.".startswith(f"{each}.")]
            used.update(excepted)
            if short in hashed or short.startswith(rooms):
                seen.add(name)
                waiting.append(name)
            elif not excepted:
                left_out[short] = importer
    assert left_out == {}
    assert used == set(NO_NUMBERS), "exceptions that nothing imports"
