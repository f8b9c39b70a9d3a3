"""Plain tables: a small dense autoencoder or VAE on standardised columns, scored by the `mse` rule."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import torch
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from anomalae import seeds
from anomalae.datasets.load import split_indices
from anomalae.errors import ConfigError, DataError, TrainingError
from anomalae.evaluation import conformal
from anomalae.models.layers import _dense, initialise
from anomalae.models.likelihoods import LOG_2PI
from anomalae.models.training.loop import SCORING_BATCH, WARM_UP, Epoch, one_cycle
from anomalae.models.vae import LOG_VARIANCE, kl_to_standard
from anomalae.runs.environment import choose_device, use_threads
from anomalae.settings import DEFAULT_ALPHA, Settings

NOISE_SIGMA = 0.5  # of the normal noise on each standardised value, at `Settings.noise` 1
NARROWEST, WIDEST = 64, 512  # units of the first hidden layer, where none are asked for
WIDEST_CODE = 64  # units of the embedding, likewise
FARTHEST = 1e150  # standard deviations; the square of more is no number
LEAST_LOG_SIGMA = math.log(0.01)  # floor of the VAE's sigma: without noise a wide network would drive it to 0


class TableAutoencoder(nn.Module):
    """y = d(e(x)), both dense; the output is linear, for standardised values have no range."""

    def __init__(self, features: int, hidden: tuple[int, ...], latent_dim: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(*_dense([features, *hidden, latent_dim]))
        self.decoder = nn.Sequential(*_dense([latent_dim, *reversed(hidden), features]))

    def reconstruct(self, rows: Tensor) -> Tensor:
        """Rows (N, features) -> reconstructions of the same shape."""
        return self.decoder(self.encoder(rows))

    def loss(self, corrupted: Tensor, clean: Tensor, source: torch.Generator, warmth: float) -> Tensor:
        """Squared error summed over columns, a row each: (N,). Neither chance nor warm-up plays a part."""
        return (self.reconstruct(corrupted) - clean).square().sum(1)


class TableVariationalAutoencoder(nn.Module):
    """z ~ N(0, I), x | z ~ N(d(z), sigma^2 I) with one learned sigma, q(z | x) = N(mu(x), diag exp(v(x))).

    The criterion is that of `anomalae.models.VariationalAutoencoder`: q sees the corrupted row, the likelihood is
    the clean one's.
    """

    def __init__(self, features: int, hidden: tuple[int, ...], latent_dim: int, beta: float) -> None:
        super().__init__()
        self.beta = beta
        self.encoder = nn.Sequential(*_dense([features, *hidden, 2 * latent_dim]))
        self.decoder = nn.Sequential(*_dense([latent_dim, *reversed(hidden), features]))
        self.log_sigma = nn.Parameter(torch.tensor(math.log(0.5)))

    def posterior(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Rows (N, features) -> mean and log variance of q(z | x), (N, latent_dim) each."""
        mean, log_variance = self.encoder(rows).chunk(2, dim=1)
        return mean, log_variance.clamp(*LOG_VARIANCE)

    def reconstruct(self, rows: Tensor) -> Tensor:
        """Rows (N, features) -> decoded means at the posterior means, of the same shape."""
        return self.decoder(self.posterior(rows)[0])

    def loss(self, corrupted: Tensor, clean: Tensor, source: torch.Generator, warmth: float) -> Tensor:
        """Minus the ELBO in nats with one sample a row and the KL term times `beta * warmth`, (N,)."""
        mean, log_variance = self.posterior(corrupted)
        draws = torch.randn(mean.shape, generator=source).to(mean.device)
        error = (self.decoder(mean + torch.exp(log_variance / 2) * draws) - clean).square().sum(1)
        log_sigma, d = self.log_sigma.clamp_min(LEAST_LOG_SIGMA), clean.shape[1]
        log_likelihood = -error / (2 * torch.exp(2 * log_sigma)) - d * log_sigma - d / 2 * LOG_2PI
        return self.beta * warmth * kl_to_standard(mean, log_variance) - log_likelihood


TableModel = TableAutoencoder | TableVariationalAutoencoder


