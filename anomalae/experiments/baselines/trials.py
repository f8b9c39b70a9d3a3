"""Baselines fitted one after another, each in a process of its own, with its time, its memory and its faults.

Run as `python -m anomalae.experiments.baselines.trials FOLDER` it is that process: it reads the job and the images
from the folder and leaves the result there. Results are kept by content, so that a second call fits only what is new.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from anomalae import files
from anomalae.errors import AnomalaeError, BundleError, ConfigError
from anomalae.experiments.baselines.registry import Baseline, BaselineDetector, check_components
from anomalae.images.check import PIXELS, check_images
from anomalae.text import printable
from anomalae.threads import variables

OK = "ok"
# Folder of kept results, among the runs.
CACHE = ".baselines"
_JOB, _IMAGES, _RESULT = "job.json", "images.safetensors", "result.safetensors"
# Version of what is ours in a result; raised when a change in this folder alters results.
REVISION = 1
# Their versions are part of a result's key.
_COMPUTING = (
    "pyod",
    "numpy",
    "scikit-learn",
    "scipy",
    "torch",
    "numba",
)
# Most characters of a status.
_STATUS_LENGTH = 300


@dataclass(frozen=True, eq=False)
class Trial:
    """A trial is what became of one baseline. Where `status` is not "ok" it says in a sentence what went wrong.

    settings: in words.
    scores: float64 (n_test,); None where there are none, or not all are finite.
    score_seconds: of all test images.
    peak_memory_bytes: of the process, its libraries and the images included.
    kept: whether it was taken from the cache.
    """

    baseline: Baseline
    settings: str
    status: str
    scores: np.ndarray | None = None
    fit_seconds: float | None = None
    score_seconds: float | None = None
    peak_memory_bytes: int | None = None
    kept: bool = False

    @property
    def ok(self) -> bool:
        """Whether there are scores that mean something."""
        return self.status == OK


def run_trials(
    baselines: Sequence[Baseline],
    train: Any,
    test: Any,
    *,
    seed: int = 0,
    pca: int | None = None,
    time_limit: float | None = None,
    threads: int | None = None,
    cache: Path | None = None,
    on_start: Callable[[Baseline], None] = lambda baseline: None,
    on_done: Callable[[Trial], None] = lambda trial: None,
) -> list[Trial]:
    """Fit each baseline on the training images and score the test images; one after another, so that times tell.

    baselines: what is fitted.
    train, test: images as `anomalae.images.check.check_images` accepts.
    seed, pca: as for `BaselineDetector`.
    time_limit: seconds for a whole process, start included.
    threads: CPU threads of each process; None leaves them as the environment says.
    cache: folder in which results are kept by images, baseline, settings, seed, pca, threads and versions; failures
        are not kept.
    on_start, on_done: called before a process starts, and with each trial, kept ones too.

    A baseline that fails gets a status and the others go on; KeyboardInterrupt ends the one at work.

    Raises ConfigError for a pca, seed, thread count or time limit out of range, ImageError for unusable images,
    BundleError where the cache can't be written; all before anything is fitted.
    """
    images = {"train": check_images(train, "training images"), "test": check_images(test, "test images")}
    _check(pca, len(images["train"]), seed, time_limit, threads)
    if cache is not None:
        _make(cache)
    content = _content_hash(images) if cache is not None else ""
    trials = []
    with tempfile.TemporaryDirectory(prefix="anomalae-") as name:
        folder = Path(name)
        for baseline in baselines:
            job = _job(baseline, seed, pca, threads)
            place = None if cache is None else cache / f"{_key(content, job)}.safetensors"
            trial = _kept(place, job) if place is not None else None
            if trial is None:
                on_start(baseline)
                if not (folder / _IMAGES).exists():
                    files.write_arrays(folder / _IMAGES, images, durable=False)
                trial = _run(job, folder, time_limit)
                if trial.ok and place is not None:
                    _keep(place, trial)
            on_done(trial)
            trials.append(trial)
    return trials


def _check(pca: int | None, n: int, seed: int, time_limit: float | None, threads: int | None) -> None:
    if pca is not None:
        check_components(pca, min(n, PIXELS))
    if seed < 0:
        raise ConfigError(f"seed {seed}: must be at least 0")
    if time_limit is not None and not time_limit > 0:
        raise ConfigError(f"time limit {time_limit:g}: must be above 0 seconds")
    if threads is not None and threads < 1:
        raise ConfigError(f"threads {threads}: must be at least 1")


# --- one process ------------------------------------------------------------------------------------------------


def _job(baseline: Baseline, seed: int, pca: int | None, threads: int | None) -> dict[str, Any]:
    """Return what the process is told, as JSON (with Infinity, which our own reader takes)."""
    # Others ignore pca, and are not fitted again for another one.
    pca = pca if baseline.few_dimensions else None
    if threads is None and os.environ.get("OMP_NUM_THREADS", "").isdigit():
        threads = int(os.environ["OMP_NUM_THREADS"])
    return {"baseline": dataclasses.asdict(baseline), "seed": seed, "pca": pca, "threads": threads}


def _run(job: dict[str, Any], folder: Path, time_limit: float | None) -> Trial:
    """Start the process, wait for it, and tell how it ended."""
    files.write_bytes(folder / _JOB, json.dumps(job).encode(), durable=False)
    (folder / _RESULT).unlink(missing_ok=True)
    with (folder / "stderr").open("w+b") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "anomalae.experiments.baselines.trials", str(folder)],
            # Closes when we die, however we die: the process then ends itself.
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            env=_environment(job["threads"]),
            # A group of its own, to be killed with its children.
            start_new_session=True,
        )
        try:
            process.wait(time_limit)
        except subprocess.TimeoutExpired:
            return _trial(job, {"status": f"passed the time limit of {time_limit:g} s"})
        finally:
            _end(process)
        stderr.seek(0)
        words = stderr.read().decode(errors="backslashreplace")
    return _result(job, folder / _RESULT, process.returncode, words)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the process and its children if it is still there."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            _kill(process)
        process.wait()
    if process.stdin is not None:
        process.stdin.close()


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill the process, and where there are process groups its children with it."""
    if sys.platform == "win32":
        process.kill()
    else:
        os.killpg(process.pid, signal.SIGKILL)


