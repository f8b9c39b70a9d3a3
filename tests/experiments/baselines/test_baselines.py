"""Every baseline keeps our detectors' contract and PyOD's numbers; each trial has its own process, memory and end."""

from __future__ import annotations

import dataclasses
import importlib
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from anomalae.cli.console import nearest
from anomalae.errors import BundleError, ConfigError, DataError, ImageError
from anomalae.experiments.baselines import trials
from anomalae.experiments.baselines.registry import BASELINES, Baseline, BaselineDetector, choose
from anomalae.experiments.baselines.trials import Trial, run_trials

SHORT = {
    "autoencoder": {"epoch_num": 20},
    "vae": {"epoch_num": 20},
    "deep-svdd": {"epochs": 3},
    "inne": {"n_estimators": 40},
}
QUICK = {b.label: dataclasses.replace(b, settings={**b.settings, **SHORT.get(b.name, {})}) for b in BASELINES}
SEED = 5


def toy(n: int, rng: np.random.Generator, *, odd: bool = False) -> np.ndarray:
    """Images of a plane wave of varying strength and place, uint8 (n, 28, 28); odd ones are larger and brighter."""
    across = np.linspace(0, 4 * np.pi, 28)
    strength, place = rng.uniform(0.4, 0.7, (n, 1, 1)) + 0.3 * odd, rng.uniform(0, 1, (n, 1, 1))
    wave = strength * np.sin(across * (0.5 if odd else 1) + place) ** 2 * np.ones((1, 28, 1))
    frame = np.zeros((28, 28))
    frame[(2 if odd else 6) : (26 if odd else 22), 4:24] = 1
    noise = rng.normal(0, 0.02, (n, 28, 28))
    return np.rint(255 * np.clip(wave * frame + noise * frame, 0, 1)).astype(np.uint8)


@pytest.fixture(scope="module")
def train() -> np.ndarray:
    return toy(90, np.random.default_rng(0))


@pytest.fixture(scope="module")
def test() -> np.ndarray:
    """30 normal images, then 30 odd ones."""
    rng = np.random.default_rng(1)
    return np.concatenate([toy(30, rng), toy(30, rng, odd=True)])


ANOMALOUS = np.arange(60) >= 30


@pytest.fixture(scope="module")
def fitted(train: np.ndarray) -> Callable[[str], BaselineDetector]:
    """Each baseline, fitted once."""
    done: dict[str, BaselineDetector] = {}

    def get(label: str) -> BaselineDetector:
        if label not in done:
            done[label] = BaselineDetector(QUICK[label], SEED).fit(train)
        return done[label]

    return get


# --- the contract -------------------------------------------------------------------------------------------------


