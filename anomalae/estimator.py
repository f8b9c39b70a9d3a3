"""Our detectors as PyOD and scikit-learn estimators: images by `Detector`, any other table by a small dense network.

>>> import numpy as np
>>> from anomalae.estimator import AutoencoderDetector
>>> rows = np.random.default_rng(0).normal(size=(60, 4))
>>> detector = AutoencoderDetector(epochs=5).fit(rows)
>>> detector.path_, detector.decision_function([[0, 0, 0, 9.0]]) > detector.threshold_
('table', array([ True]))
"""

from __future__ import annotations

import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import numpy as np
from pyod.models.base import BaseDetector
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from anomalae.detectors.detector import Detector
from anomalae.detectors.tabular import TableDetector
from anomalae.errors import ConfigError
from anomalae.evaluation import conformal
from anomalae.images.check import PIXELS, SIDE
from anomalae.settings import DEFAULT_ALPHA

__all__ = ["AutoencoderDetector", "VAEDetector"]

PATHS = ("auto", "image", "table")
LEAST_ROWS = 3  # to train on one, to calibrate with another
_NOT_SETTINGS = ("contamination", "random_state", "rule", "device", "threads", "path")
GRAY_LEVELS = 255
_KEPT = "_kept_detector"  # in a pickle, in place of `detector_` and `history_`


