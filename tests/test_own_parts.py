"""A network, scores and a view of an installed package in the real commands, and what is said where it is missing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from anomalae import Detector
from anomalae.errors import BundleError
from tests.cli import fails, parsed

ROOT = Path(__file__).parent.parent
DATA = ["--dataset", "digits", "--normal", "0"]
OWN = ["--model", "normed", "--views", "halves,pixels", "--latent-dim", "4"]
BROKEN = "score 'broken-score': own-parts 1.2 cannot give it: RuntimeError: no libquux here"
NEEDS = "needs the model normed, from own-parts 1.2, which is not installed here"

# Runs several command lines in one process, for each pays for PyTorch.
DRIVER = """
import json, sys, warnings
from click.testing import CliRunner
from anomalae.cli import main
done = []
for words in json.load(sys.stdin):
    result = CliRunner().invoke(main, words)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    done.append([result.exit_code, result.stdout, result.stderr])
print(json.dumps(done))
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the package of `own_parts` was installed."""
    place = tmp_path_factory.mktemp("own-parts")
    source = shutil.copytree(ROOT / "tests" / "own_parts", place / "source")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    options = ["--no-deps", "--no-index"]
    build = [*pip, "wheel", *options, "--no-build-isolation", "--wheel-dir", str(place), str(source)]
    subprocess.run(build, check=True, capture_output=True)
    wheel = next(place.glob("own_parts-*.whl"))
    install = [*pip, "install", *options, "--target", str(place / "site"), str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    return place / "site"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which all commands of this module work."""
    return tmp_path_factory.mktemp("work")


def environment(*paths: Path) -> dict[str, str]:
    more = {"PYTHONPATH": os.pathsep.join(map(str, (*paths, ROOT))), "OMP_NUM_THREADS": "1"}
    return {**os.environ, **more}


