"""A finished run in its folder: its detector, its data, how well it separates them, and what was kept of that."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from anomalae import cards, runs, text
from anomalae.datasets.load import (
    DATASETS,
    Dataset,
    OneClassSplit,
    Part,
    is_kept,
    is_outside,
    is_there,
    load_dataset,
    read_official,
)
from anomalae.datasets.official import SOURCES
from anomalae.detectors.detector import Detector
from anomalae.detectors.verifying import Verification, verify
from anomalae.errors import AnomalaeError, ConfigError, DataError, PathWarning
from anomalae.evaluation import conformal
from anomalae.evaluation.metrics import Evaluation, evaluate
from anomalae.images.sources import Canonical
from anomalae.runs import results
from anomalae.runs.record import Data, Record, read_record
from anomalae.settings import DEFAULT_ALPHA

# What is scored of a data set; `all` of one that the run has not seen.
PARTS = ("test", "all")
# Called with the name of a file, the bytes that are there, and those of the whole file where that is known.
Downloads = Callable[[str, int, int | None], None]


class Run:
    """One finished run, read from its folder as its parts are asked for, and each part once.

    folder: the run's folder.
    device: auto, cpu, cuda or mps, where its detector computes.
    threads: CPU threads, as for `Detector`.
    data_dir: where its data set is looked for and downloaded to; None is as for `load_dataset`, then where it was found
        for the training, which is only read.
    progress: called while files are downloaded.

    >>> Run(Path("runs/mnist-0-ae")).name
    'mnist-0-ae'
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        device: str = "auto",
        threads: int | None = None,
        data_dir: str | None = None,
        progress: Downloads | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.device, self.threads = device, threads
        self.data_dir, self.progress = data_dir, progress
        self._dataset: Dataset | None = None
        self._evaluation: Evaluation | None = None

    @classmethod
    def open(
        cls,
        run: str | None = None,
        runs_dir: str | Path = "runs",
        *,
        device: str = "auto",
        threads: int | None = None,
        data_dir: str | None = None,
        progress: Downloads | None = None,
    ) -> Run:
        """Find a finished run and return it; BundleError where there is none, or it is not finished.

        run: a name inside `runs_dir`, or a path; None is the newest finished run.
        runs_dir: folder that holds the runs.
        device, threads, data_dir, progress: as for the constructor.
        """
        folder = runs.resolve(run, Path(runs_dir))
        return cls(folder, device=device, threads=threads, data_dir=data_dir, progress=progress)

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r})"

    def _repr_html_(self) -> str | None:
        try:
            settings, data = self.record.settings, self.record.data
            kept = results.read_evaluation_document(self.folder)
        except AnomalaeError:
            # A notebook shows the line then; what is wrong is said by whoever needs the run.
            return None
        values = {
            "model": f"{settings.short} ({settings.kind.title})",
            "score": settings.rule,
            "data": data.name or "arrays",
            "normal": text.listed(data.normal),
            "images": f"{text.count(data.n_train)} training, {text.count(data.n_test)} test",
            "test ROC-AUC": kept
            and f"{text.number(kept['roc_auc'])} {text.interval(kept['roc_auc_interval'], brackets=True)}",
            "trained": f"{text.moment(self.record.created)}, {text.duration(self.record.seconds)}",
            "folder": self.folder,
        }
        return cards.card(f"Run {self.name}", cards.facts(values))

    @property
    def name(self) -> str:
        """The name of the run's folder."""
        return self.folder.name or self.folder.resolve().name

    @cached_property
    def record(self) -> Record:
        """Everything that `config.json` holds. BundleError for a folder that is no finished run."""
        return read_record(self.folder)

    @cached_property
    def detector(self) -> Detector:
        """The run's detector. BundleError, naming file and fault, for a run that is not whole and sound."""
        return Detector.load(self.folder, device=self.device, threads=self.threads)

    def dataset(self, data_dir: str | None = None, progress: Downloads | None = None) -> Dataset:
        """Load the data set that the run was trained on, hashes compared.

        data_dir, progress: instead of the constructor's.

        Raises DataError when the data set is gone or has changed, and for a run that was trained on arrays.
        """
        if self._dataset is None:
            self._dataset = reload_dataset(
                self.record.data, data_dir or self.data_dir, progress or self.progress
            )
        return self._dataset

    def kept_evaluation(self) -> Evaluation | None:
        """Read the evaluation that the run keeps; None where it keeps none. BundleError for files that are broken.

        Verdicts in it are those of this version, whichever wrote it: a score is flagged as `Detector.flags` would.
        """
        if self._evaluation is None:
            kept = results.read_evaluation(self.folder)
            self._evaluation = None if kept is None else results.judged_today(self.folder, kept)
        return self._evaluation

    def evaluation(
        self,
        alpha: float = DEFAULT_ALPHA,
        *,
        on_scored: Callable[[int], None] = lambda done: None,
    ) -> Evaluation:
        """Return the evaluation that the run keeps, made and kept first where there is none.

        alpha: false-alarm level of an evaluation made now; one that is kept has its own.
        on_scored: called now and then with the number of images scored.

        Raises DataError where there is none and the data are gone, BundleError for a broken run.
        """
        kept = self.kept_evaluation()
        return self.evaluate(alpha, keep=True, on_scored=on_scored) if kept is None else kept

    def evaluate(
        self,
        alpha: float = DEFAULT_ALPHA,
        *,
        rule: str | None = None,
        dataset: Dataset | None = None,
        part: str = "test",
        calibration: str | None = None,
        keep: bool = False,
        on_scored: Callable[[int], None] = lambda done: None,
    ) -> Evaluation:
        """Score labelled images anew, and compare the scores with the truth of the one-class problem.

        alpha: false-alarm level, above 0 and below 1.
        rule: another rule of the run; None is its own.
        dataset: another data set with the run's normal classes; None is the run's own.
        part: `test`, or `all` for every image of another data set, on whose train part the run was not trained.
        calibration: name of one of the detector's `calibrations`, by which it is judged; None is the run's own.
        keep: whether the run keeps the result, as `evaluation.json` and `scores.csv`; of its own data, rule and
            calibration only.
        on_scored: called now and then with the number of images scored.

        Raises ConfigError for a rule or calibration that the run lacks, for another part, and where `keep` is asked of
        another rule, data set or calibration; BundleError for a broken calibration; DataError where the data are gone,
        or lack the run's classes, for all of the run's own data, and for what has changed in its place.
        """
        if keep and not (dataset is None and self.is_own_rule(rule) and calibration is None):
            raise ConfigError(
                "keep: a run keeps the evaluation of its own data set, score and calibration only"
            )
        self.detector.calibration_scores(rule, calibration=calibration)
        if part not in PARTS:
            raise ConfigError(f"part {part!r}: must be one of {', '.join(PARTS)}", setting="part")
        if dataset is None:
            dataset = self.dataset()
        else:
            check_classes(dataset, self.record.data.normal)
            check_unchanged(dataset, self.record.data)
        if part == "all":
            check_unseen(dataset, self.record.data.name, self.record.data.hashes)
        scored = dataset.test if part == "test" else dataset.whole
        evaluation = evaluate_part(
            self.detector, scored, rule, alpha=alpha, calibration=calibration, on_scored=on_scored
        )
        if keep:
            self.keep(evaluation)
        return evaluation

    def keep(self, evaluation: Evaluation) -> None:
        """Keep an evaluation in the run's folder, in place of the one that is there.

        evaluation: of the run's own data set and rule, as `evaluate` returns it.

        Raises BundleError where the folder cannot be written; the evaluation is still there.
        """
        results.write_evaluation(self.folder, self.document(evaluation), evaluation)
        self._evaluation = evaluation

    @property
    def kept_alpha(self) -> float | None:
        """The alpha of the evaluation that the run keeps; None where it keeps none that can be read."""
        return results.read_alpha(self.folder)

    def is_own_rule(self, rule: str | None) -> bool:
        """Tell whether a rule, None being the default one, is that by which the run judges."""
        return rule in (None, self.record.settings.rule)

    def document(
        self,
        evaluation: Evaluation,
        *,
        rule: str | None = None,
        dataset: Dataset | None = None,
        part: str = "test",
        calibration: str | None = None,
    ) -> dict[str, Any]:
        """Return an evaluation of this run as JSON-able values, with whose it is.

        evaluation: by this run.
        rule, dataset, part, calibration: those it was made with, as for `evaluate`.
        """
        data = self.record.data
        folds = bool(data.folds) and calibration is None
        return results.evaluation_document(
            evaluation,
            # Where no image is anomalous the rate is all there is, and stands beside what is expected of it.
            band=None if evaluation.n_anomalous else self.false_alarm_band(evaluation, calibration),
            run=self.name,
            dataset=dataset.name if dataset is not None else data.name or "",
            normal=data.normal,
            rule=rule or self.record.settings.rule,
            part=part,
            calibration=calibration,
            proved_rate=data.proved_rate(evaluation.alpha) if folds else None,
        )

    def false_alarm_band(
        self, evaluation: Evaluation, calibration: str | None = None
    ) -> tuple[float, float] | None:
        """Return where the false-alarm rate of images like the training ones lies 95 times in 100.

        evaluation: by this run; without a threshold or a normal image there is no such band, nor by folds, whose
            images are no calibration set that was put aside, and None is returned.
        calibration: that it was judged by; None is the run's own.
        """
        if evaluation.threshold is None or not evaluation.n_normal:
            return None
        if calibration is not None:
            n = self.detector.calibrations[calibration].n
        elif self.record.data.folds:
            return None
        else:
            n = self.record.data.n_calibration
        return conformal.false_alarm_band(n, evaluation.n_normal, evaluation.alpha)

    def verify(self) -> Verification:
        """Check the run's files by their hashes, its format, its weights, and how its probe scores.

        Returns what was found; see `anomalae.detectors.verify`. Raises BundleError for a folder that is no finished
        run.
        """
        return verify(self.folder, device=self.device, threads=self.threads)

    @property
    def comparison(self) -> results.Comparison | None:
        """The comparison with baselines that the run keeps; None where none was made."""
        return results.read_comparison(self.folder)

    def hold(self, detector: Detector, dataset: Dataset) -> None:
        """Take up a detector and a data set that are there already, instead of reading them.

        detector: the one that was written into the folder.
        dataset: the one it was trained on.
        """
        self.detector = detector
        self._dataset = dataset