def _environment(threads: int | None) -> dict[str, str]:
    """Return our own environment; the process finds the modules we find, and computes by so many threads."""
    paths = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
    return {**os.environ, **variables(threads), "PYTHONPATH": paths}


def _result(job: dict[str, Any], path: Path, code: int, words: str) -> Trial:
    try:
        arrays, facts = files.read_arrays(path)
    except BundleError:
        # Windows knows no signals, and its statuses are never below 0.
        if code < 0 and _signal_name(-code) == "SIGKILL":
            status = "was killed from outside, most likely for want of memory"
        elif code < 0:
            status = f"crashed with {_signal_name(-code)}"
        else:
            status = f"ended with status {code} and no result{_after_colon((words.strip().splitlines() or [''])[-1])}"
        return _trial(job, {"status": status})
    return _trial(job, facts, arrays.get("scores"))


def _trial(job: dict[str, Any], facts: dict[str, Any], scores: np.ndarray | None = None) -> Trial:
    baseline = Baseline(**job["baseline"])
    return Trial(baseline, baseline.described(job["pca"]), scores=scores, **facts)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _after_colon(text: str) -> str:
    return f": {_short(text)}" if text.strip() else ""


def _short(text: str) -> str:
    """Return the first line of a text, printable and not too long."""
    line = printable((text.strip().splitlines() or [""])[0])
    return line if len(line) <= _STATUS_LENGTH else line[: _STATUS_LENGTH - 3] + "..."


# --- results that are kept --------------------------------------------------------------------------------------


def _make(cache: Path) -> None:
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BundleError(f"{cache}: cannot be written: {error.strerror}") from None


