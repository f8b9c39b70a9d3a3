"""The detector: fit on normal images, score others, say which do not belong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from anomalae import files, runs, seeds
from anomalae.datasets.load import split_indices
from anomalae.detectors import ensemble as members
from anomalae.detectors import saving as storage
from anomalae.detectors.ensemble import Member
from anomalae.detectors.neighbours import Neighbours
from anomalae.errors import ConfigError
from anomalae.evaluation import conformal
from anomalae.images.check import check_images
from anomalae.models import VariationalAutoencoder
from anomalae.models.training import loop as training
from anomalae.runs.environment import Environment, choose_device, record_environment, use_threads
from anomalae.runs.record import Data, Record, read_checkpoint, read_record, write_checkpoint
from anomalae.scores import reconstruction as scoring
from anomalae.scores.density import ACTIVE, unit_terms
from anomalae.settings import DEFAULT_ALPHA, DENSITIES, HIDDEN_SCORES, Settings

Arrays = dict[str, np.ndarray]


class Detector:
    """A one-class detector: an autoencoder trained on normal images, with scores calibrated on others of them.

    Settings are keyword arguments (see `anomalae.Settings` for their ranges); what is not given takes the
    measured default. Images are `uint8`, or floats in [0, 1], of shape (N, 28, 28), (N, 1, 28, 28) or (N, 784).
    Scores are float64 (N,), higher = more anomalous.

    `device`: auto, cpu, cuda or mps. `threads`: CPU threads of PyTorch, None leaves them as they are.
    """

    def __init__(self, *, device: str = "auto", threads: int | None = None, **settings: Any) -> None:
        self.settings = self._given = Settings.of(**settings)
        self.device = choose_device(device)
        self.threads = threads
        self.history: list[training.Epoch] = []
        self.data = Data()
        self.environment = Environment()
        self.created = ""
        self.validation: dict[str, float] = {}
        self._members: list[Member] = []
        self._neighbours: Neighbours | None = None
        self._standards: dict[str, np.ndarray] = {}  # of an ensemble, by rule: see `members.standard`
        self._calibration: dict[str, np.ndarray] = {}

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
        on_epoch: Callable[[training.Training], None] = lambda state: None,
        on_batch: Callable[[int, float], None] = lambda done, loss: None,
        on_scored: Callable[[int], None] = lambda done: None,
    ) -> Detector:
        """Train on normal images; returns self.

        With `train` alone the images are split by the seed into training, validation and calibration images (see
        `anomalae.datasets.load.split_indices`). Validation images give the validation loss, and what the members of an
        ensemble are standardised by (training images do where there are none); calibration images serve for nothing
        but thresholds and p-values. With `folder` each epoch leaves a checkpoint there (of epochs too
        short for that, as many as take a tenth of the time), and `resume` goes on from it, ending with the weights
        of an uninterrupted training, bit for bit (same machine, versions, threads). `data` says where the images
        came from, for the record. `on_scored(done)` counts held-out images that are scored at the end. Raises
        ImageError for unusable images, TrainingError when the loss is no longer finite.
        """
        train = check_images(train, "training images")
        if calibration is None:
            if validation is not None:
                raise ConfigError("calibration images are needed beside validation images; or give neither")
            parts = split_indices(len(train), self.settings.seed)
            train, validation, calibration = (train[index] for index in parts)
        calibration = check_images(calibration, "calibration images")
        held_out = None if validation is None else check_images(validation, "validation images")
        if self._given.rule in HIDDEN_SCORES and len(train) < 2:
            raise ConfigError(f"score {self._given.rule!r}: needs 2 training images at least, there is 1")
        self.settings = self._given.for_images(len(train))
        use_threads(self.threads)
        self.environment = record_environment(self.device)
        self.created = datetime.now(UTC).isoformat(timespec="seconds")
        self.data = replace(
            data or Data(seed=self.settings.seed),
            n_train=len(train),
            n_validation=0 if held_out is None else len(held_out),
            n_calibration=len(calibration),
        )
        state = training.Training.start(self.settings, self.device)
        if folder is not None and resume:
            arrays, history, record = read_checkpoint(folder)
            state.restore(arrays, history)
            self.created = record.created

        keep = None if folder is None else storage.Checkpoints(partial(self._checkpoint, folder))

        def epoch_done(state: training.Training) -> None:
            self.history = state.history
            if keep is not None:
                keep.after_epoch(state)
            on_epoch(state)

        if keep is not None and not resume:
            keep.now(state.arrays(), state.history)  # so that even the first epoch can be resumed
        tensors = self._tensor(train), None if held_out is None else self._tensor(held_out)
        try:
            training.run(state, *tensors, on_epoch=epoch_done, on_batch=on_batch)
            self._finish(state, train, held_out, calibration, on_scored)
        except BaseException:
            if keep is not None:
                keep.broken_off()
            raise
        return self

    def _finish(
        self,
        state: training.Training,
        train: np.ndarray,
        held_out: np.ndarray | None,
        calibration_images: np.ndarray,
        on_scored: Callable[[int], None],
    ) -> None:
        """What comes after the last epoch: what `nap` and neighbours learn, standards, calibration scores."""
        seen, count = self._tensor(train), self.settings.neighbours
        self._members = [Member(network.settings, network.model.eval()) for network in state.networks]
        for member in self._members if "nap" in self.settings.rules else ():
            member.learn(seen)
        self._neighbours = Neighbours.fit(seen, count) if count else None
        learned = all(member.nap is not None for member in self._members)
        rules = self.settings.rules if learned else storage.without_hidden(self.settings.rules)
        self.history, self._standards = state.history, {}
        if len(self._together) > 1:
            standing = train if held_out is None else held_out
            apart = self._apart(standing, rules, own=held_out is None, on_scored=on_scored)
            self._standards = {rule: members.standard(rule, scores) for rule, scores in apart.items()}
        self._calibration = self._scores(calibration_images, rules, on_scored)
        self.validation = {} if held_out is None else self._validate(held_out)

    def _validate(self, images: np.ndarray) -> dict[str, float]:
        """What a run tells of its first network: of a density the ELBO, its parts on held-out normals, active units."""
        if self.settings.model not in DENSITIES:
            return {}
        rules = ("elbo", "reconstruction-probability", "kl")
        parts = [self._first().scores(x, rules) for x in self._batches(images)]
        scores = {rule: torch.cat([part[rule] for part in parts]) for rule in rules}
        variance, _ = self.unit_activity(images)
        return {
            "elbo": -float(scores["elbo"].mean()),
            "log_likelihood": -float(scores["reconstruction-probability"].mean()),
            "kl": float(scores["kl"].mean()),
            "active_units": int((variance > ACTIVE).sum()),
        }

    def _checkpoint(self, folder: Path, arrays: Arrays, history: list[training.Epoch]) -> None:
        files.write_jsonl(folder / runs.HISTORY, training.history_lines(history), durable=False)
        write_checkpoint(folder, arrays, self._record(), len(history))

    # --- scores and verdicts ----------------------------------------------------------------------------------

    @property
    def rules(self) -> tuple[str, ...]:
        """Names of the scores this detector has; `settings.rule` is the one it uses unless told otherwise."""
        return tuple(self._calibration) or self.settings.rules

    @property
    def n_calibration(self) -> int:
        """Number of calibration images behind thresholds and p-values."""
        return len(self.calibration_scores())

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
        names = members.names(self.settings)
        apart = self._apart(images, self.rules)
        return {rule: dict(zip(names, scores, strict=True)) for rule, scores in apart.items()}

    def combine(
        self, apart: dict[str, dict[str, np.ndarray]], *, neighbours: bool = True
    ) -> dict[str, np.ndarray]:
        """The ensemble's scores, as `score_all` gives them, of its members' (`score_members`).

        Without `neighbours` they are what the networks alone would give.
        """
        names = members.names(self.settings)
        for scores in apart.values():
            if set(scores) != set(names):
                raise ConfigError(f"members {', '.join(scores)}: must be {', '.join(names)}")
        stacked = {rule: np.stack([scores[name] for name in names]) for rule, scores in apart.items()}
        if neighbours or self._neighbours is None:
            return self._combined(stacked)
        count = len(self._members)
        return {
            rule: members.combine(rule, scores[:count], self._standards[rule][:count] if count > 1 else None)
            for rule, scores in stacked.items()
        }

    def _scores(
        self, images: Any, rules: tuple[str, ...], on_scored: Callable[[int], None] = lambda done: None
    ) -> dict[str, np.ndarray]:
        return self._combined(self._apart(images, rules, on_scored=on_scored))

    def _combined(self, apart: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        neighbours = self._neighbours is not None
        return {
            rule: members.combine(rule, scores, self._standards.get(rule), neighbours)
            for rule, scores in apart.items()
        }

    @property
    def _together(self) -> list[Member | Neighbours]:
        """All that score: networks, then the neighbours, if the run has some."""
        return [*self._members, *([self._neighbours] if self._neighbours else [])]

    def _apart(
        self,
        images: Any,
        rules: tuple[str, ...],
        own: bool = False,
        on_scored: Callable[[int], None] = lambda done: None,
    ) -> dict[str, np.ndarray]:
        """Scores of each member in its own view, float64 (M, N) by rule; `own`: of the training images themselves."""
        self._first()
        found: dict[str, list[np.ndarray]] = {rule: [] for rule in rules}
        done = 0
        for x in self._batches(images):
            scores = [member.scores(x, rules) for member in (self._members if own else self._together)]
            for rule in rules:
                found[rule].append(np.stack([one[rule].numpy() for one in scores]))
            done += len(x)
            on_scored(done)
        apart = {rule: np.concatenate(parts, axis=1) for rule, parts in found.items()}
        if own and self._neighbours is not None:  # an image is no neighbour of its own
            others = self._neighbours.own_scores(rules)
            apart = {rule: np.vstack([scores, others[rule].numpy()]) for rule, scores in apart.items()}
        return apart

    def calibration_scores(self, rule: str | None = None) -> np.ndarray:
        """Scores of the calibration images, float64 (n,)."""
        self._first()
        return self._calibration[self.check_rule(rule)]

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
        member = self._first()
        return np.concatenate([member.picture(x).cpu().numpy() for x in self._batches(images)])

    def encode(self, images: Any) -> np.ndarray:
        """Embeddings, float32 (N, latent_dim)."""
        member, model = self._first(), self._network()
        with torch.no_grad():
            seen = (member.see(x)[0] for x in self._batches(images))
            return np.concatenate([model.encode(x).cpu().numpy() for x in seen])

    def decode(self, codes: Any) -> np.ndarray:
        """Images of embeddings (N, latent_dim), in the first network's view: float32 (N, 28, 28) in [0, 1]."""
        model = self._network()
        array = np.asarray(codes, dtype=np.float32)
        if array.ndim != 2 or array.shape[1] != self.settings.latent_dim or not np.isfinite(array).all():
            raise ConfigError(f"codes: shape {array.shape}: must be finite, (N, {self.settings.latent_dim})")
        with torch.no_grad():
            return self._flat(model.decode(torch.from_numpy(array).to(self.device)))

    def _flat(self, maps: Tensor) -> np.ndarray:
        """Decoded maps (N, C, 28, 28) of the first network as pictures (N, 28, 28)."""
        return (maps[:, 0] if self._first().view.again else maps.sum(1).clamp(0, 1)).cpu().numpy()

    def generate(self, count: int, seed: int = 0) -> np.ndarray:
        """New images, decoded means of draws from the prior: float32 (count, 28, 28) in [0, 1].

        Raises ConfigError for a model without a density: it has no prior to draw from.
        """
        model = self._density_model()
        if count < 1:
            raise ConfigError(f"count {count}: must be at least 1")
        draws = np.random.default_rng([seed, seeds.PRIOR]).standard_normal((count, model.width))
        with torch.no_grad():
            return self._flat(model.sample(torch.from_numpy(draws.astype(np.float32)).to(self.device)))

    def unit_activity(self, images: Any) -> tuple[np.ndarray, np.ndarray]:
        """`(variance of each latent unit's posterior mean over the images, its mean KL in nats)` of a density."""
        member, model = self._first(), self._density_model()
        with torch.no_grad():
            parts = [unit_terms(model, member.see(x)[0]) for x in self._batches(images)]
        means, kl = (torch.cat(part) for part in zip(*parts, strict=True))
        return means.var(0, correction=0).cpu().numpy(), kl.mean(0).cpu().numpy()

    def heatmap_rule(self, rule: str | None = None) -> str:
        """The rule whose pixel terms are drawn for a rule: itself, or `smooth` where it is no sum over pixels."""
        rule = self.check_rule(rule)
        return rule if rule in scoring.RULES else "smooth"

    def heatmap(self, images: Any, rule: str | None = None) -> np.ndarray:
        """Where the score comes from: float64 (N, 28, 28), signed, absolute values summing to the score.

        Positive where there is ink the model did not expect, negative where expected ink is missing. For a score
        that is no sum over pixels (a density's) the terms of `smooth` are given: see `heatmap_rule`.

        Of an ensemble it is the mean of the members' heatmaps, weighed as their scores are, each laid over the image
        (a deskewed one sheared back, the maps of one place added up) and divided by what its member usually scores,
        so that a usual normal image sums to about 1; see `heatmap_level`.
        """
        rule = self.heatmap_rule(rule)
        self._first()
        share = self._shares()
        if len(share) > 1:
            share = share / np.exp(self._standards[rule][:, 0])
        parts = []
        for x in self._batches(images):
            terms = [s * m.terms(rule, x).numpy() for m, s in zip(self._together, share, strict=True)]
            parts.append(np.sum(terms, axis=0))
        return np.concatenate(parts)

    def _shares(self) -> np.ndarray:
        """What each member counts for, 1 in all."""
        return members.weights(len(self._together), self._neighbours is not None)

    def heatmap_level(self, alpha: float = DEFAULT_ALPHA, rule: str | None = None) -> float:
        """What the absolute terms of a heatmap sum to, about, at the threshold (the largest calibration score where
        there is none): the measure of the colour scale, see `anomalae.plots.heat_scale`."""
        rule = self.heatmap_rule(rule)
        level = self.threshold(alpha, rule)
        level = float(self._calibration[rule].max()) if level is None else level
        if len(self._together) == 1:
            return level
        return float(np.exp(level * (self._shares() @ self._standards[rule][:, 1])))

    # --- saving -----------------------------------------------------------------------------------------------

    def save(self, folder: str | Path) -> None:
        """Write a run folder; a run already there is replaced whole, and stays whole if writing fails."""
        self._first()
        runs.replace_folder(Path(folder), self.write)

    def write(self, folder: Path) -> None:
        """Write the run's files into an existing folder, `config.json` last, and drop its checkpoint."""
        self._first()
        storage.write(folder, self._members, self._neighbours, self._calibration, self._standards)
        files.write_jsonl(folder / runs.HISTORY, training.history_lines(self.history))
        files.write_json(folder / runs.CONFIG, self._record().to_dict())
        (folder / runs.CHECKPOINT).unlink(missing_ok=True)

    @classmethod
    def load(cls, folder: str | Path, *, device: str = "auto", threads: int | None = None) -> Detector:
        """Read a run folder. Raises BundleError, naming file and fault, for one that is not whole and sound."""
        folder = Path(folder)
        record = read_record(folder)
        detector = cls(device=device, threads=threads)
        detector.settings = detector._given = record.settings
        detector.data = record.data
        detector.environment, detector.created = record.environment, record.created
        detector.validation = record.validation
        use_threads(threads)
        found = storage.read(folder, record, detector.device)
        detector._members, detector._neighbours, detector._calibration, detector._standards = found
        detector.history = training.read_history(folder / runs.HISTORY)
        return detector

    def to(self, device: str) -> Detector:
        """Move the networks to a device (auto, cpu, cuda or mps); returns self. ConfigError where there is none."""
        self.device = choose_device(device)
        for member in self._members:
            member.model.to(self.device)
        return self

    def _record(self) -> Record:
        seconds = round(sum(line.seconds for line in self.history), 3)
        return Record(self.settings, self.data, self.environment, self.created, seconds, self.validation)

    # --- inside -----------------------------------------------------------------------------------------------

    def _first(self) -> Member:
        """The first network, which stands for an ensemble where one must: its codes, its reconstructions."""
        if not self._members:
            raise ConfigError(
                "this detector is not fitted yet: call fit(images) or Detector.load(folder) first"
            )
        return self._members[0]

    def _network(self) -> Any:
        return self._first().model

    def _density_model(self) -> VariationalAutoencoder:
        return self._first().density_model()

    def check_rule(self, rule: str | None) -> str:
        """The rule of this name, None being the default one; ConfigError for one this detector lacks."""
        rule = rule or self.settings.rule
        if rule not in self.rules:
            raise ConfigError(
                f"score {rule!r}: a run of model {self.settings.model} has {', '.join(self.rules)}"
            )
        return rule

    def _tensor(self, images: np.ndarray) -> Tensor:
        floats = images.astype(np.float32) / np.float32(255) if images.dtype == np.uint8 else images
        return torch.from_numpy(floats)[:, None].to(self.device)

    def _batches(self, images: Any) -> list[Tensor]:
        return list(self._tensor(check_images(images)).split(training.SCORING_BATCH))
