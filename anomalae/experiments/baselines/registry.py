"""PyOD's detectors behind the calls of our own: a registry of them, each with settings that give it a fair chance."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import os
import random
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from anomalae.errors import ConfigError, DataError
from anomalae.images.check import PIXELS, check_images


@dataclass(frozen=True)
class Baseline:
    """A baseline is one row of a comparison: a detector of PyOD with its settings.

    Where PyOD's defaults do badly on pixels for a reason that is not the method's fault there are two of a name:
    `NAME (defaults)` and `NAME (fair)`. Else PyOD's defaults are used, and the label is the name.

    label: of the row; no two alike.
    name: by which it is asked for.
    about: a line for people.
    detector: its class, as in pyod.models.lof.LOF.
    settings: what differs from PyOD's defaults.
    note: what is worth knowing of the settings.
    random: whether the seed matters.
    few_dimensions: whether it lives on distances or densities, so that `pca` applies.
    pca: principal components it sees unless told otherwise; fewer of few images.
    alone: whether an image's score has nothing to do with the images scored with it.
    deep: whether it uses PyTorch.
    costly: whether it takes minutes on a class of MNIST: benchmarks fit it for one seed only.
    least: training images that it needs.
    """

    label: str
    name: str
    about: str
    detector: str
    settings: dict[str, Any] = field(default_factory=dict)
    note: str = ""
    random: bool = False
    few_dimensions: bool = False
    pca: int | None = None
    alone: bool = True
    deep: bool = False
    costly: bool = False
    least: int = 2

    def described(self, pca: int | None = None) -> str:
        """Return the settings as a line of text."""
        changed = ", ".join(f"{key}={value}" for key, value in self.settings.items())
        ours = not self.detector.startswith("pyod.")
        parts = [self.note if ours else changed or f"PyOD's defaults{self.note and f': {self.note}'}"]
        components = self.components(pca)
        if components is not None:
            parts.append(f"{components if pca else f'up to {components}'} principal components")
        return ", ".join(parts)

    def components(self, pca: int | None) -> int | None:
        """Return how many principal components it sees when `pca` are asked for; None for the pixels."""
        if not self.few_dimensions:
            return None
        return self.pca if pca is None else pca


_PYOD = "pyod.models"
# Part of the key of results that are kept: not to be changed.
OWN_PCA = "anomalae.baselines.Reconstruction"
_PREPROCESSING = "z-scores of all pixels, constant ones too"
# PyOD averages the squared error over the pixels and sums the KL term: with beta 1 nothing is learned. This beta makes
# it the ELBO of a Gaussian with variance 0.05, about what is left of a pixel: 2 * 0.05 / 784.
_FAIR_VAE = {"preprocessing": False, "capacity": float("inf"), "beta": 1.25e-4}

BASELINES = (
    Baseline("knn", "knn", "distance to the 5th nearest training image", f"{_PYOD}.knn.KNN",
             note="5 neighbours, largest distance", few_dimensions=True, least=6),
    Baseline("lof", "lof", "local outlier factor: density against that of the neighbours", f"{_PYOD}.lof.LOF",
             note="20 neighbours", few_dimensions=True),
    Baseline("pca (defaults)", "pca", "distances to the eigenvectors of the z-scored pixels", f"{_PYOD}.pca.PCA",
             note="all components, z-scores"),
    Baseline("pca (fair)", "pca", "squared error of rebuilding an image from 20 principal components",
             OWN_PCA, {"components": 20},
             note="20 components, squared reconstruction error, not PyOD's PCA"),
    Baseline("ocsvm (defaults)", "ocsvm", "one-class support vector machine", f"{_PYOD}.ocsvm.OCSVM",
             note="gamma 1/784, nu 0.5", few_dimensions=True),
    Baseline("ocsvm (fair)", "ocsvm", "one-class support vector machine, kernel width from the variance of the pixels",
             f"{_PYOD}.ocsvm.OCSVM", {"gamma": "scale", "nu": 0.1}, few_dimensions=True),
    Baseline("kde", "kde", "kernel density estimate", f"{_PYOD}.kde.KDE", note="bandwidth 1", few_dimensions=True),
    Baseline("gmm (defaults)", "gmm", "Gaussian mixture, full covariances", f"{_PYOD}.gmm.GMM",
             note="1 component, variances at least 1e-6", random=True, few_dimensions=True),
    Baseline("gmm (fair)", "gmm", "Gaussian mixture of several components, in few dimensions", f"{_PYOD}.gmm.GMM",
             {"n_components": 10, "reg_covar": 0.01}, random=True, few_dimensions=True, pca=64, least=10),
    Baseline("iforest", "iforest", "isolation forest", f"{_PYOD}.iforest.IForest", note="100 trees", random=True),
    Baseline("ecod", "ecod", "tails of each pixel's empirical distribution; scores images together",
             f"{_PYOD}.ecod.ECOD", alone=False),
    Baseline("copod", "copod", "empirical copula of the pixels; scores images together", f"{_PYOD}.copod.COPOD",
             alone=False),
    Baseline("hbos", "hbos", "a histogram of each pixel", f"{_PYOD}.hbos.HBOS", note="10 bins"),
    Baseline("inne", "inne", "isolation by nearest neighbours in random subsets", f"{_PYOD}.inne.INNE",
             note="200 estimators", random=True, few_dimensions=True),
    Baseline("deep-svdd", "deep-svdd", "distance to a centre in the space of a network", f"{_PYOD}.deep_svdd.DeepSVDD",
             note="100 epochs, z-scores", random=True, deep=True, costly=True),
    Baseline("autoencoder (defaults)", "autoencoder", "PyOD's autoencoder",
             f"{_PYOD}.auto_encoder.AutoEncoder", note=_PREPROCESSING, random=True, deep=True, least=32),
    Baseline("autoencoder (fair)", "autoencoder", "PyOD's autoencoder, pixels as they are",
             f"{_PYOD}.auto_encoder.AutoEncoder", {"preprocessing": False}, random=True, deep=True, least=32),
    Baseline("vae (defaults)", "vae", "PyOD's VAE, which has no KL term unless told otherwise; scores with noise",
             f"{_PYOD}.vae.VAE", note=f"{_PREPROCESSING}; capacity=0", random=True, deep=True, alone=False, least=32,
             costly=True),
    Baseline("vae (fair)", "vae", "PyOD's VAE, pixels as they are, with its KL term; scores with noise",
             f"{_PYOD}.vae.VAE", _FAIR_VAE, random=True, deep=True, alone=False, least=32, costly=True),
)  # fmt: skip

NAMES = tuple(dict.fromkeys(baseline.name for baseline in BASELINES))


def choose(text: str | Iterable[str]) -> tuple[Baseline, ...]:
    """Return the baselines of this text, in the registry's order: `all`, or names or labels with commas between them.

    A name that has two variants stands for both. Raises ConfigError for an unknown one, naming those there are.

    >>> [baseline.label for baseline in choose("lof,autoencoder")]
    ['lof', 'autoencoder (defaults)', 'autoencoder (fair)']
    """
    texts = [text] if isinstance(text, str) else list(text)
    words = [word.strip() for part in texts for word in part.split(",")]
    # A comma too many makes no name.
    words = [word for word in words if word] or words[:1]
    known = {*NAMES, *(baseline.label for baseline in BASELINES), "all"}
    for word in words:
        if word not in known:
            raise ConfigError(
                f"baseline {word!r}: unknown; there are all, {', '.join(NAMES)}",
                unknown=word,
                known=sorted(known),
            )
    return tuple(b for b in BASELINES if "all" in words or b.name in words or b.label in words)


class BaselineDetector:
    """A baseline with the calls of `anomalae.Detector`: `fit(images)`, `score(images)`, higher = more anomalous.

    baseline: one of BASELINES, or its label.
    seed: of everything random in it, at least 0.
    pca: the number of principal components (of the training images) that a baseline with `few_dimensions` sees; others
        ignore it, and None leaves it to the baseline.

    Images are what `anomalae.images.check.check_images` accepts; a baseline sees float64 (N, 784) in [0, 1].

    PyOD reseeds and uses the global generators of Python, NumPy and PyTorch. They are seeded before each call
    and put back after it, so equal calls give equal scores and the caller's randomness is left alone; what is
    printed and warned meanwhile is dropped. Scoring images in parts gives the scores of the whole, up to rounding,
    where `baseline.alone`: ECOD and COPOD rank images together with those scored beside them, and PyOD's VAE draws
    its noise in the order of the images.
    """

    def __init__(self, baseline: Baseline | str, seed: int = 0, pca: int | None = None) -> None:
        self.baseline = _one(baseline) if isinstance(baseline, str) else baseline
        if seed < 0:
            raise ConfigError(f"seed {seed}: must be at least 0")
        self.seed = seed
        if pca is not None:
            check_components(pca, PIXELS)
        self.pca = pca
        self._axes: _Axes | None = None
        self._detector: Any = None

    def fit(self, images: Any) -> BaselineDetector:
        """Fit on normal images; returns self. Raises DataError when there are too few of them."""
        rows = _rows(images)
        if len(rows) < self.baseline.least:
            raise DataError(f"{len(rows)} training images, at least {self.baseline.least} are needed")
        if self.pca is not None:
            check_components(self.pca, min(len(rows), PIXELS))
        components = self.baseline.components(self.pca)
        self._axes = None if components is None else _Axes(rows, components)
        with _seeded_quietly(self.seed, self.baseline.deep):
            rows = rows if self._axes is None else self._axes.project(rows)
            self._detector = self._build(rows.shape[1])
            self._detector.fit(rows)
        return self

    def score(self, images: Any) -> np.ndarray:
        """Return scores, float64 (N,), higher = more anomalous; not finite where the detector fails."""
        if self._detector is None:
            raise ConfigError("this baseline is not fitted yet: call fit(images) first")
        rows = _rows(images)
        with _seeded_quietly(self.seed, self.baseline.deep):
            rows = rows if self._axes is None else self._axes.project(rows)
            scores = np.asarray(self._detector.decision_function(rows), dtype=np.float64)
        if scores.shape != (len(rows),):
            raise DataError(f"scores of shape {scores.shape} for {len(rows)} images, expected a score each")
        return scores

    def load(self) -> type:
        """Import the detector's class, so that fitting need not. Raises ImportError where a part is missing."""
        if self.baseline.detector == OWN_PCA:
            return Reconstruction
        module, _, name = self.baseline.detector.rpartition(".")
        with _seeded_quietly(self.seed, self.baseline.deep):
            detector_class: type = getattr(importlib.import_module(module), name)
        return detector_class

    def _build(self, width: int) -> Any:
        """Make the detector, told what it wants to know of seed, width, verbosity and device."""
        kind = self.load()
        told = {"random_state": _small(self.seed), "n_features": width, "verbose": 0, "device": "cpu"}
        wanted = inspect.signature(kind).parameters
        return kind(**{key: value for key, value in told.items() if key in wanted}, **self.baseline.settings)