def call(place: Path, site: Path | None, *lines: list[str]) -> list[Any]:
    """Status, standard output and standard error of each command line, with the package or without it."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", DRIVER],
        input=json.dumps(lines),
        cwd=place,
        env=environment(*([site] if site else [])),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    results: list[Any] = json.loads(done.stdout)
    return results


@pytest.fixture(scope="module")
def made(site: Path, place: Path) -> dict[str, Any]:
    """What the commands say where the package is installed, by what each is about."""
    lines = {
        "train": [
            "train",
            *DATA,
            *OWN,
            "--score",
            "code-distance",
            "--neighbours",
            "2",
            "--conformal",
            "split",
            "--name",
            "own",
            "--quiet",
        ],
        "plain": [
            "train",
            *DATA,
            "--epochs",
            "1",
            "--hidden",
            "16",
            "--conformal",
            "split",
            "--name",
            "plain",
            "--json",
        ],
        "export": ["data", "export", "digits", "images", "--limit", "3"],
        "score": ["score", "images", "--run", "own", "--heatmaps", "heat"],
        "another score": ["score", "images", "--run", "plain", "--score", "worst-patch"],
        "evaluate": ["evaluate", "--run", "own", "--json"],
        "runs": ["runs", "--json"],
        "run": ["runs", "own"],
        "report": ["report", "own", "--output", "report"],
        "plot": ["plot", "latent", "--run", "own", "--output", "latent.png"],
        "benchmark": ["benchmark", *DATA, *OWN, "--score", "worst-patch", "--output", "bench", "--json"],
        "kept": ["benchmark", *DATA, *OWN, "--score", "worst-patch", "--output", "bench", "--json"],
        "check": ["check", "halves"],
        "list": ["check", "--list", "--json"],
        "broken model": ["train", *DATA, "--model", "broken-model"],
        "broken view": ["train", *DATA, "--views", "broken-view"],
        "broken score": ["train", *DATA, "--score", "broken-score"],
        "check broken": ["check", "broken-view"],
    }
    return dict(zip(lines, call(place, site, *lines.values()), strict=True))


def test_own_parts_work_in_every_command(made, place):
    failed = {what: done for what, done in made.items() if done[0] and "broken" not in what}
    assert failed == {}
    record = json.loads((place / "runs" / "own" / "config.json").read_text())
    assert record["parts"] == {
        "model normed": "own-parts 1.2",
        "view halves": "own-parts 1.2",
        "score code-distance": "own-parts 1.2",
        "score worst-patch": "own-parts 1.2",
    }
    assert record["format_version"] == (4 if "arithmetic" in record["environment"] else 3)
    assert json.loads(made["evaluate"][1])["score"] == "code-distance"
    assert "nap" not in json.loads(made["benchmark"][1])["mean"], "it shows no hidden layers"
    assert {"worst-patch", "code-distance"} <= set(json.loads(made["benchmark"][1])["mean"])
    assert "(kept)" in made["kept"][2]
    assert len(list((place / "heat").iterdir())) == 3
    page = (place / "report" / "index.html").read_text()
    assert "batch-normed autoencoder" in page
    assert "BatchNorm2d" in page
    assert "model normed own-parts 1.2" in page
    assert "model normed of own-parts 1.2" in made["run"][1]


def test_a_package_that_fails_is_named_and_costs_others_nothing(made):
    assert made["plain"][2].count(f"Warning: {BROKEN}; it is left out\n") <= 1
    assert made["train"][2] == f"Warning: {BROKEN}; it is left out\n"
    for sort in ("model", "view", "score"):
        status, out, error = made[f"broken {sort}"]
        assert (status, out) == (1, "")
        line = f"{sort} 'broken-{sort}': own-parts 1.2 cannot give it: RuntimeError: no libquux here"
        assert error == f"Error: {line}\n"
    assert made["check broken"][::2] == [1, made["broken view"][2]]
    rows = {row["name"]: row for row in json.loads(made["list"][1])}
    assert rows["halves"]["origin"] == "own-parts 1.2"
    assert rows["broken-score"]["error"] == BROKEN
    assert rows["worst-patch"]["error"] is None


@pytest.mark.slow
def test_a_training_by_an_own_network_resumes_bit_for_bit(made, site, place):
    args = ["train", *DATA, *OWN, "--epochs", "6", "--threads", "1"]
    command = [sys.executable, "-P", "-m", "anomalae", *args, "--name", "cut"]
    with subprocess.Popen(
        command,
        cwd=place,
        env=environment(site),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("epoch 2/"):
                process.send_signal(signal.SIGKILL)
                break
    assert call(place, None, ["train", "--resume", "cut"])[0] == [
        1, "", f"Error: runs/cut/checkpoint.safetensors: {NEEDS}\n"
    ]  # fmt: skip
    whole, resumed = call(place, site, [*args, "--name", "whole"], ["train", "--resume", "cut"])
    assert whole[0] == resumed[0] == 0
    first, second = (
        (place / "runs" / name / "weights.safetensors").read_bytes() for name in ("whole", "cut")
    )
    assert first == second


def test_without_the_package_each_command_says_so_in_one_line(made, place):
    lines = [
        ["score", "images", "--run", "own"],
        ["evaluate", "--run", "own"],
        ["report", "own", "--output", "other"],
        ["report", "plain", "own", "--output", "other"],
        ["runs", "own"],
        ["plot", "latent", "--run", "own", "--output", "other.png"],
        ["plot", "reconstructions", "--run", "own", "--output", "other.png"],
        ["generate", "--run", "own", "--output", "other.png"],
        ["compare", "--run", "own", "--baseline", "pca"],
    ]
    for words, (status, out, error) in zip(lines, call(place, None, *lines), strict=True):
        assert (status, out, error) == (1, "", f"Error: runs/own/config.json: {NEEDS}\n"), words


def test_without_the_package_what_does_not_need_it_works(made, place):
    listed, scored, judged, lost, page = call(
        place,
        None,
        ["runs", "--json"],
        ["score", "images", "--run", "plain"],
        ["evaluate", "--run", "plain", "--json"],
        ["score", "images", "--run", "plain", "--score", "worst-patch"],
        ["report", "--benchmark", "bench", "--output", "page"],
    )
    rows = {row["run"]: row for row in json.loads(listed[1])}
    assert rows["own"]["status"] == "broken"
    assert rows["own"]["error"] == f"runs/own/config.json: {NEEDS}"
    assert rows["plain"]["status"] == "finished"
    assert [done[0] for done in (listed, scored, judged, lost, page)] == [0, 0, 0, 1, 0]
    assert json.loads(judged[1])["roc_auc"] == json.loads(made["plain"][1])["roc_auc"]
    line = "score 'worst-patch': comes from own-parts 1.2, which is not installed here"
    assert lost[2] == f"Error: {line}\n"


# --- a run folder makes nothing be imported ---

EVIL = 'from pathlib import Path\nPath(__file__).with_name("marker").touch()\nNOW = None\n'


@pytest.mark.parametrize("name", ["evil", "evil:NOW", "os:system", "../evil", "runs/evil.py", "evil.NOW"])
@pytest.mark.parametrize("place", ["model", "view", "score", "part"])
def test_no_name_in_a_run_is_imported(name, place, small, tmp_path, monkeypatch):
    folder = tmp_path / "runs" / "evil"
    small.save(folder)
    for there in (tmp_path, folder, tmp_path / "runs"):
        (there / "evil.py").write_text(EVIL)
        monkeypatch.syspath_prepend(there)
    record = json.loads((folder / "config.json").read_text())
    if place == "part":
        record["parts"] = {f"{sort} {name}": f"{name} 1.0" for sort in ("model", "view", "score", "os")}
    elif place == "view":
        record["settings"]["views"] = [name]
    else:
        record["settings"][place] = name
    (folder / "config.json").write_text(json.dumps(record))
    with pytest.raises(BundleError, match=r"config\.json"):
        Detector.load(folder)
    assert parsed("runs", "--json")[0]["status"] == "broken"
    for command in ("evaluate", "report"):
        assert "config.json: " in fails(1, command, *(["--run"] if command == "evaluate" else []), "evil")
    assert not list(tmp_path.rglob("marker"))
    assert "evil" not in sys.modules


def test_the_origin_of_a_part_is_shown_in_one_line_whatever_it_holds(small, tmp_path):
    small.save(tmp_path / "runs" / "odd")
    path = tmp_path / "runs" / "odd" / "config.json"
    record = json.loads(path.read_text()) | {"parts": {"model odd\n\x1b[31m": "somewhere\nelse"}}
    path.write_text(json.dumps(record))
    line = fails(1, "evaluate", "--run", "odd")
    assert "\x1b" not in line
    assert line.endswith(r"needs the model odd\n\x1b[31m, from somewhere\nelse, which is not installed here")
