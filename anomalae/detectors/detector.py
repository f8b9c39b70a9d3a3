"""The detector: fit on normal images, score others, say which do not belong."""

from __future__ import annotations

import dataclasses
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch

from anomalae import runs
from anomalae.datasets.splits import choose_folds, split_indices
from anomalae.detectors import described, fitting, saving
from anomalae.detectors.batches import SCORING_BATCH, batches
from anomalae.detectors.ensemble import Ensemble
from anomalae.detectors.folds import FoldEnsemble
from anomalae.detectors.neighbours import Neighbours
from anomalae.detectors.saving import Fitted
from anomalae.detectors.starting import Start
from anomalae.errors import BundleError, ConfigError, ImageWarning, PartError
from anomalae.evaluation import conformal
from anomalae.images.canonical import check_choices
from anomalae.images.check import SIDE
from anomalae.images.sources import Preparation, Shape, gather_images, stream_images
from anomalae.models.training.state import Epoch, Training
from anomalae.plugins import SCORES
from anomalae.runs.environment import Environment, choose_device
from anomalae.runs.record import Data
from anomalae.settings import DEFAULT_ALPHA, SettingArguments, Settings, takes_settings
from anomalae.threads import check_threads, in_own_threads, limited

Arrays = dict[str, np.ndarray]