class _Axes:
    """Finds mean and principal axes of rows, float64 (N, P): exactly, and so without a seed."""

    def __init__(self, rows: np.ndarray, components: int) -> None:
        self.mean = rows.mean(axis=0)
        centred = rows - self.mean
        # float64 (P, P), an axis a column, the widest first.
        axes = np.linalg.eigh(centred.T @ centred)[1][:, ::-1]
        self.axes = axes[:, : min(components, *rows.shape)]

    def project(self, rows: np.ndarray) -> np.ndarray:
        """Return coordinates along the axes, float64 (N, components)."""
        return np.asarray((rows - self.mean) @ self.axes)

    def rebuild(self, coordinates: np.ndarray) -> np.ndarray:
        """Return the rows that have these coordinates, float64 (N, P)."""
        return np.asarray(coordinates @ self.axes.T + self.mean)


class Reconstruction:
    """Scores by the squared error of rebuilding an image from its first principal components: what PCA is known for.

    PyOD's `PCA` scores otherwise, and its `KPCA` (linear kernel) gives this error by way of an (N, N) matrix.
    """

    def __init__(self, components: int) -> None:
        self.components = components

    def fit(self, rows: np.ndarray) -> Reconstruction:
        """Find the axes of the rows, float64 (N, P)."""
        self._axes = _Axes(rows, self.components)
        return self

    def decision_function(self, rows: np.ndarray) -> np.ndarray:
        """Return squared errors, float64 (N,), at least 0."""
        return np.asarray(((rows - self._axes.rebuild(self._axes.project(rows))) ** 2).sum(axis=1))