def describe(dataset: Dataset, split: OneClassSplit, root: str | None = None) -> Data:
    """Return the record of what a run on this split was trained on."""
    provenance = dataset.provenance
    return Data(
        name=dataset.name,
        normal=split.normal,
        anomalous=split.anomalous,
        seed=split.seed,
        n_test=len(split.test),
        root=root if root is not None else provenance.get("root"),
        preprocess=provenance.get("preprocess", "auto"),
        polarity=provenance.get("polarity", "auto"),
        hashes=provenance["sha256"],
        verified=provenance.get("verified", False),
    )


def reload_dataset(data: Data, data_dir: str | None = None, progress: Downloads | None = None) -> Dataset:
    """Load the data set a run was trained on, hashes compared.

    data: of the run, which may come from anybody.
    data_dir: as for `load_dataset`. What is missing is downloaded to there, or to where data sets are looked for, and
        never to where the run says that it found them.
    progress: called while files are downloaded.

    A path of the run outside of these is told by a PathWarning, then read.

    Raises DataError when the data are gone or have changed.
    """
    if data.name is None:
        raise DataError("this run was trained on arrays, not on a data set", advice="dataset")
    if data.name not in DATASETS and not is_there(data.name):
        raise DataError(f"data set {data.name}: the folder or file that this run was trained on is gone")
    dataset = None
    if data.name in SOURCES:
        # Looked for where nothing is written, before anything is downloaded.
        if data_dir is None and data.root is not None and not is_kept(data.name):
            _tell_outside(data.root)
            dataset = read_official(data.name, data.root)
    elif data.name not in DATASETS and is_outside(data.name):
        if not {"train", "test"} <= set(data.hashes):
            what = f"data set {text.printable(data.name)}: is not read"
            raise DataError(f"{what}, for the run that names it has no hashes of it", advice="dataset")
        _tell_outside(data.name)
    if dataset is None:
        dataset = load_dataset(
            data.name,
            data_dir,
            preprocess=data.preprocess,
            polarity=data.polarity,
            progress=progress,
            # They were given when the run was trained, and the hashes say that nothing has changed since.
            warn=lambda message: None,
        )
    for part, value in data.hashes.items():
        if dataset.provenance["sha256"].get(part) != value:
            raise DataError(f"data set {data.name}: its {part} part is not the one this run was trained on")
    return dataset


