"""The built wheel, installed elsewhere, is whole: it trains, scores and shows its version without the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the wheel, built from a copy of the sources, was installed."""
    place = tmp_path_factory.mktemp("wheel")
    source = place / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "anomalae", source / "anomalae", ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    build = [
        *pip,
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--wheel-dir",
        str(place),
        str(source),
    ]
    subprocess.run(build, check=True, capture_output=True)
    wheel = next(place.glob("anomalae-*.whl"))
    install = [*pip, "install", "--no-deps", "--no-index", "--target", str(place / "site"), str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    sources = {
        str(p.relative_to(ROOT))
        for p in (ROOT / "anomalae").rglob("*")
        if p.suffix in {".py", ".j2", ".css", ".js"}
    }
    assert sources <= names
    return place / "site"


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
