"""Plain tables: a small dense autoencoder or VAE on standardised columns, scored by the `mse` rule."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from anomalae.arithmetic import chosen
from anomalae.datasets.splits import split_indices
from anomalae.detectors import described
from anomalae.detectors.batches import agreeing, blocks, noise
from anomalae.errors import ConfigError, DataError
from anomalae.evaluation import conformal
from anomalae.models.tabular import build_for_table, corrupt_rows
from anomalae.models.training import loop
from anomalae.models.training.state import Epoch, Learner, Training, history_lines
from anomalae.runs.environment import choose_device
from anomalae.settings import DEFAULT_ALPHA, Settings
from anomalae.threads import in_own_threads

NARROWEST, WIDEST = 64, 512  # units of the first hidden layer, where none are asked for
WIDEST_CODE = 64  # units of the embedding, likewise
FARTHEST = 1e150  # standard deviations; the square of more is no number
MODELS = ("ae", "vae")
_OF_COLUMNS = ("mean", "scale", "low", "high")  # what is known of each
# What a table has no use for, and the value that says so.
_IMAGES_ONLY = {"views": ("pixels",), "members": 1, "neighbours": 0}


def table_settings(rows: int, features: int, **asked: Any) -> Settings:
    """Settings for a table of this size: widths that fit it, for what is not given (or None).

    The first hidden layer is 4 times as wide as a row, within 64 and 512 units, the second half of that. The
    embedding has half as many units as a row has columns, and no more than a quarter of the rows, nor than 64: a
    bottleneck wider than what the rows span is none. One rebuild, for a second did not help on tables. Raises
    ConfigError for what tables do not have: another model than ae and vae, another score than `mse`, another
    likelihood than `gaussian`, draws for a score, convolutions, views, members, neighbours.

    >>> table_settings(rows=1000, features=30).hidden, table_settings(rows=1000, features=30).latent_dim
    ((120, 60), 15)
    """
    for name, only in (("score", "mse"), ("likelihood", "gaussian"), ("architecture", "dense")):
        if asked.get(name) not in (None, only):
            raise ConfigError(f"{name} {asked[name]!r}: for tables it is {only}; others are for 28x28 images")
    if asked.get("model") not in (None, *MODELS):
        raise ConfigError(
            f"model {asked['model']!r}: for tables it is {' or '.join(MODELS)}; others are for 28x28 images"
        )
    if asked.get("samples") is not None:
        raise ConfigError(f"samples {asked['samples']!r}: the score of a table, mse, draws none")
    for name, none in _IMAGES_ONLY.items():
        value = asked.get(name)
        if value is not None and (tuple(value) if isinstance(value, list) else value) != none:
            raise ConfigError(f"{name} {value!r}: tables have none; they are for 28x28 images")
    wide = max(NARROWEST, min(WIDEST, 4 * features))
    code = max(1, min(WIDEST_CODE, features // 2, rows // 4))
    filled: dict[str, Any] = {
        "hidden": (wide, wide // 2),
        "latent_dim": code,
        "score": "mse",
        "views": ("pixels",),
    }
    if asked.get("model") == "vae":
        filled["likelihood"] = "gaussian"
    return Settings.of(**filled | {name: value for name, value in asked.items() if value is not None})


class TableDetector:
    """What `anomalae.Detector` is for images, for tables: fit on rows, score others, p-values by held-out rows.

    Each column is standardised by the mean and standard deviation of the training rows; a column that is constant
    there keeps its unit. Scores are `mean over columns of (x - y)^2`, x the standardised row and y what the network
    makes of it, float64 (N,), higher = more anomalous. The network is shown no value outside the column's range in
    training, so that it cannot go along with a far one by extrapolating: only the error sees how far that is.

    Scores are computed on the CPU, in double precision; a row's is the same bits alone and among any others.

    device: auto, cpu, cuda or mps, where it is trained.
    threads: CPU threads that it computes by, at least 1; None is one.
    asked: settings by name, see `table_settings`.

    Raises ConfigError for a device that is not there; `fit` does for a setting that tables do not have.

    >>> rows = np.random.default_rng(0).normal(size=(60, 4))
    >>> detector = TableDetector(epochs=5).fit(rows)
    >>> detector.score(rows).shape, detector.p_values(rows[:1] + 100).tolist()
    ((60,), [0.047619047619047616])
    """

    def __init__(self, *, device: str = "auto", threads: int | None = None, **asked: Any) -> None:
        self.device, self.threads, self.asked = choose_device(device), threads, asked
        self.history: list[Epoch] = []
        self._block_sizes: dict[int, tuple[int, ...]] = {}

    def __repr__(self) -> str:
        return described.table_line(self)

    @property
    def threads_used(self) -> int | None:
        """How many threads it computes by."""
        return 1 if self.threads is None else self.threads

    @in_own_threads
    def fit(self, rows: np.ndarray) -> TableDetector:
        """Train on rows, finite numbers (N, features), N at least 3; returns self.

        A tenth of them, at least 40 where there are that many (a third, if that is less), is put aside by the seed
        and serves for nothing but p-values and thresholds; see `anomalae.datasets.splits.split_indices`.

        Raises DataError for fewer than 3 rows and numbers too large to square, TrainingError when the loss is no longer
        finite.
        """
        # On a copy, so that a training that breaks off leaves what was fitted before as it is.
        fitted = copy.copy(self)
        fitted._fit(rows)
        vars(self).update(vars(fitted))
        return self

    def _fit(self, rows: np.ndarray) -> None:
        settings = table_settings(*rows.shape, **self.asked)
        train, validation, calibrating = split_indices(len(rows), settings.seed)
        train = np.sort(np.concatenate([train, validation]))  # nothing here is chosen by a validation loss
        self.settings = settings.for_rows(len(train))
        self._standardise_by(rows[train])
        known = self._standardised(rows[train])
        self.low, self.high = known.min(0), known.max(0)
        network = self.settings.network("pixels")
        model: Any = build_for_table(network, rows.shape[1]).to(self.device)
        learner = Learner.of(network, model, lambda table: (table, table), corrupt_rows)
        training = Training([learner], self.settings.schedule(len(train)), [], chosen(self.device))
        loop.run(training, torch.from_numpy(known).float(), None)
        self.history = training.history
        self._model = model.cpu().double().eval()
        self._block_sizes = {}
        self._calibration = self.score(rows[calibrating])

    @in_own_threads
    def score(self, rows: np.ndarray) -> np.ndarray:
        """Scores, float64 (N,), at least 0."""
        table = torch.from_numpy(self._standardised(rows))
        low, high = torch.from_numpy(self.low), torch.from_numpy(self.high)
        # PyTorch divides the work by the number of threads.
        threads = torch.get_num_threads()
        if threads not in self._block_sizes:
            rows_within = low + noise(len(low)) * (high - low)
            self._block_sizes[threads] = agreeing(lambda part: self._errors(part, low, high), rows_within)
        sizes = self._block_sizes[threads]
        parts = [self._errors(block, low, high)[:count] for block, count in blocks(table, sizes)]
        return torch.cat(parts).numpy()

    def calibration_scores(self) -> np.ndarray:
        """Scores of the rows put aside, float64 (n,)."""
        return self._calibration

    def p_values(self, rows: np.ndarray) -> np.ndarray:
        """Conformal p-values, float64 (N,) in [1/(n+1), 1]; see `anomalae.evaluation.conformal.p_values`."""
        return conformal.p_values(self.score(rows), self._calibration)

    def threshold(self, alpha: float = DEFAULT_ALPHA) -> float | None:
        """The score above which rows are flagged at false-alarm level alpha; None when none can be."""
        return conformal.threshold(self._calibration, alpha)

    # --- keeping ---

    def state(self) -> dict[str, Any]:
        """A fitted detector as plain values and arrays, from which `of_state` makes it again."""
        weights = {name: tensor.numpy() for name, tensor in self._model.state_dict().items()}
        columns = {name: getattr(self, name) for name in _OF_COLUMNS}
        return {
            "asked": dict(self.asked),
            "settings": self.settings.to_dict(),
            "history": history_lines(self.history),
            "columns": columns,
            "weights": weights,
            "calibration": self._calibration,
        }

    @classmethod
    def of_state(cls, state: Mapping[str, Any], *, device: str = "auto") -> TableDetector:
        """The detector that `state` told of: it scores the same, bit for bit. ConfigError for an absent device."""
        detector = cls(device=device, **state["asked"])
        detector.settings = Settings.from_dict(state["settings"])
        detector.history = [Epoch(**line) for line in state["history"]]
        for name in _OF_COLUMNS:
            setattr(detector, name, np.array(state["columns"][name]))
        network: Any = build_for_table(detector.settings.network("pixels"), len(detector.mean))
        detector._model = network.double().eval()
        # Copied: joblib may give memory that must not be written, of which PyTorch warns.
        weights = {name: torch.tensor(array) for name, array in state["weights"].items()}
        detector._model.load_state_dict(weights)
        detector._calibration = state["calibration"]
        return detector

    # --- inside ---

    def _standardise_by(self, rows: np.ndarray) -> None:
        with np.errstate(over="ignore", invalid="ignore"):
            scaler = StandardScaler().fit(rows.astype(np.float64))
        self.mean, self.scale = scaler.mean_, scaler.scale_
        wrong = np.flatnonzero(~(np.isfinite(self.mean) & np.isfinite(self.scale)))
        if wrong.size:
            raise DataError(f"column {wrong[0]}: its values are too large to take their variance")

    def _standardised(self, rows: np.ndarray) -> np.ndarray:
        return np.asarray((rows.astype(np.float64) - self.mean) / self.scale)

    def _errors(self, rows: Tensor, low: Tensor, high: Tensor) -> Tensor:
        return (rows - self._rebuilt(rows, low, high)).clamp(-FARTHEST, FARTHEST).square().mean(1)

    def _rebuilt(self, rows: Tensor, low: Tensor, high: Tensor) -> Tensor:
        rebuilt = [rows]
        with torch.no_grad():
            for _ in range(self.settings.passes or 1):
                rebuilt.append(self._model.reconstruct(rebuilt[-1].clamp(low, high)))
        return torch.stack(rebuilt[1:]).mean(0)