def table_settings(rows: int, features: int, **given: Any) -> Settings:
    """Settings for a table of this size: widths that fit it, for what is not given (or None).

    The first hidden layer is 4 times as wide as a row, within 64 and 512 units, the second half of that. The
    embedding has half as many units as a row has columns, and no more than a quarter of the rows, nor than 64: a
    bottleneck wider than what the rows span is none. One rebuild, for a second did not help on tables. Raises
    ConfigError for what tables do not have: another score than `mse`, another likelihood than `gaussian`, draws for
    a score, convolutions.

    >>> table_settings(rows=1000, features=30).hidden, table_settings(rows=1000, features=30).latent_dim
    ((120, 60), 15)
    """
    for name, only in (("score", "mse"), ("likelihood", "gaussian"), ("architecture", "dense")):
        if given.get(name) not in (None, only):
            raise ConfigError(f"{name} {given[name]!r}: for tables it is {only}; others are for 28x28 images")
    if given.get("samples") is not None:
        raise ConfigError(f"samples {given['samples']!r}: the score of a table, mse, draws none")
    wide = max(NARROWEST, min(WIDEST, 4 * features))
    code = max(1, min(WIDEST_CODE, features // 2, rows // 4))
    filled: dict[str, Any] = {"hidden": (wide, wide // 2), "latent_dim": code, "passes": 1, "score": "mse"}
    if given.get("model") == "vae":
        filled["likelihood"] = "gaussian"
    return Settings.of(**filled | {name: value for name, value in given.items() if value is not None})


class TableDetector:
    """What `anomalae.Detector` is for images, for tables: fit on rows, score others, p-values by held-out rows.

    Each column is standardised by the mean and standard deviation of the training rows; a column that is constant
    there keeps its unit. Scores are `mean over columns of (x - y)^2`, x the standardised row and y what the network
    makes of it, float64 (N,), higher = more anomalous. The network is shown no value outside the column's range in
    training, so that it cannot go along with a far one by extrapolating: only the error sees how far that is.

    Scores are computed on the CPU, in double precision, so that a row's score does not depend on its neighbours.
    """

    def __init__(self, *, device: str = "auto", threads: int | None = None, **given: Any) -> None:
        self.device, self.threads, self._given = choose_device(device), threads, given
        self.history: list[Epoch] = []

    def fit(self, rows: np.ndarray) -> TableDetector:
        """Train on rows, finite numbers (N, features), N at least 3; returns self.

        A tenth of them, at least 40 where there are that many (a third, if that is less), is put aside by the seed
        and serves for nothing but p-values and thresholds; see `anomalae.datasets.load.split_indices`. Raises DataError
        for fewer than 3 rows and numbers too large to square, TrainingError when the loss is no longer finite.
        """
        settings = table_settings(*rows.shape, **self._given)
        train, validation, calibrating = split_indices(len(rows), settings.seed)
        train = np.sort(np.concatenate([train, validation]))  # nothing here is chosen by a validation loss
        self.settings = settings.for_images(len(train))
        use_threads(self.threads)
        self._standardise_by(rows[train])
        known = self._standardised(rows[train])
        self.low, self.high = known.min(0), known.max(0)
        model = _build(self.settings, rows.shape[1]).to(self.device)
        self.history = _train(model, torch.from_numpy(known).float().to(self.device), self.settings)
        self._model = model.cpu().double().eval()
        self._calibration = self.score(rows[calibrating])
        return self

    def score(self, rows: np.ndarray) -> np.ndarray:
        """Scores, float64 (N,), at least 0."""
        table = torch.from_numpy(self._standardised(rows))
        low, high = torch.from_numpy(self.low), torch.from_numpy(self.high)
        return np.concatenate(
            [
                (part - self._rebuilt(part, low, high)).clamp(-FARTHEST, FARTHEST).square().mean(1).numpy()
                for part in table.split(SCORING_BATCH)
            ]
        )

    def calibration_scores(self) -> np.ndarray:
        """Scores of the rows put aside, float64 (n,)."""
        return self._calibration

    def p_values(self, rows: np.ndarray) -> np.ndarray:
        """Conformal p-values, float64 (N,) in [1/(n+1), 1]; see `anomalae.evaluation.conformal.p_values`."""
        return conformal.p_values(self.score(rows), self._calibration)

    def threshold(self, alpha: float = DEFAULT_ALPHA) -> float | None:
        """The score above which rows are flagged at false-alarm level alpha; None when none can be."""
        return conformal.threshold(self._calibration, alpha)

    def _standardise_by(self, rows: np.ndarray) -> None:
        with np.errstate(over="ignore", invalid="ignore"):
            scaler = StandardScaler().fit(rows.astype(np.float64))
        self.mean, self.scale = scaler.mean_, scaler.scale_
        wrong = np.flatnonzero(~(np.isfinite(self.mean) & np.isfinite(self.scale)))
        if wrong.size:
            raise DataError(f"column {wrong[0]}: its values are too large to take their variance")

    def _standardised(self, rows: np.ndarray) -> np.ndarray:
        return np.asarray((rows.astype(np.float64) - self.mean) / self.scale)

    def _rebuilt(self, rows: Tensor, low: Tensor, high: Tensor) -> Tensor:
        rebuilt = [rows]
        with torch.no_grad():
            for _ in range(self.settings.passes or 1):
                rebuilt.append(self._model.reconstruct(rebuilt[-1].clamp(low, high)))
        return torch.stack(rebuilt[1:]).mean(0)


def _build(settings: Settings, features: int) -> TableModel:
    shape = (features, settings.hidden, settings.latent_dim)
    model: TableModel
    with torch.random.fork_rng(devices=[]):  # layers draw as they are made; the draws that count follow
        if settings.beta is None:
            model = TableAutoencoder(*shape)
        else:
            model = TableVariationalAutoencoder(*shape, settings.beta)
    initialise(model, seeds.generator(settings.seed, seeds.WEIGHTS))
    return model


def _train(model: TableModel, rows: Tensor, settings: Settings) -> list[Epoch]:
    """Train on standardised rows, float32 (N, features); the schedule is that of `models.training.loop.run`."""
    epochs, batch = settings.epochs or 1, settings.batch_size or len(rows)
    total = epochs * math.ceil(len(rows) / batch)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
    )
    history: list[Epoch] = []
    step = 0
    for number in range(1, epochs + 1):
        begun, summed, rate = time.perf_counter(), 0.0, 0.0
        source = seeds.generator(settings.seed, seeds.EPOCH, number)
        for chosen in torch.randperm(len(rows), generator=source).split(batch):
            rate, beta = one_cycle(step, total, settings.learning_rate)
            optimizer.param_groups[0].update(lr=rate, betas=(beta, 0.999))
            clean = rows[chosen.to(rows.device)]
            draws = torch.randn(clean.shape, generator=source).to(rows.device)
            corrupted = clean + settings.noise * NOISE_SIGMA * draws
            loss = model.loss(corrupted, clean, source, min(1.0, step / (WARM_UP * total))).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            summed += loss.item() * len(clean)
            step += 1
        if not math.isfinite(summed):
            raise TrainingError(
                f"the loss became {summed / len(rows)} in epoch {number}: lower learning_rate "
                f"(now {settings.learning_rate:g})"
            )
        history.append(Epoch(number, summed / len(rows), None, rate, round(time.perf_counter() - begun, 4)))
    return history