class Detector:
    """A one-class detector: an autoencoder trained on normal images, with scores calibrated on others of them.

    Images are given in any of these forms: an array or tensor (N, 28, 28), (N, 1, 28, 28) or (N, 784), `uint8` or
    floats in [0, 1], light ink on a dark ground; one image of these, a PIL image, the path of a file or folder; a list
    of these; a DataLoader or any iterable of batches, each of them images or a tuple whose first part they are.
    Files and PIL images of any size are brought to that form; arrays too where `fit` was asked to `preprocess`.

    Scores are float64 (N,), higher = more anomalous.

    device: auto, cpu, cuda or mps, with a number as in `cuda:1`, or a `torch.device`.
    threads: CPU threads that it computes by, of PyTorch, OpenMP, BLAS and numba, at least 1. None is one for dense
        networks alone, which more made no faster, and leaves them as they are for others. After each call they are what
        they were before.

    All other arguments are settings: each is listed below with its range and default (see `anomalae.Settings`).

    Raises ConfigError for a setting that is unknown or out of its range, and for a device that is not there.

    >>> from anomalae import Detector, load_dataset
    >>> split = load_dataset("digits").one_class(normal=[0])
    >>> detector = Detector(model="vae", epochs=1, hidden=(16,), samples=2).fit(split.train.images)
    >>> detector.score(split.test.images[:5]).shape
    (5,)
    """

    @takes_settings
    def __init__(
        self,
        *,
        device: str | torch.device = "auto",
        threads: int | None = None,
        **settings: Unpack[SettingArguments],
    ) -> None:
        """Take the settings; nothing is trained yet."""
        self.asked = Settings.of(**settings)
        self.device = choose_device(device)
        self.threads = check_threads(threads)
        self._fitted: Fitted | None = None
        # Name of the folder that it was read from or written into.
        self._run = ""

    def __repr__(self) -> str:
        return described.line(self)

    def _repr_html_(self) -> str:
        return described.card(self)

    # --- what it is -------------------------------------------------------------------------------------------

    @property
    def settings(self) -> Settings:
        """The settings that were asked for; once fitted, with the epochs and the batch size that were used."""
        return self.asked if self._fitted is None else self._fitted.record.settings

    @property
    def data(self) -> Data:
        """What it was trained on."""
        return Data() if self._fitted is None else self._fitted.record.data

    @property
    def environment(self) -> Environment:
        """The machine it was trained on."""
        return Environment() if self._fitted is None else self._fitted.record.environment

    @property
    def threads_used(self) -> int | None:
        """How many threads it computes by; None for as many as PyTorch and the others are set to."""
        dense_alone = self.settings.architecture == "dense" and not self.settings.neighbours
        return 1 if self.threads is None and dense_alone else self.threads

    @property
    def parts(self) -> dict[str, str]:
        """Where those parts come from that do not come with anomalae, as in {"model convnet": "my-package 1.0"}."""
        return {} if self._fitted is None else self._fitted.record.parts

    @property
    def start(self) -> dict[str, str]:
        """With whose weights its training began: name of the `run` and hash of its `weights`; else empty."""
        return {} if self._fitted is None else self._fitted.record.start

    @property
    def created(self) -> str:
        """When its training began, ISO 8601, UTC; empty before."""
        return "" if self._fitted is None else self._fitted.record.created

    @property
    def validation(self) -> dict[str, float]:
        """Of a density: ELBO, its two parts on held-out normals in nats, and the number of active units."""
        return {} if self._fitted is None else self._fitted.record.validation

    @property
    def history(self) -> list[Epoch]:
        """A line an epoch."""
        return [] if self._fitted is None else self._fitted.history

    @property
    def rules(self) -> tuple[str, ...]:
        """Names of the scores this detector has; `settings.rule` is the one it uses unless told otherwise."""
        return self.asked.rules if self._fitted is None else tuple(self._fitted.calibration)

    @property
    def n_calibration(self) -> int:
        """Number of calibration images behind thresholds and p-values."""
        return len(self.calibration_scores())

    @property
    def calibrations(self) -> dict[str, runs.OwnCalibration]:
        """Calibrations by images of one's own, by name; see `calibrate`."""
        return {} if self._fitted is None else dict(self._fitted.own_calibrations)

    @property
    def fingerprint(self) -> str:
        """What tells this training from any other: SHA-256 of the scores of its calibration images, hexadecimal."""
        return self._whole.fingerprint

    # --- training ---------------------------------------------------------------------------------------------

    def fit(
        self,
        train: Any,
        validation: Any = None,
        calibration: Any = None,
        *,
        conformal: str = "auto",
        preprocess: str | None = None,
        polarity: str | None = None,
        data: Data | None = None,
        folder: Path | None = None,
        resume: bool = False,
        start: Detector | None = None,
        on_epoch: Callable[[Training], None] = lambda state: None,
        on_batch: Callable[[int, float], None] = lambda done, loss: None,
        on_scored: Callable[[int], None] = lambda done: None,
    ) -> Detector:
        """Train on normal images, in any of the forms that the class names; labels in them are passed over.

        train: with these alone the images are split by the seed as `conformal` says; a loader that shuffles gives
            another split each time. A DataLoader is read once, into uint8.
        validation: give the validation loss, and what the members of an ensemble are standardised by (training images
            do where there are none).
        calibration: serve for nothing but thresholds and p-values.
        conformal: `split` puts some of the images aside to validate and calibrate (see
            `anomalae.datasets.split_indices`). `cross` makes five folds: each image trains four detectors and
            calibrates the fifth, and an image's score is how many of all it is above, with a fraction (see
            `anomalae.evaluation.cross_conformal`). `auto` is `cross` with fewer than 400 images, else `split`.
            Where calibration images are given, nothing is split.
        preprocess: `resize`, `mnist` or `auto` (see `anomalae.images.canonical.preprocess`) brings arrays of any size,
            grey (H, W) or in colour (H, W, C) or (C, H, W), to canonical form, with an ImageWarning. It is kept with
            the detector, which does the same to all images that it is given. None takes arrays as they are, and files
            and PIL images by `auto`.
        polarity: tone of the ink in what is preprocessed: `light`, `dark`, or None or `auto` to find out.
        data: where the images came from, for the record.
        folder: an existing folder in which each epoch leaves a checkpoint (of epochs too short for that, as many as
            take a tenth of the time).
        resume: go on from the folder's checkpoint, ending with the weights of an uninterrupted training, bit for bit
            (same machine, versions, threads).
        start: a fitted detector with networks of the same shapes, with whose weights the training begins; None begins
            with weights drawn by the seed.
        on_epoch, on_batch: see `anomalae.models.training.loop.run`.
        on_scored: called with the number of held-out images that are scored at the end.

        Returns self. Raises ImageError for unusable images, ConfigError for an unknown `preprocess` or `polarity`, and
        for a start of other shapes, TrainingError when the loss is no longer finite.

        >>> from anomalae import Detector, load_dataset
        >>> split = load_dataset("digits").one_class(normal=[0])
        >>> detector = Detector(epochs=1, hidden=(16,)).fit(split.train.images)
        >>> detector.data.images_in_words
        '79 training and calibration (the same, in 5 folds)'
        """
        if calibration is None and validation is not None:
            raise ConfigError("calibration images are needed beside validation images; or give neither")
        if calibration is not None and conformal == "cross":
            raise ConfigError(
                "conformal 'cross': cannot be given with calibration images", setting="conformal"
            )
        if resume and start is not None:
            raise ConfigError("start: cannot be given with resume: the checkpoint has its weights")
        data = data or Data(seed=self.asked.seed)
        data = dataclasses.replace(
            data, preprocess=preprocess or data.preprocess, polarity=polarity or data.polarity, arrays=""
        )
        check_choices(data.preprocess, data.polarity)
        if preprocess is not None:
            data = dataclasses.replace(data, arrays="grey")
        shapes: Counter[Shape] = Counter()
        train = gather_images(
            train, "training images", _preparation(data), lambda shape: shapes.update([shape])
        )
        if data.arrays and any(len(shape) == 3 for shape in shapes):
            data = dataclasses.replace(data, arrays="colour")
        if data.arrays:
            _tell(shapes, data.preprocess)
        folds = choose_folds(len(train), conformal)
        if calibration is not None:
            held_out = None
            calibration = gather_images(calibration, "calibration images", _preparation(data))
            if validation is not None:
                held_out = gather_images(validation, "validation images", _preparation(data))
            images = fitting.Images(train, held_out, calibration)
        elif folds:
            images = fitting.Images.in_folds(train, self.asked.seed, folds)
        else:
            images = fitting.Images(*(train[index] for index in split_indices(len(train), self.asked.seed)))
        with limited(self.threads_used):
            self._fitted = fitting.fit(
                self.asked,
                images,
                self.device,
                data=data,
                folder=folder,
                resume=resume,
                start=None if start is None else start.as_start(),
                on_epoch=on_epoch,
                on_batch=on_batch,
                on_scored=on_scored,
            )
        self._run = ""
        return self

    def as_start(self) -> Start:
        """Return its networks as what another training may begin with.

        Raises ConfigError where the detector is not fitted.

        >>> from anomalae import Detector, load_dataset
        >>> split = load_dataset("digits").one_class(normal=[0])
        >>> first = Detector(epochs=1, hidden=(16,)).fit(split.train.images, conformal="split")
        >>> Detector(epochs=1, hidden=(16,)).fit(split.train.images[:40], start=first).start["run"]
        ''
        >>> len(first.as_start().members)
        1
        """
        return Start(self._run, self._whole.record.settings, self._ensemble.networks, self.data.folds)

    # --- scores and verdicts ----------------------------------------------------------------------------------

    def score(
        self, images: Any, rule: str | None = None, *, on_scored: Callable[[int], None] = lambda done: None
    ) -> np.ndarray:
        """Score images; a DataLoader is streamed, in memory that does not grow with it but for the scores.

        images: N of them, in any of the forms that the class names.
        rule: the score, one of `rules`; None is `settings.rule`.
        on_scored: called now and then with the number of images scored.

        Returns float64 (N,), higher = more anomalous. Raises ImageError for unusable images, ConfigError for a rule
        that the detector lacks, and where it is not fitted.

        >>> from anomalae import Detector, load_dataset
        >>> split = load_dataset("digits").one_class(normal=[0])
        >>> detector = Detector(epochs=1, hidden=(16,)).fit(split.train.images)
        >>> detector.score(split.test.images).shape
        (539,)
        """
        rule = self.check_rule(rule)
        return self._scores(images, (rule,), on_scored)[rule]

    def score_all(self, images: Any) -> dict[str, np.ndarray]:
        """Score images by every rule, for little more than the costliest of them.

        images: N of them, as for `score`.

        Returns float64 (N,) by the name of the rule. Raises ImageError for unusable images.

        >>> from anomalae import Detector, load_dataset
        >>> split = load_dataset("digits").one_class(normal=[0])
        >>> detector = Detector(epochs=1, hidden=(16,)).fit(split.train.images)
        >>> list(detector.score_all(split.test.images))
        ['bent', 'worst-place', 'mse', 'relative', 'smooth', 'sap', 'nap']
        """
        return self._scores(images, self.rules)

    @in_own_threads
    def score_members(
        self, images: Any, rules: Sequence[str] | None = None
    ) -> dict[str, dict[str, np.ndarray]]:
        """Score images by every rule and each member of an ensemble.

        images: N of them, as for `score`.
        rules: some of `rules`; None is all of them.

        Returns float64 (N,) by rule and by the member's name. Names are those of the views, numbered where a view has
        several networks, and `neighbours` for the nearest training images; `combine` makes the ensemble's scores of
        them. A single network is named by its view; of folds each name begins as in `fold 1 settled`. Raises
        ImageError for unusable images, ConfigError for a rule that the detector lacks.

        >>> from anomalae import Detector, load_dataset
        >>> split = load_dataset("digits").one_class(normal=[0])
        >>> detector = Detector(epochs=1, hidden=(16,), neighbours=1).fit(split.train.images, conformal="split")
        >>> list(detector.score_members(split.test.images[:5])["smooth"])
        ['settled', 'neighbours']
        """
        ensemble = self._ensemble
        chosen = self.rules if rules is None else tuple(self.check_rule(rule) for rule in rules)
        by_member = ensemble.score_members(self._batches(images), chosen)
        return {rule: dict(zip(ensemble.names, scores, strict=True)) for rule, scores in by_member.items()}

    def combine(self, by_member: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """Make the ensemble's scores of its members'.

        by_member: as `score_members` gives them, of all members, or of the networks alone: then the scores are what
            the networks alone would give.

        Returns float64 (N,) by rule, as `score_all` does. Raises ConfigError where another member is missing.

        >>> from anomalae import Detector, load_dataset
        >>> split = load_dataset("digits").one_class(normal=[0])
        >>> detector = Detector(epochs=1, hidden=(16,)).fit(split.train.images)
        >>> by_member = detector.score_members(split.test.images)
        >>> np.array_equal(detector.combine(by_member)["mse"], detector.score(split.test.images, "mse"))
        True
        """
        return {rule: self._ensemble.combine_named(rule, scores) for rule, scores in by_member.items()}

    @property
    def network_names(self) -> list[str]:
        """Names of the members that are networks, as `score_members` has them."""
        return self._ensemble.network_names

    @in_own_threads
    def _scores(
        self, images: Any, rules: tuple[str, ...], on_scored: Callable[[int], None] = lambda done: None
    ) -> dict[str, np.ndarray]:
        ensemble = self._ensemble
        by_member = ensemble.score_members(self._batches(images), rules, on_scored)
        return {rule: ensemble.combine(rule, scores) for rule, scores in by_member.items()}

    def calibration_scores(self, rule: str | None = None, *, calibration: str | None = None) -> np.ndarray:
        """Return the scores of the calibration images.

        rule: as for `score`.
        calibration: name of one of `calibrations`; None is the detector's own.

        Returns float64 (n,); of folds 1, 2, ... n, as a score is how many of the n images an image is above. Raises
        ConfigError for a rule or a calibration that the detector lacks, and where it is not fitted.

        >>> from anomalae import Detector, load_dataset
        >>> split = load_dataset("digits").one_class(normal=[0])
        >>> detector = Detector(epochs=1, hidden=(16,)).fit(split.train.images)
        >>> detector.calibration_scores().shape
        (79,)
        """
        rule = self.check_rule(rule)
        return self._calibrated(calibration, rule)[rule]

    def p_values(self, images: Any, rule: str | None = None, *, calibration: str | None = None) -> np.ndarray:
        """Return conformal p-values, small = anomalous; see `anomalae.evaluation.conformal.p_values`.

        images: N of them, as for `score`.
        rule: as for `score`.
        calibration: name of one of `calibrations`; None is the detector's own.

        Returns float64 (N,) in [1/(n+1), 1], of n calibration images. Raises what `score` raises, and ConfigError for a
        calibration that the detector lacks.

        >>> from anomalae import Detector, load_dataset
        >>> split = load_dataset("digits").one_class(normal=[0])
        >>> detector = Detector(epochs=1, hidden=(16,)).fit(split.train.images)
        >>> bool(detector.p_values(split.test.images).min() >= 1 / 80)
        True
        """
        known = self.calibration_scores(rule, calibration=calibration)
        return conformal.p_values(self.score(images, rule), known)

    def threshold(
        self, alpha: float = DEFAULT_ALPHA, rule: str | None = None, *, calibration: str | None = None
    ) -> float | None:
        """Return the score above which images are flagged.

        alpha: false-alarm level, above 0 and below 1.
        rule: as for `score`.
        calibration: name of one of `calibrations`; None is the detector's own.

        Returns None where none can be flagged: the calibration images are too few for alpha. Raises ConfigError for an
        alpha out of range and for a rule or a calibration that the detector lacks.

        >>> from anomalae import Detector, load_dataset
        >>> split = load_dataset("digits").one_class(normal=[0])
        >>> detector = Detector(epochs=1, hidden=(16,)).fit(split.train.images)
        >>> detector.threshold(0.1) <= detector.threshold(0.05), detector.threshold(0.01)
        (True, None)
        """
        return conformal.threshold(self.calibration_scores(rule, calibration=calibration), alpha)

    def flags(
        self,
        images: Any,
        alpha: float = DEFAULT_ALPHA,
        rule: str | None = None,
        *,
        calibration: str | None = None,
    ) -> np.ndarray:
        """Tell which images are flagged as anomalous.

        images: N of them, as for `score`.
        alpha: false-alarm level, above 0 and below 1.
        rule: as for `score`.
        calibration: name of one of `calibrations`; None is the detector's own.

        Returns bool (N,): True where `p <= alpha`, which is where the score is above the threshold. Raises ConfigError
        for an alpha out of range, and what `p_values` raises.

        >>> from anomalae import Detector, load_dataset
        >>> split = load_dataset("digits").one_class(normal=[0])
        >>> detector = Detector(epochs=1, hidden=(16,)).fit(split.train.images)
        >>> detector.flags(split.test.images).dtype
        dtype('bool')
        """
        conformal.check_alpha(alpha)
        return self.p_values(images, rule, calibration=calibration) <= alpha

    def calibrate(
        self,
        images: Any,
        name: str,
        *,
        replace: bool = False,
        folder: str | Path | None = None,
        on_scored: Callable[[int], None] = lambda done: None,
    ) -> runs.OwnCalibration:
        """Make p-values and thresholds for images of one's own, from some of them that are known to be normal.

        The networks stay as they are. What is judged by `calibration=name` has the promised false-alarm rate if it
        comes from where these images do, and is none of them.

        images: at least 40 of them, as for `score`, normal all.
        name: of the calibration, as that of a run may be (see `anomalae.runs.check_name`).
        replace: whether one of that name may be there.
        folder: of this detector's run, which keeps it at once; None keeps it with the detector, and `save` writes it.
        on_scored: called now and then with the number of images scored.

        Returns the calibration, one of `calibrations` now. Raises ImageError for unusable images, ConfigError where
        they are too few and where the detector is not fitted, BundleError for a name that is taken or can be none, and
        for a folder that cannot be written or is another run's.

        >>> from anomalae import Detector, load_dataset
        >>> split = load_dataset("digits").one_class(normal=[0])
        >>> detector = Detector(epochs=1, hidden=(16,)).fit(split.train.images)
        >>> zeros = split.test.images[split.test.labels == 0]
        >>> detector.calibrate(zeros[:50], name="mine").n
        50
        >>> bool(detector.p_values(zeros[50], calibration="mine")[0] >= 1 / 51)
        True
        """
        self.check_free_calibration(name, replace=replace, folder=folder)
        scores = self._scores(images, self.rules, on_scored)
        source = str(images) if isinstance(images, (str, Path)) else "arrays"
        return self.calibrate_by_scores(scores, name, source=source, replace=replace, folder=folder)

    def calibrate_by_scores(
        self,
        scores: Mapping[str, np.ndarray],
        name: str,
        *,
        source: str = "arrays",
        preprocess: str | None = None,
        polarity: str | None = None,
        segment: bool = False,
        replace: bool = False,
        folder: str | Path | None = None,
    ) -> runs.OwnCalibration:
        """Do what `calibrate` does with scores that are there already.

        scores: of n normal images by every rule of the detector, as `score_all` gives them.
        name, replace, folder: as for `calibrate`.
        source: where the images came from, in words.
        preprocess, polarity, segment: how files became canonical; None is as the training images did.

        Returns and raises what `calibrate` does.

        >>> from anomalae import Detector, load_dataset
        >>> split = load_dataset("digits").one_class(normal=[0])
        >>> detector = Detector(epochs=1, hidden=(16,)).fit(split.train.images)
        >>> detector.calibrate_by_scores(detector.score_all(split.test.images[:60]), "sixty").source
        'arrays'
        """
        self.check_free_calibration(name, replace=replace, folder=folder)
        whole = self._whole
        calibration = runs.OwnCalibration(
            name,
            {rule: np.asarray(scores[rule], np.float64) for rule in self.rules},
            datetime.now(UTC).isoformat(timespec="seconds"),
            source,
            preprocess or self.data.preprocess,
            polarity or self.data.polarity,
            segment,
            whole.fingerprint,
        )
        runs.check_number(calibration.n, name)
        if folder is not None:
            runs.keep_calibration(Path(folder), calibration, replace=replace)
        whole.own_calibrations[name] = calibration
        return calibration

    def check_free_calibration(
        self, name: str, *, replace: bool = False, folder: str | Path | None = None
    ) -> None:
        """Raise BundleError unless `calibrate` can take a calibration of this name.

        name, replace, folder: as for `calibrate`.

        >>> from anomalae import Detector, load_dataset
        >>> split = load_dataset("digits").one_class(normal=[0])
        >>> Detector(epochs=1, hidden=(16,)).fit(split.train.images).check_free_calibration("mine")
        """
        own = self._whole.own_calibrations
        runs.check_name(name, "calibration")
        if name in own and not replace:
            raise BundleError(f"calibration {name!r}: exists already", advice="replace")
        if name not in own and len(own) >= runs.MOST_CALIBRATIONS:
            raise BundleError(
                f"calibration {name!r}: there are {len(own)}, the limit is {runs.MOST_CALIBRATIONS}"
            )
        if folder is not None:
            saving.check_run(Path(folder), self._whole)
            runs.check_free_calibration(Path(folder), name, replace=replace)

    def _calibrated(self, name: str | None, rule: str) -> Arrays:
        """Scores of the calibration images by rule, of which this is one."""
        if name is None:
            return self._whole.calibration_scores
        own = self._whole.own_calibrations
        if name not in own and name in self._whole.broken_calibrations:
            raise BundleError(self._whole.broken_calibrations[name])
        if name not in own:
            known = f"there are {', '.join(own)}" if own else "there is none"
            raise ConfigError(f"calibration {name!r}: {known}", unknown=name, known=own, advice="calibrate")
        if rule not in own[name].scores:
            has = ", ".join(own[name].scores)
            raise ConfigError(
                f"score {rule!r}: calibration {name!r} has {has}", unknown=rule, known=own[name].scores
            )
        return own[name].scores

    @in_own_threads
    def reconstruct(self, images: Any) -> np.ndarray:
        """Rebuild images as the first network does.

        With two passes (see `Settings.passes`) it is the mean of the reconstruction and of that one's own
        reconstruction: rebuilt again a normal digit hardly changes, an anomaly goes further towards the normal ones.

        images: N of them, as for `score`.

        Returns float32 (N, 28, 28) in [0, 1]. Raises ImageError for unusable images.

        >>> from anomalae import Detector, load_dataset
        >>> split = load_dataset("digits").one_class(normal=[0])
        >>> detector = Detector(epochs=1, hidden=(16,)).fit(split.train.images)
        >>> detector.reconstruct(split.test.images[0]).shape
        (1, 28, 28)
        """
        first = self._ensemble.first
        return np.concatenate([first.picture(x).cpu().numpy() for x in self._batches(images)])

    def seen(self, images: Any) -> np.ndarray:
        """Return what the first network sees of images, in its view.

        images: N of them, as for `score`.

        Returns float32 (N, 28, 28) in [0, 1]. Raises ImageError for unusable images.

        >>> from anomalae import Detector, load_dataset
        >>> split = load_dataset("digits").one_class(normal=[0])
        >>> detector = Detector(epochs=1, hidden=(16,)).fit(split.train.images)
        >>> detector.seen(split.test.images[:3]).shape
        (3, 28, 28)
        """
        see = self._ensemble.first.view.see
        return np.concatenate([see(x)[0][:, 0].numpy() for x in self._batches(images)])

    def nearest(self, images: Any) -> np.ndarray:
        """Return the training images nearest to images, as they are compared, nearest first.

        images: N of them, as for `score`.

        Returns uint8 (N, k, 28, 28), k of `Settings.neighbours`, or all where there are fewer; of folds among those
        that the first one's networks saw. Raises ImageError for unusable images, ConfigError where the detector keeps
        no training images.

        >>> from anomalae import Detector, load_dataset
        >>> split = load_dataset("digits").one_class(normal=[0])
        >>> detector = Detector(epochs=1, hidden=(16,), neighbours=2).fit(split.train.images)
        >>> detector.nearest(split.test.images[:3]).shape
        (3, 2, 28, 28)
        """
        kept = [member for member in self._ensemble.members if isinstance(member, Neighbours)]
        if not kept:
            raise ConfigError("neighbours 0: no training images are kept", setting="neighbours")
        return np.concatenate([kept[0].nearest(x) for x in self._batches(images)])

    def heatmap_rule(self, rule: str | None = None) -> str:
        """Return the rule whose pixel terms are drawn for a rule: itself where it is a sum over pixels.

        For `elbo`, `iwae` and `elbo-excess` it is `reconstruction-probability`, their part that lies in pixels; for
        what has no such part (`kl`, `sap`, ...), or a network that does not show it, `smooth`. See `heatmap_note`.

        rule: a score of this detector; None is the one it judges by.

        Raises ConfigError for a rule that this detector lacks.

        >>> from anomalae import Detector, load_dataset
        >>> split = load_dataset("digits").one_class(normal=[0])
        >>> detector = Detector(epochs=1, hidden=(16,)).fit(split.train.images)
        >>> detector.heatmap_rule("mse"), detector.heatmap_rule("nap")
        ('mse', 'smooth')
        """
        rule = self.check_rule(rule)
        drawn = rule if SCORES[rule].has_terms else getattr(SCORES[rule], "drawn_as", "smooth")
        return drawn if drawn in self.rules and self._ensemble.draws(drawn) else "smooth"

    def heatmap_note(self, rule: str | None = None) -> str:
        """Say what a heatmap of a rule shows, in words for people.

        rule: as for `heatmap`.

        Raises ConfigError for a rule that this detector lacks.

        >>> from anomalae import Detector, load_dataset
        >>> split = load_dataset("digits").one_class(normal=[0])
        >>> detector = Detector(epochs=1, hidden=(16,)).fit(split.train.images, conformal="split")
        >>> detector.heatmap_note()
        'terms of bent, whose absolute values sum to the score'
        """
        rule, drawn = self.check_rule(rule), self.heatmap_rule(rule)
        folds, several = isinstance(self._ensemble, FoldEnsemble), len(self._ensemble.members) > 1
        if drawn == rule and SCORES[rule].has_terms:
            note = (
                f"terms of {rule}" if several else f"terms of {rule}, whose absolute values sum to the score"
            )
        elif SCORES[drawn].has_terms:
            note = f"terms of {drawn}, for {rule} is no sum over pixels"
        else:
            note = str(SCORES[rule].heat_line)
        if folds:
            return f"mean over the folds: {note}"
        return f"mean over the members, each by what it usually scores: {note}" if several else note

    @in_own_threads
    def heatmap(self, images: Any, rule: str | None = None) -> np.ndarray:
        """Show where the score comes from, pixel by pixel: the terms of `heatmap_rule`.

        Positive where there is ink the model did not expect, negative where expected ink is missing. Absolute values
        sum to the score of that rule. Of `reconstruction-probability`, which stands for `elbo` and its like, they sum
        to what it is above the score of a perfect reconstruction, in nats: so

            elbo = kl + what a perfect reconstruction would cost + sum of the absolute values,

        where the second is a constant of the network, but for Bernoulli likelihoods, which make gray pixels pay.

        Of an ensemble it is the mean of the members' heatmaps, weighed as their scores are, each laid over the image
        (a deskewed one sheared back, the maps of one place added up) and divided by what its member usually scores,
        so that a usual normal image sums to about 1; see `heatmap_level`. Of folds it is the mean of theirs, and sums
        to what their scores are on the average, not to a position among the normal images.

        images: as for `score`.
        rule: a score of this detector; None is the one it judges by.

        Returns float64 (N, 28, 28), signed. Raises ImageError for unusable images, ConfigError for a rule that this
        detector lacks.

        >>> from anomalae import Detector, load_dataset
        >>> split = load_dataset("digits").one_class(normal=[0])
        >>> detector = Detector(epochs=1, hidden=(16,)).fit(split.train.images, conformal="split")
        >>> terms = detector.heatmap(split.test.images[:3])
        >>> np.allclose(abs(terms).sum((1, 2)), detector.score(split.test.images[:3]))
        True
        """
        rule, ensemble = self.heatmap_rule(rule), self._ensemble
        return np.concatenate([ensemble.terms(rule, x) for x in self._batches(images)])

    def heatmap_level(
        self, alpha: float = DEFAULT_ALPHA, rule: str | None = None, *, calibration: str | None = None
    ) -> float:
        """Return what the absolute terms of a heatmap sum to, about, at the threshold of the rule that is drawn.

        It is the measure of the colour scale (`anomalae.plots.heat_scale`): the threshold of what the heatmaps of the
        calibration images sum to. Where there is none, the largest of these stands in.

        alpha: false-alarm level, above 0 and below 1.
        rule: as for `heatmap`.
        calibration: name of one of `calibrations`; None is the detector's own.

        Raises ConfigError for an alpha out of range, and for a rule or a calibration that this detector lacks.

        >>> from anomalae import Detector, load_dataset
        >>> split = load_dataset("digits").one_class(normal=[0])
        >>> detector = Detector(epochs=1, hidden=(16,)).fit(split.train.images, conformal="split")
        >>> detector.heatmap_level(0.05) == detector.threshold(0.05)
        True
        """
        sums = self.heatmap_sums(rule, calibration=calibration)
        level = conformal.threshold(sums, alpha)
        return float(sums.max()) if level is None else level

    def heatmap_sums(self, rule: str | None = None, *, calibration: str | None = None) -> np.ndarray:
        """Return what the absolute terms of the heatmaps of the calibration images sum to, of an ensemble about.

        rule, calibration: as for `heatmap_level`.

        Returns float64 (n,). Raises ConfigError for a rule or a calibration that this detector lacks.

        >>> from anomalae import Detector, load_dataset
        >>> split = load_dataset("digits").one_class(normal=[0])
        >>> detector = Detector(epochs=1, hidden=(16,)).fit(split.train.images, conformal="split")
        >>> np.array_equal(detector.heatmap_sums(), detector.calibration_scores())
        True
        """
        rule = self.heatmap_rule(rule)
        return self._ensemble.sums(rule, self._calibrated(calibration, rule))

    # --- the latent space -------------------------------------------------------------------------------------

    @in_own_threads
    def encode(self, images: Any) -> np.ndarray:
        """Return the embeddings that the first network has of images.

        images: N of them, as for `score`.

        Returns float32 (N, latent_dim). Raises ImageError for unusable images.

        >>> from anomalae import Detector, load_dataset
        >>> split = load_dataset("digits").one_class(normal=[0])
        >>> detector = Detector(epochs=1, hidden=(16,)).fit(split.train.images)
        >>> detector.encode(split.test.images).shape
        (539, 16)
        """
        first = self._ensemble.first
        return np.concatenate([first.encode(x).numpy() for x in self._batches(images)])

    @in_own_threads
    def decode(self, codes: Any) -> np.ndarray:
        """Return the images of embeddings, in the first network's view.

        codes: finite numbers (N, latent_dim).

        Returns float32 (N, 28, 28) in [0, 1]. Raises ConfigError for codes of another shape, and for such as are not
        finite.

        >>> from anomalae import Detector, load_dataset
        >>> split = load_dataset("digits").one_class(normal=[0])
        >>> detector = Detector(epochs=1, hidden=(16,)).fit(split.train.images)
        >>> detector.decode(detector.encode(split.test.images[:3])).shape
        (3, 28, 28)
        """
        first, width = self._ensemble.first, self.settings.latent_dim
        array = np.asarray(codes, dtype=np.float32)
        if array.ndim != 2 or array.shape[1] != width or not np.isfinite(array).all():
            raise ConfigError(f"codes: shape {array.shape}: must be finite, (N, {width})")
        parts = torch.from_numpy(array).split(SCORING_BATCH)
        return np.concatenate([first.decode(part).numpy() for part in parts])

    @in_own_threads
    def generate(self, count: int, seed: int = 0) -> np.ndarray:
        """Make new images: decoded means of draws from the prior.

        count: how many, at least 1.
        seed: of the draws, at least 0.

        Returns float32 (count, 28, 28) in [0, 1]. Raises ConfigError for a model without a density: it has no prior to
        draw from.

        >>> from anomalae import Detector, load_dataset
        >>> split = load_dataset("digits").one_class(normal=[0])
        >>> detector = Detector(model="vae", epochs=1, hidden=(16,), samples=2).fit(split.train.images)
        >>> detector.generate(4, seed=1).shape
        (4, 28, 28)
        """
        if count < 1:
            raise ConfigError(f"count {count}: must be at least 1")
        return self._ensemble.first.generate(count, seed).numpy()

    @in_own_threads
    def unit_activity(self, images: Any) -> tuple[np.ndarray, np.ndarray]:
        """Tell how much a density uses each of its latent units.

        images: N of them, as for `score`.

        Returns the variance of each unit's posterior mean over the images, and its mean KL in nats, float64 (width,)
        each. Raises ConfigError for a model without a density, ImageError for unusable images.

        >>> from anomalae import Detector, load_dataset
        >>> split = load_dataset("digits").one_class(normal=[0])
        >>> detector = Detector(model="vae", epochs=1, hidden=(16,), samples=2).fit(split.train.images)
        >>> variance, kl = detector.unit_activity(split.test.images)
        >>> variance.shape == kl.shape == (16,)
        True
        """
        return self._ensemble.first.unit_activity(self._batches(images))

    # --- saving -----------------------------------------------------------------------------------------------

    def save(self, folder: str | Path) -> None:
        """Write a run folder; a run already there is replaced whole, and stays whole if writing fails.

        folder: its parents are made where they are missing. Raises ConfigError where the detector is not fitted,
        BundleError where the folder cannot be written.

        >>> from tempfile import TemporaryDirectory
        >>> from anomalae import Detector, load_dataset
        >>> split = load_dataset("digits").one_class(normal=[0])
        >>> detector = Detector(epochs=1, hidden=(16,)).fit(split.train.images)
        >>> with TemporaryDirectory() as folder:
        ...     detector.save(f"{folder}/zeros")
        ...     loaded = Detector.load(f"{folder}/zeros")
        >>> bool((loaded.score(split.test.images) == detector.score(split.test.images)).all())
        True
        """
        fitted = self._whole
        runs.replace_folder(Path(folder), lambda place: saving.write(place, fitted))
        self._run = Path(folder).resolve().name

    def write(self, folder: Path) -> None:
        """Write the run's files into an existing folder, `config.json` last, and drop its checkpoint."""
        saving.write(folder, self._whole)
        self._run = Path(folder).resolve().name

    @classmethod
    def load(
        cls, folder: str | Path, *, device: str | torch.device = "auto", threads: int | None = None
    ) -> Detector:
        """Read a run folder, as `save` and the command line leave it.

        folder: of a finished run.
        device, threads: as for a new detector.

        Returns a detector with the epochs and the batch size it was trained with, by which it fits others too. Raises
        BundleError, naming file and fault, for a folder that is not whole and sound. See `save` for an example.
        """
        detector = cls(device=device, threads=threads)
        with limited(threads):
            fitted = saving.read(Path(folder), detector.device)
        detector.asked, detector._fitted = fitted.record.settings, fitted
        detector._run = Path(folder).resolve().name
        return detector

    def to(self, device: str | torch.device) -> Detector:
        """Move the networks, and the neighbours, to a device.

        device: auto, cpu, cuda or mps, with a number as in `cuda:1`, or a `torch.device`.

        Returns self. Raises ConfigError for a device that is unknown or not there.

        >>> Detector().to("cpu").device
        device(type='cpu')
        """
        self.device = choose_device(device)
        for member in self._ensemble.members if self._fitted else ():
            member.to(self.device)
        return self

    # --- inside -----------------------------------------------------------------------------------------------

    def _batches(self, images: Any) -> Iterator[torch.Tensor]:
        """Stream images of any sort as tensors, prepared as the training images were."""
        return batches(stream_images(images, preparation=_preparation(self.data)))

    @property
    def _whole(self) -> Fitted:
        if self._fitted is None:
            raise ConfigError(
                "this detector is not fitted yet: call fit(images) or Detector.load(folder) first"
            )
        return self._fitted

    @property
    def _ensemble(self) -> Ensemble:
        return self._whole.ensemble

    def check_rule(self, rule: str | None) -> str:
        """Return the rule of this name, None being the default one. Raises ConfigError for one the detector lacks."""
        rule = rule or self.settings.rule
        if rule not in self.rules:
            origin = self.parts.get(f"{SCORES.sort} {rule}")
            if origin is not None:
                raise PartError(f"score {rule!r}: comes from {origin}, which is not installed here")
            raise ConfigError(
                f"score {rule!r}: a run of model {self.settings.model} has {', '.join(self.rules)}",
                unknown=rule,
                known=self.rules,
            )
        return rule


def _preparation(data: Data) -> Preparation:
    return Preparation(data.preprocess, data.polarity, data.arrays)


def _tell(shapes: Counter[Shape], preprocess: str) -> None:
    """Warn the caller of `fit` that training images were brought to canonical form."""
    changed = sorted(shape for shape in shapes if shape != (SIDE, SIDE))
    if changed:
        several = f"{len(changed)} shapes, as " if len(changed) > 1 else "shape "
        grey = " and grey" if any(len(shape) == 3 for shape in changed) else ""
        warnings.warn(
            f"training images of {several}{changed[0]} were brought to {SIDE} x {SIDE}{grey} by preprocess "
            f"{preprocess!r}; so will be all images that this detector is given",
            ImageWarning,
            stacklevel=3,
        )