class _Estimator(BaseDetector):  # type: ignore[misc]  # PyOD is untyped
    """What both estimators share: PyOD's contract on top of a fitted `Detector` or `TableDetector`."""

    _MODEL: ClassVar[str]

    def fit(self, X: Any, y: Any = None) -> _Estimator:
        """Fit on rows or images, most of them normal; returns self. `y` is ignored: no label is ever used.

        X: (N, features) of finite numbers, or images (N, 28, 28) or (N, 1, 28, 28); N at least 3. Raises ValueError
        (as scikit-learn does, or `ConfigError` and `ImageError`, which are ValueErrors) for input or settings out
        of range, TrainingError when the loss is no longer finite.
        """
        rows = self._rows(X, reset=True)
        self._check_contamination()
        self.path_ = self._choose_path(rows)
        self.seed_ = self._seed()
        settings = {k: v for k, v in self.get_params(deep=False).items() if k not in _NOT_SETTINGS}
        settings |= {"model": self._MODEL, "score": self.rule, "seed": self.seed_}
        machine = {"device": self.device, "threads": self.threads}
        self.detector_: Detector | TableDetector
        if self.path_ == "image":
            # Rows may hold anomalies, and folds would let each of them calibrate, at the cost of five trainings.
            self.detector_ = Detector(**machine, **settings).fit(self._usable(rows), conformal="split")
        else:
            self.detector_ = TableDetector(**machine, **settings).fit(self._usable(rows))
        self.history_ = self.detector_.history
        self._set_n_classes(None)
        self.decision_scores_ = self.detector_.score(self._usable(rows))
        self._process_decision_scores()
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """Scores, float64 (N,), higher = more anomalous; X as in `fit`, of the same kind and number of columns."""
        check_is_fitted(self, "decision_scores_")
        return self.detector_.score(self._usable(self._rows(X, reset=False)))

    def score_samples(self, X: Any) -> np.ndarray:
        """Return `-decision_function(X)`, float64 (N,), lower = more anomalous: scikit-learn's sign.

        X: as for `decision_function`.
        """
        return -self.decision_function(X)

    @property
    def offset_(self) -> float:
        """`-threshold_`, in scikit-learn's sign: what has `score_samples(X) < offset_` is flagged."""
        check_is_fitted(self, "threshold_")
        return -float(self.threshold_)

    def fit_predict(self, X: Any, y: Any = None) -> np.ndarray:
        """Fit on X, and return `labels_`: 1 for the share `contamination` of the rows that scores highest, else 0.

        X, y: as for `fit`.
        """
        return self.fit(X).labels_

    def predict_proba(self, X: Any, method: str = "linear", return_confidence: bool = False) -> Any:
        """Scores brought to [0, 1] by PyOD's rules, (N, 2): normal, anomalous. No calibrated probability.

        X: as for `decision_function`.
        method: linear or unify.
        return_confidence: whether PyOD's confidence, (N,) in [0, 1], is returned too.
        """
        check_is_fitted(self, "decision_scores_")
        X = X if hasattr(X, "shape") else np.asarray(X)  # PyOD asks for X.shape
        return super().predict_proba(X, method, return_confidence)

    # --- calibrated verdicts: by rows that were put aside, which PyOD's threshold_ is not -----------------------

    def calibration_scores(self) -> np.ndarray:
        """Scores of the training rows that were put aside, float64 (n,)."""
        check_is_fitted(self, "decision_scores_")
        return self.detector_.calibration_scores()

    def p_values(self, X: Any) -> np.ndarray:
        """Conformal p-values, float64 (N,) in [1/(n+1), 1], small = anomalous: see `anomalae.evaluation.conformal`.

        They hold for training rows that are all normal; anomalies among them make p-values too large, which errs
        on the side of silence.
        """
        return conformal.p_values(self.decision_function(X), self.calibration_scores())

    def calibrated_threshold(self, alpha: float = DEFAULT_ALPHA) -> float | None:
        """The score above which a share alpha of normal rows lies; None when too few were put aside to tell."""
        return conformal.threshold(self.calibration_scores(), alpha)

    def flags(self, X: Any, alpha: float = DEFAULT_ALPHA) -> np.ndarray:
        """Verdicts at false-alarm level alpha, bool (N,): True where `p_values(X) <= alpha`."""
        conformal.check_alpha(alpha)
        return self.p_values(X) <= alpha

    # --- inside -------------------------------------------------------------------------------------------------

    def _rows(self, X: Any, *, reset: bool) -> np.ndarray:
        """X as a checked table (N, features); images lie flat."""
        if hasattr(X, "detach"):  # a torch tensor
            X = X.detach().cpu().numpy()
        if not hasattr(X, "shape"):
            X = np.asarray(X)
        if tuple(X.shape[1:]) in ((SIDE, SIDE), (1, SIDE, SIDE)):
            X = np.asarray(X).reshape(-1, PIXELS)
        return validate_data(self, X, reset=reset, order="C", ensure_min_samples=LEAST_ROWS if reset else 1)

    def _choose_path(self, rows: np.ndarray) -> str:
        if self.path not in PATHS:
            raise ConfigError(f"path {self.path!r}: must be one of {', '.join(PATHS)}")
        if self.path != "auto":
            return self.path
        return "image" if _are_images(rows) else "table"

    def _usable(self, rows: np.ndarray) -> np.ndarray:
        """Rows as the chosen path takes them; what is no image is refused by `Detector` itself."""
        if self.path_ == "table":
            return rows
        if rows.dtype.kind in "biu" and rows.dtype != np.uint8 and rows.min() >= 0 and rows.max() <= 1:
            rows = rows.astype(np.float32)
        return np.require(rows, requirements="W")  # PyTorch warns of memory that it must not write

    def _seed(self) -> int:
        if isinstance(self.random_state, (int, np.integer)):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _check_contamination(self) -> None:
        share = self.contamination
        if isinstance(share, (int, float)):
            if not 0 < share <= 0.5:
                raise ConfigError(f"contamination {share}: must be above 0 and at most 0.5")
        elif not (hasattr(share, "fit") and hasattr(share, "predict")):
            raise ConfigError(f"contamination {share!r}: must be a float, or a thresholder of PyThresh")

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled: of a fitted detector plain values alone, of images the files of its run.

        So a pickle does not depend on where our classes are written, nor on an accelerator.
        """
        state: dict[str, Any] = dict(super().__getstate__())
        detector = state.pop("detector_", None)
        if detector is not None:
            del state["history_"]  # the detector has it
            is_run = isinstance(detector, Detector)
            state[_KEPT] = ("run", _run_files(detector)) if is_run else ("table", detector.state())
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({name: value for name, value in state.items() if name != _KEPT})
        if _KEPT not in state:
            return
        form, kept = state[_KEPT]
        read: Any = _read_run if form == "run" else TableDetector.of_state
        try:
            self.detector_ = read(kept, device=self.device)
        except ConfigError:  # a device that this machine lacks
            self.detector_ = read(kept, device="cpu")
        # Threads are of the process, and it is not for a pickle to change them.
        self.detector_.threads = self.threads
        self.history_ = self.detector_.history


class AutoencoderDetector(_Estimator):
    """A denoising autoencoder; rows and images are scored by how badly it rebuilds them.

    Images, which are rows of 784 values in [0, 1] or `uint8` and arrays (N, 28, 28) or (N, 1, 28, 28) of such values,
    take the image path: `anomalae.Detector` with these settings, the same scores exactly. Anything else takes the
    table path: a small dense network on standardised columns (`anomalae.detectors.tabular.TableDetector`).

    contamination: share of the training rows taken for anomalous, in (0, 0.5]; gives `threshold_` and `labels_`, as
        in all of PyOD. Or a thresholder of PyThresh. It plays no part in training nor in the calibrated verdicts.
    architecture, latent_dim, hidden, epochs, batch_size, learning_rate, weight_decay, noise, passes: see
        `anomalae.Settings`. None takes what was measured to be good for images, or what suits the table's size (see
        `anomalae.detectors.tabular.table_settings`). Tables have the dense architecture alone.
    rule: the score, `Settings.score`, under a name that scikit-learn has not taken; tables have `mse` alone.
    random_state: int (the seed; the default gives the same scores for the same rows, every time), a NumPy
        RandomState, or None for another outcome each time.
    device: auto, cpu, cuda or mps.
    threads: CPU threads that it computes by, as for `anomalae.Detector`.
    path: auto, or image or table, to have that whatever the values look like.

    Fitted: `decision_scores_` float64 (N,), higher = more anomalous; `threshold_`; `labels_` int (N,), 1 = anomalous;
    `path_` (image or table); `detector_` (the `Detector`, to be saved as a run, or the `TableDetector`); `history_`
    (epochs); `seed_`; `n_features_in_`, and `feature_names_in_` where X has names. Settings are checked by `fit`.

    Signs are PyOD's: higher scores are more anomalous. The one exception are two names of scikit-learn's, which keep
    its sign: `score_samples(X)` is `-decision_function(X)`, and `offset_` is `-threshold_`.

    >>> rows = np.random.default_rng(0).normal(size=(60, 4))
    >>> detector = AutoencoderDetector(epochs=5).fit(rows)
    >>> detector.predict(rows + 100).tolist() == [1] * 60
    True
    >>> bool(np.all(detector.score_samples(rows + 100) < detector.offset_))
    True
    """

    _MODEL = "ae"

    def __init__(
        self,
        contamination: Any = 0.1,
        *,
        architecture: str = "dense",
        latent_dim: int | None = None,
        hidden: tuple[int, ...] | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float = 2e-3,
        weight_decay: float = 1e-4,
        noise: float = 1.0,
        rule: str | None = None,
        passes: int | None = None,
        random_state: Any = 0,
        device: str = "auto",
        threads: int | None = None,
        path: str = "auto",
    ) -> None:
        super().__init__()  # PyOD's checks contamination at once, scikit-learn asks that `fit` does
        self.contamination = contamination
        self.architecture = architecture
        self.latent_dim = latent_dim
        self.hidden = hidden
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.noise = noise
        self.rule = rule
        self.passes = passes
        self.random_state = random_state
        self.device = device
        self.threads = threads
        self.path = path


class VAEDetector(AutoencoderDetector):
    """A variational autoencoder; images are scored by minus the ELBO, tables by their squared error.

    It has all that `AutoencoderDetector` has, `score_samples` and `offset_` in scikit-learn's sign included, and takes
    three arguments more.

    likelihood, beta, samples: see `anomalae.Settings`. Tables have the likelihood `gaussian` alone (one learned
        sigma), and `samples` is the image path's.

    >>> rows = np.random.default_rng(0).normal(size=(60, 4))
    >>> VAEDetector(epochs=5, beta=0.5).fit(rows).decision_function(rows).shape
    (60,)
    """

    _MODEL = "vae"

    def __init__(
        self,
        contamination: Any = 0.1,
        *,
        architecture: str = "dense",
        latent_dim: int | None = None,
        hidden: tuple[int, ...] | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float = 2e-3,
        weight_decay: float = 1e-4,
        noise: float = 1.0,
        rule: str | None = None,
        likelihood: str | None = None,
        beta: float | None = None,
        samples: int | None = None,
        passes: int | None = None,
        random_state: Any = 0,
        device: str = "auto",
        threads: int | None = None,
        path: str = "auto",
    ) -> None:
        super().__init__(
            contamination,
            architecture=architecture,
            latent_dim=latent_dim,
            hidden=hidden,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            noise=noise,
            rule=rule,
            passes=passes,
            random_state=random_state,
            device=device,
            threads=threads,
            path=path,
        )
        self.likelihood = likelihood
        self.beta = beta
        self.samples = samples


def _run_files(detector: Detector) -> dict[str, bytes]:
    """The files of the detector's run, by name."""
    with TemporaryDirectory() as place:
        folder = Path(place) / "run"
        detector.save(folder)
        return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def _read_run(kept: dict[str, bytes], device: str) -> Detector:
    """The detector of a run's files."""
    with TemporaryDirectory() as place:
        for name, content in kept.items():
            (Path(place) / name).write_bytes(content)
        return Detector.load(place, device=device)


def _are_images(rows: np.ndarray) -> bool:
    """Whether rows (N, features) are 28x28 images: 784 values, uint8 or in [0, 1]."""
    if rows.shape[1] != PIXELS:
        return False
    least, most = rows.min(), rows.max()
    if rows.dtype == np.uint8 or (least >= 0 and most <= 1):
        return True
    if least >= 0 and most <= GRAY_LEVELS and np.array_equal(rows, np.rint(rows)):
        warnings.warn(
            f"784 columns of whole numbers from 0 to {most:g} look like images, but as {rows.dtype} they are taken "
            "for a table: give X.astype('uint8') for images, or path='table' if they are none",
            stacklevel=4,  # whoever called fit
        )
    return False
