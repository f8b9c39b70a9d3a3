"""A page of wrong arguments: each ends with one line that names what is wrong and what there is, and its status."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from anomalae import Detector
from tests.cli import fails, ok

TRAIN = ["train", "--dataset", "digits"]


@pytest.fixture(autouse=True)
def there(small: Detector) -> None:
    """Two runs that were trained on arrays, pictures, and a folder that is no run."""
    small.save("runs/zeros")
    small.save("runs/zeros-2")
    Path("runs/notes").mkdir()
    ok("data", "export", "digits", "pictures", "--limit", "3", "--quiet")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        # Classes.
        ([*TRAIN, "--normal", "a"], "class a: not in digits; classes: 0, 1, 2"),
        ([*TRAIN, "--normal", "12"], "class 12: not in digits; classes: 0, 1, 2"),
        ([*TRAIN, "--anomalous", "0-12"], "class 10: not in digits"),
        ([*TRAIN, "--normal", "3-1"], "the range ends before it begins"),
        ([*TRAIN, "--normal", "1,,2"], "classes '': expected numbers and ranges"),
        ([*TRAIN, "--normal", "0-9"], "no class is left to be anomalous"),
        ([*TRAIN, "--anomalous", "0-9"], "no normal class is left"),
        (["benchmark", "--dataset", "digits", "--normal", "a"], "class a: not in digits"),
        (["compare", "--dataset", "digits", "--normal", "a"], "class a: not in digits"),
        (["data", "export", "digits", "out", "--class", "a"], "class a: not in digits"),
        # Data sets.
        (["train", "--dataset", "mnits"], "data set mnits: neither a folder nor a .npz file nor one of mnist, "),
        (["train", "--dataset", "mnits"], "did you mean 'mnist'?"),
        (["evaluate", "zeros", "--dataset", "digitss"], "did you mean 'digits'?"),
        (["train", "--normal", "0", "--dataset", "Digits"], "did you mean 'digits'?"),
        (["train", "--normal", "0", "--dataset", "no/such/folder"], "data set no/such/folder: neither a folder"),
        (["benchmark", "--dataset", "kmnits"], "did you mean 'kmnist'?"),
        (["compare", "--normal", "0", "--dataset", "mnits"], "did you mean 'mnist'?"),
        (["evaluate", "zeros", "--dataset", "emnist"], "did you mean 'emnist-digits'?"),
        (["data", "fetch", "fashion"], "did you mean 'fashion-mnist'?"),
        (["data", "export", "digitss", "out"], "did you mean 'digits'?"),
        # Runs.
        (["evaluate", "zeross"], "runs/zeross: no such run; did you mean 'zeros'?"),
        (["evaluate", "--run", "runs/zeross"], "runs/zeross: no such run; did you mean 'runs/zeros'?"),
        (["compare", "zero"], "did you mean 'zeros'?"),
        (["report", "zero"], "did you mean 'zeros'?"),
        (["report", "zeros", "--run", "nothing-like-it"], "no such run; `anomalae runs` lists them"),
        (["runs", "zeroes"], "did you mean 'zeros'?"),
        (["runs", "--delete", "--yes", "zeroes"], "did you mean 'zeros'?"),
        (["score", "pictures", "--run", "zeroes"], "did you mean 'zeros'?"),
        (["generate", "--output", "a.png", "--run", "zeroes"], "did you mean 'zeros'?"),
        (["interpolate", "a.png", "b.png", "--output", "c.png", "--run", "zeroes"], "did you mean 'zeros'?"),
        (["plot", "roc", "--output", "a.png", "--run", "zeroes"], "did you mean 'zeros'?"),
        (["train", "--resume", "zeroes"], "did you mean 'zeros'?"),
        # Rules.
        (["score", "pictures", "--score", "smoth"], "did you mean 'smooth'?"),
        (["score", "pictures", "--score", "elbo"], "a run of model ae has bent, worst-place, mse, "),
        (["evaluate", "--score", "smoth"], "did you mean 'smooth'?"),
        ([*TRAIN, "--normal", "0", "--score", "smoth"], "did you mean 'smooth'?"),
        ([*TRAIN, "--normal", "0", "--score", "elbo"], "--score 'elbo': an ae has bent, worst-place, mse, "),
        # Other names.
        ([*TRAIN, "--normal", "0", "--views", "pixels,edgse"], "did you mean 'edges'?"),
        ([*TRAIN, "--normal", "0", "--model", "ladder"], "Did you mean 'ladder-vae'?"),
        ([*TRAIN, "--normal", "0", "--preset", "acurate"], "Did you mean 'accurate'?"),
        ([*TRAIN, "--normal", "0", "--device", "gpu"], "'gpu' is not one of 'auto', 'cpu'"),
        ([*TRAIN, "--normal", "0", "--model", "vae", "--likelihood", "bernouli"], "Did you mean 'bernoulli'?"),
        (["compare", "--baseline", "loff"], "did you mean 'lof'?"),
        (["benchmark", "--baseline", "loff"], "did you mean 'lof'?"),
        (["benchmark", "--part", "dev"], "Did you mean 'development'?"),
        (["check", "vaee"], "did you mean 'vae'?"),
        (["check", "sm"], "did you mean 'smooth'?"),
        (["trian"], "Did you mean 'train'?"),
        # Values.
        (["train", "--normal", "0", "--dataset", "digits", "--name", "../x"], "run name '../x': must be at most 100"),
        ([*TRAIN, "--normal", "0", "--noise", "nan"], "--noise nan: must be a finite number"),
        ([*TRAIN, "--normal", "0", "--members", "1000"], "1000 is not in the range 1<=x<=100"),
        ([*TRAIN, "--normal", "0", "--passes", "1000"], "1000 is not in the range 1<=x<=100"),
        ([*TRAIN, "--normal", "0", "--hidden", "1000000000"], "--hidden 1000000000: must be from 1 to 16384"),
        ([*TRAIN, "--normal", "0", "--batch-size", "1" * 25], "is not in the range 1<=x<=1000000"),
        ([*TRAIN, "--normal", "0", "--model", "vae", "--samples", "10001"], "10001 is not in the range"),
        ([*TRAIN, "--normal", "0", "--beta", "1"], "beta 1.0: only a vae, ladder-vae or adgm has one"),
        (["benchmark", "--dataset", "digits", "--seeds", "0,1,0"], "--seeds 0,1,0: none may be named twice"),
        (["benchmark", "--dataset", "digits", "--seeds", ",".join(map(str, range(101)))], "101 seeds, at most 100"),
        (["benchmark", "--dataset", "digits", "--seeds", "9" * 30], "must be from 0 to 9223372036854775807"),
        (["benchmark", "--dataset", "digits", "--seeds", "9" * 5000], "expected whole numbers with commas"),
        (["benchmark", "--dataset", "digits", "--seeds=-1"], "--seeds: seed -1: must be from 0"),
        (["evaluate", "--alpha", "5"], "5.0 is not in the range 0<x<1"),
        (["score", "pictures", "--alpha", "nan"], "nan is not a number from 0 to 1"),
        # Words that do not go together.
        ([*TRAIN], "say which classes are normal"),
        ([*TRAIN, "--normal", "0", "--anomalous", "1"], "exclude each other"),
        (["evaluate", "zeros", "--run", "zeros-2"], "RUN zeros and --run zeros-2: name one run"),
        (["compare", "zeros", "--run", "zeros-2"], "RUN zeros and --run zeros-2: name one run"),
        (["compare", "zeros", "--normal", "0"], "RUN and --normal exclude each other"),
        (["evaluate", "zeros", "zeros-2"], "unexpected extra argument"),
        (["evaluate", "--keep", "--score", "mse"], "--keep is of the run's own data, score and calibration"),
        (["evaluate", "--keep", "--dataset", "digits"], "--keep is of the run's own data, score and calibration"),
        (["report", "zeros", "--run", "zeros"], "a run is named twice"),
        (["runs", "zeros", "zeros-2"], "one RUN is shown at a time; got 2"),
        (["runs", "--yes"], "--yes goes with --delete"),
        (["runs", "--delete"], "--delete needs the RUN"),
        (["runs", "--delete", "zeros"], "there is no terminal to answer at: give --yes"),
        (["runs", "--delete", "zeros", "--json"], "exclude each other"),
        (["runs", "--delete", "--yes", "zeros", "runs/zeros"], "a run is named twice"),
    ],
)  # fmt: skip
def test_wrong_usage_is_2(words: list[str], message: str):
    before = sorted(path.name for path in Path("runs").iterdir())
    assert message in fails(2, *words)
    assert sorted(path.name for path in Path("runs").iterdir()) == before
    assert not Path("reports").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["evaluate", "notes"], "runs/notes: half written or no run"),
        (["runs", "--delete", "--yes", "notes"], "runs/notes: half written or no run"),
        (["evaluate", "--runs-dir", "elsewhere"], "elsewhere: no finished run here; train one first"),
        (["evaluate", "zeros"], "trained on arrays, not on a data set; name one with --dataset"),
        (["evaluate", "zeros", "--dataset", "digits"], "does not know which classes are normal"),
        (["report", "zeros"], "was trained on arrays"),
        (["score", "pictures", "--output", "no/such/a.csv"], "no/such/a.csv: cannot be written"),
        ([*TRAIN, "--normal", "0", "--name", "zeros"], "runs/zeros: exists already; choose another --name"),
        (["train", "--resume", "zeros"], "is finished already; evaluate it: anomalae evaluate --run zeros"),
        (["report", "--benchmark", "nowhere"], "nowhere/table.json: no such file"),
        (["data", "export", "digits", "runs/zeros/config.json/x"], "cannot be written"),
    ],
)
def test_what_is_right_and_cannot_be_done_is_1(words: list[str], message: str):
    assert message in fails(1, *words)


@pytest.mark.parametrize("closed", [">&-", "2>&-"])
def test_closed_output_is_output_to_nobody(closed):
    shell = f"{shlex.quote(sys.executable)} -m anomalae check --list {closed}"
    ended = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
