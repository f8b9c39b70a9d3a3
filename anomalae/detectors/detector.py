"""The detector: fit on normal images, score others, say which do not belong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from anomalae import runs
from anomalae.datasets.splits import split_indices
from anomalae.detectors import fitting, saving
from anomalae.detectors.batches import batches
from anomalae.detectors.ensemble import Ensemble
from anomalae.detectors.saving import Fitted
from anomalae.errors import ConfigError, PartError
from anomalae.evaluation import conformal
from anomalae.images.check import check_images
from anomalae.models.training.state import Epoch, Training
from anomalae.plugins import SCORES
from anomalae.runs.environment import Environment, choose_device, use_threads
from anomalae.runs.record import Data
from anomalae.settings import DEFAULT_ALPHA, Settings

Arrays = dict[str, np.ndarray]


class Detector:
    """A one-class detector: an autoencoder trained on normal images, with scores calibrated on others of them.

    Settings are keyword arguments (see `anomalae.Settings` for their ranges); what is not given takes the
    measured default. Images are `uint8`, or floats in [0, 1], of shape (N, 28, 28), (N, 1, 28, 28) or (N, 784).
    Scores are float64 (N,), higher = more anomalous.

    device: auto, cpu, cuda or mps.
    threads: CPU threads of PyTorch; None leaves them as they are.
    """

    def __init__(self, *, device: str = "auto", threads: int | None = None, **settings: Any) -> None:
        self.asked = Settings.of(**settings)
        self.device = choose_device(device)
        self.threads = threads
        self._fitted: Fitted | None = None

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
    def parts(self) -> dict[str, str]:
        """Where those parts come from that do not come with anomalae, as in {"model convnet": "my-package 1.0"}."""
        return {} if self._fitted is None else self._fitted.record.parts

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

    # --- training ---------------------------------------------------------------------------------------------

    def fit(
        self,
        train: Any,
        validation: Any = None,
        calibration: Any = None,
        *,
        data: Data | None = None,
        folder: Path | None = None,
        resume: bool = False,
        on_epoch: Callable[[Training], None] = lambda state: None,
        on_batch: Callable[[int, float], None] = lambda done, loss: None,
        on_scored: Callable[[int], None] = lambda done: None,
    ) -> Detector:
        """Train on normal images; returns self.

        train: with these alone the images are split by the seed into training, validation and calibration images
            (see `anomalae.datasets.split_indices`).
        validation: give the validation loss, and what the members of an ensemble are standardised by (training images
            do where there are none).
        calibration: serve for nothing but thresholds and p-values.
        data: where the images came from, for the record.
        folder: an existing folder in which each epoch leaves a checkpoint (of epochs too short for that, as many as
            take a tenth of the time).
        resume: go on from the folder's checkpoint, ending with the weights of an uninterrupted training, bit for bit
            (same machine, versions, threads).
        on_epoch, on_batch: see `anomalae.models.training.loop.run`.
        on_scored: called with the number of held-out images that are scored at the end.

        Raises ImageError for unusable images, TrainingError when the loss is no longer finite.
        """
        train = check_images(train, "training images")
        if calibration is None:
            if validation is not None:
                raise ConfigError("calibration images are needed beside validation images; or give neither")
            parts = split_indices(len(train), self.asked.seed)
            train, validation, calibration = (train[index] for index in parts)
        calibration = check_images(calibration, "calibration images")
        held_out = None if validation is None else check_images(validation, "validation images")
        use_threads(self.threads)
        self._fitted = fitting.fit(
            self.asked,
            fitting.Images(train, held_out, calibration),
            self.device,
            data=data,
            folder=folder,
            resume=resume,
            on_epoch=on_epoch,
            on_batch=on_batch,
            on_scored=on_scored,
        )
        return self

    # --- scores and verdicts ----------------------------------------------------------------------------------

    def score(
        self, images: Any, rule: str | None = None, *, on_scored: Callable[[int], None] = lambda done: None
    ) -> np.ndarray:
        """Scores by a rule (default: `settings.rule`), float64 (N,), higher = more anomalous.

        `on_scored(done)` comes now and then with the number of images scored.
        """
        rule = self.check_rule(rule)
        return self._scores(images, (rule,), on_scored)[rule]

    def score_all(self, images: Any) -> dict[str, np.ndarray]:
        """Scores by every rule, float64 (N,) each, for little more than the costliest of them."""
        return self._scores(images, self.rules)

    def score_members(self, images: Any) -> dict[str, dict[str, np.ndarray]]:
        """Scores by every rule of each member of an ensemble, float64 (N,), by rule and by the member's name.

        Names are those of the views, numbered where a view has several networks, and `neighbours` for the nearest
        training images; `combine` makes the ensemble's scores of them. A single network is named by its view.
        """
        by_member = self._ensemble.score_members(batches(check_images(images)), self.rules)
        names = self._ensemble.names
        return {rule: dict(zip(names, scores, strict=True)) for rule, scores in by_member.items()}

    def combine(self, by_member: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """The ensemble's scores, as `score_all` gives them, of its members' (`score_members`).

        Of the networks' scores alone, they are what the networks alone would give. Raises ConfigError where another
        member is missing.
        """
        return {rule: self._ensemble.combine_named(rule, scores) for rule, scores in by_member.items()}

    @property
    def network_names(self) -> list[str]:
        """Names of the members that are networks, as `score_members` has them."""
        return [member.name for member in self._ensemble.networks]

    def _scores(
        self, images: Any, rules: tuple[str, ...], on_scored: Callable[[int], None] = lambda done: None
    ) -> dict[str, np.ndarray]:
        by_member = self._ensemble.score_members(batches(check_images(images)), rules, on_scored)
        return {rule: self._ensemble.combine(rule, scores) for rule, scores in by_member.items()}

    def calibration_scores(self, rule: str | None = None) -> np.ndarray:
        """Scores of the calibration images, float64 (n,)."""
        return self._whole.calibration[self.check_rule(rule)]

    def p_values(self, images: Any, rule: str | None = None) -> np.ndarray:
        """Conformal p-values, float64 (N,) in [1/(n+1), 1]; see `anomalae.evaluation.conformal.p_values`."""
        return conformal.p_values(self.score(images, rule), self.calibration_scores(rule))

    def threshold(self, alpha: float = DEFAULT_ALPHA, rule: str | None = None) -> float | None:
        """The score above which images are flagged at false-alarm level alpha; None when none can be."""
        return conformal.threshold(self.calibration_scores(rule), alpha)

    def flags(self, images: Any, alpha: float = DEFAULT_ALPHA, rule: str | None = None) -> np.ndarray:
        """Verdicts, bool (N,): True where `p <= alpha`, which is where the score is above the threshold."""
        conformal.check_alpha(alpha)
        return self.p_values(images, rule) <= alpha

    def reconstruct(self, images: Any) -> np.ndarray:
        """What the model makes of the images: float32 (N, 28, 28) in [0, 1].

        With two passes (see `Settings.passes`) it is the mean of the reconstruction and of that one's own
        reconstruction: rebuilt again a normal digit hardly changes, an anomaly goes further towards the normal ones.
        """
        first = self._ensemble.first
        return np.concatenate([first.picture(x).cpu().numpy() for x in batches(check_images(images))])

    def heatmap_rule(self, rule: str | None = None) -> str:
        """The rule whose pixel terms are drawn for a rule: itself where it is a sum over pixels.

        For `elbo`, `iwae` and `elbo-excess` it is `reconstruction-probability`, their part that lies in pixels; for
        what has no such part (`kl`, `sap`, ...), or a network that does not show it, `smooth`. See `heatmap_note`.

        rule: a score of this detector; None is the one it judges by.

        Raises ConfigError for a rule that this detector lacks.
        """
        rule = self.check_rule(rule)
        drawn = rule if SCORES[rule].has_terms else getattr(SCORES[rule], "drawn_as", "smooth")
        return drawn if drawn in self.rules and self._ensemble.draws(drawn) else "smooth"

    def heatmap_note(self, rule: str | None = None) -> str:
        """What a heatmap of a rule shows, in words for people, as in "terms of smooth, which sum to the score".

        rule: as for `heatmap`.

        Raises ConfigError for a rule that this detector lacks.
        """
        rule, drawn = self.check_rule(rule), self.heatmap_rule(rule)
        several = len(self._ensemble.members) > 1
        if drawn == rule and SCORES[rule].has_terms:
            note = f"terms of {rule}" if several else f"terms of {rule}, which sum to the score"
        elif SCORES[drawn].has_terms:
            note = f"terms of {drawn}, for {rule} is no sum over pixels"
        else:
            note = str(SCORES[rule].heat_line)
        return f"mean over the members, each by what it usually scores: {note}" if several else note

    def heatmap(self, images: Any, rule: str | None = None) -> np.ndarray:
        """Where the score comes from: float64 (N, 28, 28), signed, the terms of `heatmap_rule`.

        Positive where there is ink the model did not expect, negative where expected ink is missing. Absolute values
        sum to the score of that rule. Of `reconstruction-probability`, which stands for `elbo` and its like, they sum
        to what it is above the score of a perfect reconstruction, in nats: so

            elbo = kl + what a perfect reconstruction would cost + sum of the absolute values,

        where the second is a constant of the network, but for Bernoulli likelihoods, which make gray pixels pay.

        Of an ensemble it is the mean of the members' heatmaps, weighed as their scores are, each laid over the image
        (a deskewed one sheared back, the maps of one place added up) and divided by what its member usually scores,
        so that a usual normal image sums to about 1; see `heatmap_level`.

        images: as for `score`.
        rule: a score of this detector; None is the one it judges by.

        Raises ImageError for unusable images, ConfigError for a rule that this detector lacks.
        """
        rule, ensemble = self.heatmap_rule(rule), self._ensemble
        return np.concatenate([ensemble.terms(rule, x) for x in batches(check_images(images))])

    def heatmap_level(self, alpha: float = DEFAULT_ALPHA, rule: str | None = None) -> float:
        """What the absolute terms of a heatmap sum to, about, at the threshold of the rule that is drawn.

        It is the measure of the colour scale (`anomalae.plots.heat_scale`): the threshold of what the heatmaps of the
        calibration images sum to. Where there is none, the largest of these stands in.

        alpha: false-alarm level, above 0 and below 1.
        rule: as for `heatmap`.

        Raises ConfigError for an alpha out of range, and for a rule that this detector lacks.
        """
        rule = self.heatmap_rule(rule)
        sums = self._ensemble.sums(rule, self._whole.calibration)
        level = conformal.threshold(sums, alpha)
        return float(sums.max()) if level is None else level

    # --- the latent space -------------------------------------------------------------------------------------

    def encode(self, images: Any) -> np.ndarray:
        """Embeddings, float32 (N, latent_dim), of the first network."""
        first = self._ensemble.first
        return np.concatenate([first.encode(x).numpy() for x in batches(check_images(images))])

    def decode(self, codes: Any) -> np.ndarray:
        """Images of embeddings (N, latent_dim), in the first network's view: float32 (N, 28, 28) in [0, 1]."""
        first, width = self._ensemble.first, self.settings.latent_dim
        array = np.asarray(codes, dtype=np.float32)
        if array.ndim != 2 or array.shape[1] != width or not np.isfinite(array).all():
            raise ConfigError(f"codes: shape {array.shape}: must be finite, (N, {width})")
        return first.decode(torch.from_numpy(array)).numpy()

    def generate(self, count: int, seed: int = 0) -> np.ndarray:
        """New images, decoded means of draws from the prior: float32 (count, 28, 28) in [0, 1].

        Raises ConfigError for a model without a density: it has no prior to draw from.
        """
        if count < 1:
            raise ConfigError(f"count {count}: must be at least 1")
        return self._ensemble.first.generate(count, seed).numpy()

    def unit_activity(self, images: Any) -> tuple[np.ndarray, np.ndarray]:
        """`(variance of each latent unit's posterior mean over the images, its mean KL in nats)` of a density."""
        return self._ensemble.first.unit_activity(batches(check_images(images)))

    # --- saving -----------------------------------------------------------------------------------------------

    def save(self, folder: str | Path) -> None:
        """Write a run folder; a run already there is replaced whole, and stays whole if writing fails."""
        fitted = self._whole
        runs.replace_folder(Path(folder), lambda place: saving.write(place, fitted))

    def write(self, folder: Path) -> None:
        """Write the run's files into an existing folder, `config.json` last, and drop its checkpoint."""
        saving.write(folder, self._whole)

    @classmethod
    def load(cls, folder: str | Path, *, device: str = "auto", threads: int | None = None) -> Detector:
        """Read a run folder; the detector has the epochs and batch size it was trained with, and fits others by them.

        Raises BundleError, naming file and fault, for a folder that is not whole and sound.
        """
        detector = cls(device=device, threads=threads)
        fitted = saving.read(Path(folder), detector.device)
        use_threads(threads)
        detector.asked, detector._fitted = fitted.record.settings, fitted
        return detector

    def to(self, device: str) -> Detector:
        """Move the networks to a device (auto, cpu, cuda or mps); returns self. ConfigError where there is none."""
        self.device = choose_device(device)
        for member in self._ensemble.networks if self._fitted else ():
            member.network.to(self.device)
        return self

    # --- inside -----------------------------------------------------------------------------------------------

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
        """The rule of this name, None being the default one; ConfigError for one this detector lacks."""
        rule = rule or self.settings.rule
        if rule not in self.rules:
            origin = self.parts.get(f"{SCORES.sort} {rule}")
            if origin is not None:
                raise PartError(f"score {rule!r}: comes from {origin}, which is not installed here")
            raise ConfigError(
                f"score {rule!r}: a run of model {self.settings.model} has {', '.join(self.rules)}"
            )
        return rule