def _tell_outside(path: str) -> None:
    """Tell of a path that only a run names, before it is read."""
    if is_outside(path):
        line = f"data are read from {text.printable(path)}, as the run says"
        warnings.warn(line, PathWarning, stacklevel=3)


def check_classes(dataset: Dataset, normal: tuple[int | str, ...]) -> None:
    """Raise DataError unless the data set has all of a run's normal classes."""
    if not normal:
        raise DataError("this run was trained on arrays: it does not know which classes are normal")
    missing = [str(name) for name in normal if str(name) not in {str(known) for known in dataset.classes}]
    if missing:
        known = ", ".join(str(name) for name in dataset.classes)
        raise DataError(
            f"data set {dataset.name}: no class {', '.join(missing)}, normal in this run; it has {known}"
        )


def check_unseen(dataset: Dataset, name: str | None, hashes: Mapping[str, str]) -> None:
    """Raise DataError if a data set is the one that was trained on, whose train part can judge nothing.

    name, hashes: of the data that were trained on, the hashes by part.
    """
    if dataset.name == name or hashes.get("train") in dataset.provenance["sha256"].values():
        raise DataError(
            f"data set {dataset.name}: not all of it can be scored, for its train part is what was trained on"
        )


def check_unchanged(dataset: Dataset, data: Data) -> None:
    """Raise DataError if a data set lies where the run's own lay, and is divided in another way by now."""
    hashes = dataset.provenance["sha256"]
    if dataset.name == data.name and any(hashes.get(part) != value for part, value in data.hashes.items()):
        raise DataError(
            f"data set {text.printable(dataset.name)}: has changed since this run was trained on it, so its test part "
            "may hold images that were trained on"
        )