@pytest.fixture(params=list(QUICK))
def label(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_scores_are_finite_and_above_chance(label: str, fitted, test: np.ndarray):
    scores = fitted(label).score(test)
    assert scores.dtype == np.float64
    assert scores.shape == (60,)
    assert np.isfinite(scores).all()
    assert roc_auc_score(ANOMALOUS, scores) > 0.6


def test_same_seed_same_scores_and_what_is_the_callers_is_left_alone(
    label: str, fitted, train: np.ndarray, test: np.ndarray
):
    """Its images, and its randomness."""

    def draws() -> tuple[Any, ...]:
        return random.random(), np.random.random(), float(torch.rand(())), os.environ.get("PYTHONHASHSEED")  # noqa: NPY002

    def seed() -> None:
        random.seed(11)
        np.random.seed(11)  # noqa: NPY002
        torch.manual_seed(11)

    before = train.copy(), test.copy()
    seed()
    expected = draws()
    seed()
    again = BaselineDetector(QUICK[label], SEED)
    assert again.fit(train) is again
    scores = again.score(test)
    assert draws() == expected
    np.testing.assert_array_equal(scores, fitted(label).score(test))
    np.testing.assert_array_equal(fitted(label).score(test), fitted(label).score(test))
    np.testing.assert_array_equal(train, before[0])
    np.testing.assert_array_equal(test, before[1])


def test_parts_give_the_scores_of_the_whole_where_promised(label: str, fitted, test: np.ndarray):
    detector = fitted(label)
    whole = detector.score(test)
    parts = np.concatenate([detector.score(part) for part in (test[:7], test[7:8], test[8:])])
    assert np.allclose(parts, whole, rtol=1e-5, atol=1e-8) == detector.baseline.alone


def test_nothing_is_printed(label: str, fitted, test: np.ndarray, capfd: pytest.CaptureFixture[str]):
    fitted(label).score(test)
    assert capfd.readouterr() == ("", "")


def test_floats_and_bytes_are_the_same_images(fitted, test: np.ndarray):
    floats = (test / 255).reshape(60, 784)
    np.testing.assert_allclose(fitted("lof").score(floats), fitted("lof").score(test), rtol=1e-4)


@pytest.mark.parametrize("name", ["iforest", "inne", "deep-svdd", "autoencoder (fair)"])
def test_another_seed_gives_other_scores_where_random(name: str, fitted, train: np.ndarray, test: np.ndarray):
    assert fitted(name).baseline.random
    other = (
        BaselineDetector(QUICK[name], SEED + 2**40).fit(train).score(test)
    )  # above what NumPy's old seeds take
    assert not np.allclose(other, fitted(name).score(test))


# --- PyOD's own numbers -------------------------------------------------------------------------------------------

DIRECT: dict[str, tuple[str, dict[str, Any]]] = {
    "knn": ("knn.KNN", {}),
    "lof": ("lof.LOF", {}),
    "pca (defaults)": ("pca.PCA", {"random_state": SEED}),
    "pca (fair)": ("kpca.KPCA", {"kernel": "linear", "n_components": 20}),
    "ocsvm (defaults)": ("ocsvm.OCSVM", {}),
    "ocsvm (fair)": ("ocsvm.OCSVM", {"gamma": "scale", "nu": 0.1}),
    "kde": ("kde.KDE", {}),
    "gmm (defaults)": ("gmm.GMM", {"random_state": SEED}),
    "gmm (fair)": ("gmm.GMM", {"n_components": 10, "reg_covar": 0.01, "random_state": SEED}),
    "iforest": ("iforest.IForest", {"random_state": SEED}),
    "ecod": ("ecod.ECOD", {}),
    "copod": ("copod.COPOD", {}),
    "hbos": ("hbos.HBOS", {}),
    "inne": ("inne.INNE", {"random_state": SEED, "n_estimators": 40}),
    "deep-svdd": ("deep_svdd.DeepSVDD", {"n_features": 784, "random_state": SEED, "epochs": 3, "verbose": 0}),
    "autoencoder (defaults)": ("auto_encoder.AutoEncoder", {"random_state": SEED, "epoch_num": 20, "verbose": 0}),
    "autoencoder (fair)": (
        "auto_encoder.AutoEncoder", {"preprocessing": False, "random_state": SEED, "epoch_num": 20, "verbose": 0}),
    "vae (defaults)": ("vae.VAE", {"random_state": SEED, "epoch_num": 20, "verbose": 0}),
    "vae (fair)": (
        "vae.VAE",
        {"preprocessing": False, "capacity": float("inf"), "beta": 1.25e-4, "random_state": SEED, "epoch_num": 20,
         "verbose": 0}),
}  # fmt: skip


def on_principal_axes(rows: np.ndarray, others: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    mean = rows.mean(0)
    axes = np.linalg.svd(rows - mean, full_matrices=False)[2][:count].T
    return (rows - mean) @ axes, (others - mean) @ axes


@pytest.mark.filterwarnings("ignore")
def test_scores_are_those_of_a_direct_call(label: str, fitted, train: np.ndarray, test: np.ndarray):
    where, options = DIRECT[label]
    module, name = where.split(".")
    kind = getattr(importlib.import_module(f"pyod.models.{module}"), name)
    torch.manual_seed(SEED)
    np.random.seed(SEED)  # noqa: NPY002
    detector = kind(**options)
    rows, wanted = train.reshape(-1, 784) / 255, test.reshape(-1, 784) / 255
    if label == "gmm (fair)":
        rows, wanted = on_principal_axes(rows, wanted, 64)
    detector.fit(rows)
    torch.manual_seed(SEED)
    expected = detector.decision_function(wanted)
    found = fitted(label).score(test)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)
    assert roc_auc_score(ANOMALOUS, found) == pytest.approx(roc_auc_score(ANOMALOUS, expected))


def test_components_are_those_of_the_training_images(train: np.ndarray, test: np.ndarray):
    from pyod.models.lof import LOF

    rows, wanted = on_principal_axes(train.reshape(-1, 784) / 255, test.reshape(-1, 784) / 255, 4)
    expected = LOF().fit(rows).decision_function(wanted)
    np.testing.assert_allclose(BaselineDetector("lof", pca=4).fit(train).score(test), expected, rtol=1e-6)
    assert "4 principal components" in QUICK["lof"].described(4)
    assert "64 principal components" in QUICK["gmm (fair)"].described()
    assert "components" not in QUICK["iforest"].described(4)


# --- names and bad input ------------------------------------------------------------------------------------------


def test_names_are_unique_and_a_name_stands_for_its_variants():
    assert len({b.label for b in BASELINES}) == len(BASELINES)
    assert [b.label for b in choose("vae, knn")] == ["knn", "vae (defaults)", "vae (fair)"]
    assert [b.label for b in choose(["pca (fair)", "lof,lof"])] == ["lof", "pca (fair)"]
    assert choose("all") == BASELINES


@pytest.mark.parametrize(("text", "near"), [("loff", "lof"), ("KNN", "knn"), ("deepsvdd", "deep-svdd")])
def test_an_unknown_name_and_those_there_are_come_with_the_error(text: str, near: str):
    with pytest.raises(ConfigError, match="there are all, knn, lof") as caught:
        choose(f"hbos,{text}")
    assert caught.value.unknown == text
    assert nearest(text, caught.value.known) == near


def test_bad_input_is_named(train: np.ndarray):
    for text in ("", "zzzzzz"):
        with pytest.raises(ConfigError, match="unknown"):
            choose(text)
    with pytest.raises(ConfigError, match=r"say which: vae \(defaults\), vae \(fair\)"):
        BaselineDetector("vae")
    with pytest.raises(ConfigError, match="not fitted"):
        BaselineDetector("lof").score(train)
    with pytest.raises(ConfigError, match="pca 91: must be from 1 to 90"):
        BaselineDetector("lof", pca=91).fit(train)
    with pytest.raises(DataError, match="20 training images, at least 32"):
        BaselineDetector("autoencoder (fair)").fit(train[:20])
    with pytest.raises(ImageError):
        BaselineDetector("lof").fit(train / 100.0)


def test_listing_does_not_import_pyod():
    code = (
        "import sys, anomalae.experiments.baselines.registry as b; b.choose('all'); "
        "print({'pyod', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# --- processes ----------------------------------------------------------------------------------------------------

FAKES = """
    import os, signal, subprocess, sys, time
    from pathlib import Path
    import numpy as np

    class Fake:
        def fit(self, rows):
            self.mean = rows.mean(0)
        def decision_function(self, rows):
            return ((rows - self.mean) ** 2).sum(1)

    class Sleeps(Fake):
        def fit(self, rows):
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            Path("pids.tmp").write_text(f"{os.getpid()} {child.pid}")
            Path("pids.tmp").rename("pids")
            time.sleep(600)

    class Raises(Fake):
        def fit(self, rows):
            raise ValueError("no good\\nat all")

    class Needs(Fake):
        def fit(self, rows):
            import no_such_part.inside

    class Aborts(Fake):
        def fit(self, rows):
            os.kill(os.getpid(), signal.SIGSEGV)

    class Killed(Fake):
        def fit(self, rows):
            os.kill(os.getpid(), signal.SIGKILL)

    class Exits(Fake):
        def fit(self, rows):
            print("going", file=sys.__stderr__)
            os._exit(7)

    class Starves(Fake):
        def fit(self, rows):
            np.ones(10**15)

    class Other(Fake):
        pass

    class Hungry(Fake):
        def fit(self, rows):
            super().fit(rows)
            np.ones(40_000_000)

    class Nan(Fake):
        def decision_function(self, rows):
            return np.where(np.arange(len(rows)) < 3, np.nan, 1.0)

    class Infinite(Fake):
        def decision_function(self, rows):
            return np.full(len(rows), -np.inf)

    class Constant(Fake):
        def decision_function(self, rows):
            return np.full(len(rows), 0.5)

    class Square(Fake):
        def decision_function(self, rows):
            return rows
"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Baseline]:
    (tmp_path / "odd_detectors.py").write_text(textwrap.dedent(FAKES))
    monkeypatch.syspath_prepend(tmp_path)
    return lambda name: Baseline(name.lower(), name.lower(), "", f"odd_detectors.{name}", {})


def one(baseline: Baseline, train: np.ndarray, test: np.ndarray, **more: Any) -> Trial:
    return run_trials([baseline], train, test, **more)[0]


def test_a_trial_gives_the_scores_of_the_same_baseline_here(train: np.ndarray, test: np.ndarray):
    trial = one(QUICK["iforest"], train, test, seed=SEED, threads=1)
    here = BaselineDetector(QUICK["iforest"], SEED).fit(train).score(test)
    np.testing.assert_array_equal(trial.scores, here)
    assert trial.status == "ok"
    assert trial.settings == "PyOD's defaults: 100 trees"
    assert trial.fit_seconds is not None
    assert trial.score_seconds is not None
    assert min(trial.fit_seconds, trial.score_seconds) > 0


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("Raises", "raised ValueError: no good"),
        ("Needs", "needs no_such_part: pip install no_such_part"),
        ("Aborts", "crashed with SIGSEGV"),
        ("Killed", "was killed from outside, most likely for want of memory"),
        ("Exits", "ended with status 7 and no result: going"),
        ("Starves", "ran out of memory: Unable to allocate"),
        ("Nan", "returned NaN as the score of 3 of 60 images"),
        ("Infinite", "returned infinity as the score of 60 of 60 images"),
        ("Square", "scores of shape (60, 784) for 60 images, expected a score each"),
    ],
)  # fmt: skip
def test_a_baseline_that_fails_says_so(name: str, status: str, fake, train: np.ndarray, test: np.ndarray):
    trial = one(fake(name), train, test, cache=Path("cache"))
    assert trial.status.startswith(status)
    assert not trial.ok
    assert trial.scores is None
    assert not list(Path("cache").iterdir())


def test_a_constant_has_scores_and_a_status(fake, train: np.ndarray, test: np.ndarray):
    trial = one(fake("Constant"), train, test)
    assert trial.status == "returned the same score, 0.5, for all 60 images"
    assert trial.scores is not None


def test_the_time_limit_ends_a_baseline(fake, train: np.ndarray, test: np.ndarray):
    trial = one(fake("Sleeps"), train, test, time_limit=1.5)
    assert trial.status == "passed the time limit of 1.5 s"
    assert not Path("pids").exists() or all(gone(pid) for pid in pids())


def test_where_one_fails_the_others_go_on(fake, train: np.ndarray, test: np.ndarray):
    done: list[Trial] = []
    found = run_trials([fake("Raises"), fake("Fake")], train, test, on_done=done.append)
    assert [trial.ok for trial in found] == [False, True]
    assert done == found


def pids() -> list[int]:
    return [int(pid) for pid in Path("pids").read_text().split()]


def gone(pid: int) -> bool:
    """Whether no such process runs any more; those that nobody has waited for yet do not count."""
    for _ in range(200):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state in "ZX":
            return True
        time.sleep(0.05)
    return False


def test_ctrl_c_ends_the_process_and_its_children(
    fake, train: np.ndarray, test: np.ndarray, monkeypatch: pytest.MonkeyPatch
):
    class Interrupted(subprocess.Popen):
        def wait(self, timeout: float | None = None) -> int:
            if Path("pids").exists():
                return super().wait(timeout)
            while self.poll() is None and not Path("pids").exists():
                time.sleep(0.02)
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(trials.subprocess, "Popen", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            one(fake("Sleeps"), train, test)
    assert all(gone(pid) for pid in pids())


def test_a_process_ends_when_its_parent_is_killed(fake, train: np.ndarray, test: np.ndarray):
    np.save("train.npy", train)
    code = (
        "import numpy as np; from anomalae.experiments.baselines.registry import Baseline; "
        "from anomalae.experiments.baselines.trials import run_trials; "
        "x = np.load('train.npy'); run_trials([Baseline('s', 's', '', 'odd_detectors.Sleeps')], x, x)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path.cwd()), *sys.path])}
    fake("Sleeps")
    parent = subprocess.Popen([sys.executable, "-c", code], env=environment)
    while parent.poll() is None and not Path("pids").exists():
        time.sleep(0.02)
    worker, child = pids()
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    try:
        assert gone(worker)
    finally:
        os.kill(child, signal.SIGKILL)  # a detector's own children are not ours to find once we are dead


def test_peak_memory_is_the_processs_own(fake, train: np.ndarray, test: np.ndarray):
    ballast = np.ones(75_000_000)  # 600 MB here, none of it there
    light, heavy = run_trials([fake("Fake"), fake("Hungry")], train, test, threads=1)
    del ballast
    assert light.peak_memory_bytes is not None
    assert heavy.peak_memory_bytes is not None
    assert light.peak_memory_bytes < 400e6
    assert 250e6 < heavy.peak_memory_bytes - light.peak_memory_bytes < 400e6


def test_a_second_call_fits_only_what_is_new(
    fake, train: np.ndarray, test: np.ndarray, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)  # what --threads is where it is not given
    started: list[str] = []
    cache = Path("runs/.baselines")

    def call(*names: str, **more: Any) -> list[Trial]:
        started.clear()
        images = {"train": train, "test": test, "seed": 0, "cache": cache} | more
        asked = [fake(name) for name in names]
        return run_trials(asked, images.pop("train"), images.pop("test"), **images,
                          on_start=lambda b: started.append(b.label))  # fmt: skip

    (first,) = call("Fake")
    again, new = call("Fake", "Other")
    assert started == ["other"]
    assert again.kept
    assert not new.kept
    np.testing.assert_array_equal(again.scores, first.scores)
    same = ("status", "settings", "fit_seconds", "score_seconds", "peak_memory_bytes")
    assert [getattr(again, name) for name in same] == [getattr(first, name) for name in same]
    for other in ({"seed": 1}, {"threads": 1}, {"train": train[:80]}, {"test": test[1:]}):
        call("Fake", **other)
        assert started == ["fake"], other
    for path in cache.iterdir():
        path.write_bytes(b"broken")
    (mended,) = call("Fake")
    assert started == ["fake"]
    np.testing.assert_array_equal(mended.scores, first.scores)


def test_what_a_result_is_kept_under():
    def key(baseline: Baseline, **more: Any) -> str:
        return trials._key(
            "images", trials._job(baseline, **({"seed": 0, "pca": None, "threads": None} | more))
        )

    lof, forest = QUICK["lof"], QUICK["iforest"]
    assert key(lof) == key(dataclasses.replace(lof, about="other words"))
    changed = dataclasses.replace(lof, settings={"n_neighbors": 10})
    keys = [key(lof), key(changed), key(forest), key(lof, pca=3), key(lof, seed=1), key(lof, threads=2)]
    assert len(set(keys)) == len(keys)
    assert key(forest) == key(forest, pca=3)  # which has no use for components


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"pca": 91}, ConfigError),
        ({"pca": 0}, ConfigError),
        ({"time_limit": 0.0}, ConfigError),
        ({"time_limit": float("nan")}, ConfigError),
        ({"threads": 0}, ConfigError),
        ({"seed": -1}, ConfigError),
        ({"cache": Path("file/cache")}, BundleError),
    ],
)
def test_bad_options_fail_before_anything_is_fitted(options, error, train: np.ndarray, test: np.ndarray):
    Path("file").write_text("")

    def never(baseline: Baseline) -> None:
        raise AssertionError(baseline.label)

    with pytest.raises(error):
        run_trials(choose("lof"), train, test, on_start=never, **options)
