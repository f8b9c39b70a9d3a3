"""Everything a report holds, as plain values and arrays; knows neither model, nor file, nor HTML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from anomalae.evaluation.metrics import Evaluation


@dataclass(frozen=True, eq=False)
class Picture:
    """One judged image, for the galleries. Without pixels, `problem` says why there are none."""

    name: str  # "test image 17", or the path as it was scored
    score: float
    p_value: float | None
    flagged: bool
    label: str | None = None  # true class
    is_anomaly: bool | None = None  # None where the truth is not known
    image: np.ndarray | None = None  # uint8 (28, 28)
    reconstruction: np.ndarray | None = None  # float (28, 28) in [0, 1]
    terms: np.ndarray | None = None  # signed terms (28, 28) of the heatmap's rule
    problem: str = ""


@dataclass(frozen=True)
class Gallery:
    """Pictures that belong together."""

    title: str
    note: str
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Layer:
    """One layer of a network."""

    part: str  # encoder, decoder
    kind: str  # Linear, Conv2d, ...
    detail: str  # 784 → 1,024
    parameters: int


@dataclass(frozen=True)
class EpochLine:
    """One epoch of the history: what `anomalae.plots.history` draws."""

    epoch: int
    loss: float
    validation_loss: float | None
    learning_rate: float


@dataclass(frozen=True, eq=False)
class Latent:
    """Codes of test images in one or two dimensions."""

    points: np.ndarray  # (N, 1 or 2)
    labels: np.ndarray  # (N,)
    scores: np.ndarray  # (N,)
    axes: tuple[str, str]
    note: str


@dataclass(frozen=True)
class Facts:
    """What is needed to make the run again, and to see whether it is the same."""

    commands: tuple[str, ...]
    seed: int
    settings: Mapping[str, Any]
    versions: Mapping[str, str]
    counts: Mapping[str, int]  # images: training, validation, calibration, test
    hashes: Mapping[str, str]  # SHA-256 of each part of the data
    verified: bool  # whether these are those of the official files
    created: str
    seconds: float  # of training
    machine: str  # device, threads, system


@dataclass(frozen=True, eq=False)
class Trained:
    """A run: its model and what it was trained on."""

    name: str
    path: str
    dataset: str  # as the run records it: a name or a path
    normal: tuple[str, ...]  # classes
    anomalous: tuple[str, ...]
    model: str  # in words
    rule: str  # of the score
    heat_rule: str  # of the heatmaps: `rule`, or `smooth` where that is no sum over pixels
    heat_scale: float  # the pixel term at which a heatmap's colour is full
    n_calibration: int
    layers: tuple[Layer, ...]
    history: tuple[EpochLine, ...]
    validation: Mapping[str, float]  # of a vae: ELBO, its two parts, active units
    facts: Facts
    loss_unit: str = ""  # of the history
    prior: np.ndarray | None = None  # of a vae: draws from the prior, decoded, (N, 28, 28)

    @property
    def parameters(self) -> int:
        """Number of weights and biases."""
        return sum(layer.parameters for layer in self.layers)


@dataclass(frozen=True, eq=False)
class Baselines:
    """What `anomalae compare` kept in the run: its rows, and the evaluations of those that worked."""

    rows: tuple[Mapping[str, Any], ...]
    evaluations: Mapping[str, Evaluation]


@dataclass(frozen=True, eq=False)
class RunReport:
    """The report of one evaluated run."""

    trained: Trained
    evaluation: Evaluation
    metrics: Mapping[str, Any]  # for metrics.json: the evaluation's numbers, and the run's facts
    scores_csv: str
    rank: (
        int | None
    )  # the threshold is the rank-th largest calibration score; None where nothing can be flagged
    band: tuple[float, float] | None  # in which the false-alarm rate lies 95 times in 100
    galleries: tuple[Gallery, ...] = ()
    latent: Latent | None = None
    baselines: Baselines | None = None
    missing: tuple[str, ...] = ()  # sentences: what the report lacks, and why


# What `anomalae score --output FILE.csv` writes of an image, and a report beside its page.


@dataclass(frozen=True)
class ScoredRow:
    """A line of what `anomalae score` wrote: a verdict, or the error that there was instead."""

    path: str
    score: float | None
    p_value: float | None
    flagged: bool
    error: str


@dataclass(frozen=True, eq=False)
class ScoredReport:
    """The report of scored images whose truth is not known."""

    trained: Trained
    source: str  # the file
    rows: tuple[ScoredRow, ...]
    threshold: float | None  # an image is flagged if its score is above it
    alpha: float | None  # None where something else than the p-value decided
    galleries: tuple[Gallery, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def scores(self) -> np.ndarray:
        """float64 (N,), of the rows without an error."""
        return np.array([row.score for row in self.rows if row.score is not None], dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Pair:
    """A run against the first one on the same test images, by a paired DeLong test."""

    name: str
    difference: float  # of ROC-AUC, this run's minus the first one's
    p_value: float  # two-sided


@dataclass(frozen=True, eq=False)
class ComparisonReport:
    """Several runs side by side."""

    runs: tuple[RunReport, ...]
    differences: tuple[str, ...]  # sentences: in what data and classes they differ
    pairs: tuple[Pair, ...]  # of the runs with the same test images and the same normal classes as the first
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class BenchmarkReport:
    """A benchmark's table, and the matrix normal x anomalous where its cells are there."""

    name: str
    table: Mapping[str, Any]
    matrix: np.ndarray | None = None  # (R, C) mean ROC-AUC over seeds, NaN on the diagonal
    columns: tuple[str, ...] = ()  # anomalous classes
    baselines: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