def check_components(pca: int, limit: int) -> None:
    """Raise ConfigError unless 1 <= pca <= limit."""
    if not 1 <= pca <= limit:
        raise ConfigError(
            f"pca {pca}: must be from 1 to {limit}, as there are {PIXELS} pixels"
            if limit >= PIXELS
            else f"pca {pca}: must be from 1 to {limit}, the number of training images"
        )


def _one(label: str) -> Baseline:
    baselines = choose(label)
    if len(baselines) > 1:
        raise ConfigError(
            f"baseline {label!r}: say which: {', '.join(baseline.label for baseline in baselines)}"
        )
    return baselines[0]


def _rows(images: Any) -> np.ndarray:
    """Return the images as float64 (N, 784) in [0, 1], a copy."""
    array = check_images(images)
    scale = 255.0 if array.dtype == np.uint8 else 1.0
    return array.reshape(len(array), PIXELS).astype(np.float64) / scale


def _small(seed: int) -> int:
    """Return the seed as NumPy's old generators take it: itself below 2**32, else one made of it."""
    return seed if seed < 2**32 else int(np.random.SeedSequence(seed).generate_state(1)[0])


@contextlib.contextmanager
def _seeded_quietly(seed: int, deep: bool) -> Iterator[None]:
    """Seed the global generators; drop prints and warnings; at the end put the generators back as they were."""
    numpy_state, python_state = np.random.get_state(), random.getstate()  # noqa: NPY002 - PyOD draws from it
    # PyOD's deep detectors set it.
    hash_seed = os.environ.get("PYTHONHASHSEED")
    with contextlib.ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        stack.enter_context(np.errstate(all="ignore"))
        for redirect in (contextlib.redirect_stdout, contextlib.redirect_stderr):
            stack.enter_context(redirect(io.StringIO()))
        if deep:
            import torch

            devices = range(torch.cuda.device_count())
            stack.enter_context(torch.random.fork_rng(devices=list(devices)))
            torch.manual_seed(_small(seed))
        random.seed(_small(seed))
        np.random.seed(_small(seed))  # noqa: NPY002
        try:
            yield
        finally:
            np.random.set_state(numpy_state)  # noqa: NPY002
            random.setstate(python_state)
            if hash_seed is None:
                os.environ.pop("PYTHONHASHSEED", None)
            else:
                os.environ["PYTHONHASHSEED"] = hash_seed
