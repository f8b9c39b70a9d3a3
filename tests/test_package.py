"""The built package is whole: the wheel, made from the sdist, holds the package and runs without the checkout."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest

from anomalae.version import __version__

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and with the wheel that was built from it."""
    place = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(place), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return place


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    return built / f"anomalae-{__version__}-py3-none-any.whl"


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        return message_from_bytes(archive.read(f"anomalae-{__version__}.dist-info/METADATA"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the wheel was installed."""
    place = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    install = [*pip, "install", "--no-deps", "--no-index", "--target", str(place), str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    return place


def sources(folder: str) -> set[str]:
    """Files below a folder of the checkout, without what Python, Jupyter and npm keep there."""
    paths = [path.relative_to(ROOT) for path in (ROOT / folder).rglob("*") if path.is_file()]
    kept = [
        path for path in paths if not {"__pycache__", ".ipynb_checkpoints", "node_modules"} & set(path.parts)
    ]
    return {path.as_posix() for path in kept}


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert wheel.stat().st_size < 25_000_000
    assert "anomalae/py.typed" in names
    assert {name for name in names if ".dist-info/" not in name} == sources("anomalae")


def test_the_sdist_holds_what_its_tests_read(built):
    with tarfile.open(built / f"anomalae-{__version__}.tar.gz") as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert set().union(*map(sources, ("anomalae", "benchmarks", "docs", "examples", "tests", "web"))) <= names
    assert {"CITATION.cff", "CHANGELOG.md", "LICENSE", "README.md", "cli.md", "constraints.txt"} <= names


def test_what_the_package_says_of_itself(metadata):
    assert (metadata["Version"], metadata["License-Expression"]) == (__version__, "MIT")
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert "Typing :: Typed" in metadata.get_all("Classifier")
    # There is no home page to name.
    assert metadata.get_all("Project-URL") is None


def test_this_python_is_one_of_those_it_names(metadata):
    named = re.findall(r"Python :: (3\.\d+)\n", "\n".join(metadata.get_all("Classifier")) + "\n")
    assert f"3.{sys.version_info.minor}" in named
    assert metadata["Requires-Python"] == f">={named[0]}"


def test_the_wheel_runs_elsewhere(installed: Path, tmp_path: Path):
    environment = {**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}

    def call(*words: str) -> str:
        command = [sys.executable, "-P", "-m", "anomalae", *words]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout

    where = [sys.executable, "-P", "-c", "import anomalae; print(anomalae.__file__)"]
    found = subprocess.run(
        where, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert Path(found.strip()).is_relative_to(installed)
    assert call("--version").startswith("anomalae, version ")
    call("train", "--normal", "0", "--dataset", "digits", "--epochs", "1", "--hidden", "16", "--quiet")
    call("data", "export", "digits", "images", "--limit", "5")
    assert call("score", "images").splitlines()[0] == "path,score,p_value,flagged,error"