def truth(labels: np.ndarray, normal: tuple[int | str, ...]) -> np.ndarray:
    """Return `is_anomaly` of each label: bool (N,), True where the class is not one of the normal ones."""
    return ~np.isin(labels.astype(str), [str(name) for name in normal])


def evaluate_part(
    detector: Detector,
    part: Part,
    rule: str | None = None,
    *,
    alpha: float,
    calibration: str | None = None,
    on_scored: Callable[[int], None] = lambda done: None,
) -> Evaluation:
    """Score a labelled part by a rule and compare the scores with the truth of the one-class problem."""
    scores = detector.score(Canonical(part.images), rule, on_scored=on_scored)
    return evaluate_scores(detector, scores, part.labels, rule, alpha=alpha, calibration=calibration)


def evaluate_scores(
    detector: Detector,
    scores: np.ndarray,
    labels: np.ndarray,
    rule: str | None = None,
    *,
    alpha: float,
    calibration: str | None = None,
) -> Evaluation:
    """Compare scores that are there already with the truth, as `evaluate_part` does."""
    return evaluate(
        scores,
        truth(labels, detector.data.normal),
        labels,
        p_values=conformal.p_values(scores, detector.calibration_scores(rule, calibration=calibration)),
        alpha=alpha,
        threshold=detector.threshold(alpha, rule, calibration=calibration),
    )
