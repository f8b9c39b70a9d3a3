"""What computes a cell is part of its key: our code, that of packages' parts, versions; a worker checks it."""

from __future__ import annotations

import ast
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from anomalae import load_dataset
from anomalae.experiments import cells as module
from anomalae.experiments.cells import Cell, Source, attempt
from tests.experiments import working

ROOT = Path(__file__).parents[2]
# Where no number of a cell is made, though what makes them imports it.
NO_NUMBERS = {
    "cards": "how a notebook shows an object",
    "datasets.load": "loads: a cell's data are known by the hash of their images",
    "datasets.official": "loads",
    "detectors.described": "words",
    "detectors.probe": "by which a run is verified",
    "detectors.starting": "begins with another's weights, as no cell does",
    "detectors.verifying": "compares scores",
    "errors": "words",
    "files": "reads and writes",
    "evaluation.described": "words",
    "experiments.cells": "does the work",
    "experiments.kept_cells": "keeps the numbers",
    "images": "reads pictures: a cell's images are canonical already",
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
from anomalae.experiments import cells
from anomalae.experiments.cells import Cell, Source, attempt
from tests.experiments import working

def forget():
    for cached in (cells._hash_of, plugins._entry_points, plugins._load):
        cached.cache_clear()
    sys.modules.pop("inky", None)

def name():
    try:
        from anomalae.experiments.tuning import Tuning
        return Tuning(load_dataset("digits"), (3,), Path("nowhere")).name
    except anomalae.errors.ConfigError:
        return None

site, package = Path(sys.argv[1]), Path(anomalae.__file__).parent
cell = pickle.loads((site / "cell").read_bytes())
said = {"package": str(package), "same": attempt(0, cell).problem, "name": name()}

def part(score="inky"):
    forget()
    return Cell(working.train, {"settings": {"score": score}}, Source.of(load_dataset("digits"))).spec["parts"]

said["parts"] = [part()]
source = (site / "inky.py").read_text()
(site / "inky.py").write_text("# A comment.\\n" + source)
said["parts"].append(part())
(site / "inky.py").write_text(source + "OTHER = 1\\n")
said["parts"].append(part())
(site / "inky-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\\nName: inky\\nVersion: 1.1\\n")
said["parts"].append(part())
said["ours"] = part("mse")

said["revisions"] = [cells.revision(working.train)]
for file in sys.argv[2:]:
    path = package / f"{file}.py"
    code = path.read_text()
    path.write_text(code + "\\nOTHER = 1\\n")
    cells._computing.cache_clear()
    said["revisions"].append(cells.revision(working.train))
    said["other"], said["other_name"] = attempt(0, cell).problem, name()
    path.write_text(code)
print(json.dumps(said))
"""
INKY = """
from anomalae import Score

class Inky(Score):
    name, line = "inky", "ink"

    def score(self, seen, learned):
        return seen.source.double().cpu().mean((1, 2, 3))

INKY = Inky()
"""


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """What a process says that has a copy of our code, and changes it, and a package with a score, and changes that."""
    copy, site = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("site")
    shutil.copytree(ROOT / "anomalae", copy / "anomalae", ignore=shutil.ignore_patterns("__pycache__"))
    (site / "inky.py").write_text(INKY)
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
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (copy, site, ROOT)))},
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


def test_a_worker_with_other_code_refuses_the_cell(elsewhere):
    assert elsewhere["same"] == ""
    assert elsewhere["other"] == (
        "ConfigError: the process that works differs from where the grid was made: other code"
    )


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
