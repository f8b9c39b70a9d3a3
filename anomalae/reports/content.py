"""Everything a report holds, as plain values and arrays; knows neither model, nor file, nor HTML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from anomalae.evaluation.metrics import Evaluation


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture is one judged image, for the galleries. Without pixels, `problem` says why there are none.

    name: "test image 17", or the path as it was scored.
    label: true class.
    is_anomaly: None where the truth is not known.
    image: uint8 (28, 28).
    reconstruction: float (28, 28) in [0, 1].
    terms: signed terms (28, 28) of the heatmap's rule.
    """

    name: str
    score: float
    p_value: float | None
    flagged: bool
    label: str | None = None
    is_anomaly: bool | None = None
    image: np.ndarray | None = None
    reconstruction: np.ndarray | None = None
    terms: np.ndarray | None = None
    problem: str = ""


@dataclass(frozen=True)
class Gallery:
    """A gallery holds pictures that belong together."""

    title: str
    note: str
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Layer:
    """One layer of a network.

    part: encoder or decoder.
    kind: its class, as in Linear or Conv2d.
    detail: its size, as in 784 → 1,024.
    """

    part: str
    kind: str
    detail: str
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
    """Codes of test images in one or two dimensions.

    points: (N, 1 or 2).
    labels: (N,).
    scores: (N,).
    """

    points: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    axes: tuple[str, str]
    note: str


@dataclass(frozen=True)
class Facts:
    """Facts are what is needed to make the run again, and to see whether it is the same.

    counts: numbers of images: training, validation, calibration, test.
    hashes: SHA-256 of each part of the data.
    verified: whether the hashes are those of the official files.
    seconds: of training.
    machine: device, threads, system.
    """

    commands: tuple[str, ...]
    seed: int
    settings: Mapping[str, Any]
    versions: Mapping[str, str]
    counts: Mapping[str, int]
    hashes: Mapping[str, str]
    verified: bool
    created: str
    seconds: float
    machine: str


@dataclass(frozen=True, eq=False)
class Trained:
    """A run's model, and what it was trained on.

    dataset: as the run records it: a name or a path.
    normal: classes.
    model: in words.
    rule: of the score.
    heat_note: what the heatmaps show, in words.
    heat_scale: the pixel term at which a heatmap's colour is full.
    validation: of a vae: ELBO, its two parts, active units.
    loss_unit: of the history.
    prior: of a vae: draws from the prior, decoded, (N, 28, 28).
    folds: number of folds in which all normal images train and calibrate; 0 where some were put aside for that.
    """

    name: str
    path: str
    dataset: str
    normal: tuple[str, ...]
    anomalous: tuple[str, ...]
    model: str
    rule: str
    heat_note: str
    heat_scale: float
    n_calibration: int
    layers: tuple[Layer, ...]
    history: tuple[EpochLine, ...]
    validation: Mapping[str, float]
    facts: Facts
    loss_unit: str = ""
    prior: np.ndarray | None = None
    folds: int = 0

    @property
    def parameters(self) -> int:
        """The number of weights and biases."""
        return sum(layer.parameters for layer in self.layers)


@dataclass(frozen=True, eq=False)
class Baselines:
    """What `anomalae compare` kept in the run: its rows, and the evaluations of those that worked."""

    rows: tuple[Mapping[str, Any], ...]
    evaluations: Mapping[str, Evaluation]


@dataclass(frozen=True)
class OwnThreshold:
    """A threshold of one's own, from other images than the run's calibration images.

    name: of the calibration.
    n: its images.
    source: where they came from, in words.
    threshold: at the evaluation's alpha; None where nothing can be flagged.
    """

    name: str
    n: int
    source: str
    threshold: float | None


@dataclass(frozen=True, eq=False)
class RunReport:
    """The report of one evaluated run.

    metrics: for metrics.json: the evaluation's numbers, and the run's facts.
    rank: the threshold is the rank-th largest calibration score, raised; None where nothing can be flagged.
    band: in which the false-alarm rate lies 95 times in 100.
    missing: sentences: what the report lacks, and why.
    own: a threshold of one's own, where one was asked for.
    """

    trained: Trained
    evaluation: Evaluation
    metrics: Mapping[str, Any]
    scores_csv: str
    rank: int | None
    band: tuple[float, float] | None
    galleries: tuple[Gallery, ...] = ()
    latent: Latent | None = None
    baselines: Baselines | None = None
    missing: tuple[str, ...] = ()
    own: OwnThreshold | None = None


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
    """The report of scored images whose truth is not known.

    source: the file.
    threshold: an image is flagged if its score is above it.
    alpha: None where something else than the p-value decided.
    """

    trained: Trained
    source: str
    rows: tuple[ScoredRow, ...]
    threshold: float | None
    alpha: float | None
    galleries: tuple[Gallery, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def scores(self) -> np.ndarray:
        """The scores of the rows without an error, float64 (N,)."""
        return np.array([row.score for row in self.rows if row.score is not None], dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Pair:
    """A run against the first one on the same test images, by a paired DeLong test.

    difference: of ROC-AUC, this run's minus the first one's.
    p_value: two-sided.
    """

    name: str
    difference: float
    p_value: float


@dataclass(frozen=True, eq=False)
class ComparisonReport:
    """Several runs side by side.

    differences: sentences: in what data and classes they differ.
    pairs: of the runs with the same test images and the same normal classes as the first.
    """

    runs: tuple[RunReport, ...]
    differences: tuple[str, ...]
    pairs: tuple[Pair, ...]
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class BenchmarkReport:
    """A benchmark's table, and the matrix normal x anomalous where its cells are there.

    matrix: (R, C) mean ROC-AUC over seeds, NaN on the diagonal.
    columns: anomalous classes.
    """

    name: str
    table: Mapping[str, Any]
    matrix: np.ndarray | None = None
    columns: tuple[str, ...] = ()
    baselines: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class StudyReport:
    """A study: a question, the answer that its table gives, figures, and how it was measured.

    name: of the study.
    answer: sentences, the shortest answer first.
    columns: of the table as people see it: (key, title, digits after the point or None).
    rows: of the table, JSON-able; they may have more keys than columns.
    drawings: (name, title, caption, figure, wide).
    method: sentences.
    quick: whether it was made of small networks and few values.
    cells: number of trainings, and the seconds they took together.
    facts: what is needed to measure it again, in words, by name.
    missing: lines: which cells failed, and why.
    """

    name: str
    question: str
    about: str
    answer: tuple[str, ...]
    columns: tuple[tuple[str, str, int | None], ...]
    rows: tuple[Mapping[str, Any], ...]
    drawings: tuple[tuple[str, str, str, Any, bool], ...]
    method: tuple[str, ...]
    quick: bool
    command: str
    cells: tuple[int, float]
    facts: Mapping[str, str]
    missing: tuple[str, ...] = ()

    @property
    def nothing(self) -> bool:
        """Whether every cell failed."""
        return len(self.missing) == self.cells[0]