def _content_hash(images: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name, array in images.items():
        digest.update(f"{name} {array.dtype} {array.shape}\0".encode())
        digest.update(array.data)
    return digest.hexdigest()


def _key(content: str, job: dict[str, Any]) -> str:
    """Return the SHA-256 of everything that decides scores and times."""
    baseline = {key: job["baseline"][key] for key in ("label", "detector", "settings", "pca")}
    decisive = {**job, "baseline": baseline, "images": content, "versions": versions(), "revision": REVISION}
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def versions() -> dict[str, str]:
    """Return versions of the packages that compute baselines; those that are not installed are left out."""
    version_of_package = {}
    for package in _COMPUTING:
        with contextlib.suppress(metadata.PackageNotFoundError):
            version_of_package[package] = metadata.version(package)
    return version_of_package


def _kept(place: Path, job: dict[str, Any]) -> Trial | None:
    """Read the result that is kept there; None where there is none that can be read."""
    try:
        arrays, facts = files.read_arrays(place)
        return dataclasses.replace(_trial(job, facts, arrays["scores"]), kept=True)
    except (BundleError, KeyError, TypeError):
        return None


def _keep(place: Path, trial: Trial) -> None:
    assert trial.scores is not None
    names = ("status", "fit_seconds", "score_seconds", "peak_memory_bytes")
    facts = {name: getattr(trial, name) for name in names}
    files.write_arrays(place, {"scores": trial.scores}, facts, durable=False)


# --- inside the process -----------------------------------------------------------------------------------------


def _work(folder: Path) -> None:
    """Do the job that lies in the folder and leave the result there."""
    job = files.read_json(folder / _JOB)
    images, _ = files.read_arrays(folder / _IMAGES)
    facts: dict[str, Any] = {}
    scores = None
    try:
        scores, seconds = _fit_and_score(job, images)
        status = judge(scores)
        facts |= seconds
    except MemoryError as error:
        status = f"ran out of memory{_after_colon(str(error))}"
    except ModuleNotFoundError as error:
        status = f"needs {error.name}: pip install {(error.name or '').partition('.')[0]}"
    except AnomalaeError as error:
        status = _short(str(error))
    except Exception as error:
        # Whatever a detector raises belongs to its row, not to us.
        status = f"raised {type(error).__name__}{_after_colon(str(error))}"
    finite = scores is not None and np.isfinite(scores).all()
    arrays = {"scores": scores} if finite and scores is not None else {}
    facts |= {"status": status, "peak_memory_bytes": _peak_memory()}
    files.write_arrays(folder / _RESULT, arrays, facts, durable=False)


def _fit_and_score(job: dict[str, Any], images: dict[str, np.ndarray]) -> tuple[np.ndarray, dict[str, float]]:
    detector = BaselineDetector(Baseline(**job["baseline"]), job["seed"], job["pca"])
    # Importing is no part of fitting.
    detector.load()
    begun = time.perf_counter()
    detector.fit(images["train"])
    fitted = time.perf_counter()
    scores = detector.score(images["test"])
    done = time.perf_counter()
    return scores, {"fit_seconds": fitted - begun, "score_seconds": done - fitted}


def judge(scores: np.ndarray) -> str:
    """Return "ok", or what is wrong with these scores (N,)."""
    for what, bad in (("NaN", np.isnan(scores)), ("infinity", np.isinf(scores))):
        if bad.any():
            return f"returned {what} as the score of {int(bad.sum())} of {scores.size} images"
    if scores.size > 1 and np.ptp(scores) == 0:
        return f"returned the same score, {scores[0]:g}, for all {scores.size} images"
    return OK


def _peak_memory() -> int | None:
    """Return the most memory this process has held, in bytes; None where the system does not tell.

    Linux is asked for the mark of this program alone: getrusage starts a child at what its parent held.
    """
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("VmHWM:")).split()[1])
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _end_with_parent() -> None:
    """End this process once the one that started it is gone: its end of our standard input closes then."""

    def watch() -> None:
        os.read(0, 1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    _end_with_parent()
    _work(Path(sys.argv[1]))
