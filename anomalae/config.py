"""Settings of a detector: a frozen dataclass, JSON in and out, unknown keys refused. Imports nothing heavy."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from numbers import Integral
from typing import Any, TypeVar

from anomalae.errors import ConfigError

T = TypeVar("T")

FORMAT_VERSION = 1  # of a run folder; raised when an older anomalae could no longer read a newer run
PIXELS = 28 * 28

MODELS = ("ae", "vae")
ARCHITECTURES = ("dense", "conv")
DEVICES = ("auto", "cpu", "cuda", "mps")
RECONSTRUCTION_SCORES = ("mse", "relative", "smooth")
DENSITY_SCORES = ("elbo", "iwae", "reconstruction-probability", "kl")
LIKELIHOODS = ("smooth-direction", "smooth-gaussian", "gaussian", "bernoulli")
SCORES = (*RECONSTRUCTION_SCORES, *DENSITY_SCORES, "elbo-excess")
PREPROCESSES = ("auto", "mnist", "resize", "none")
POLARITIES = ("auto", "light", "dark")
VIEWS = ("pixels", "deskewed", "edges")  # described in `anomalae.views`
DEFAULT_ALPHA = 0.05

# Named sets of settings; a setting given beside a preset wins. Measured in reports/choosing-the-ensemble.md.
PRESETS: dict[str, dict[str, Any]] = {
    "accurate": {"views": VIEWS},
    "fast": {"hidden": (256, 128), "latent_dim": 32, "epochs": 10, "passes": 1},
}

BATCH, LEAST_BATCH = 128, 32  # images a step, of many and of few training images
SCHEDULE = {"ae": (30, 1200), "vae": (40, 1600)}  # at least so many epochs, and steps


@dataclass(frozen=True)
class Settings:
    """Everything that decides which weights a training ends with, and the score it is judged by.

    Raises ConfigError, naming the value and the limit, for any value out of its range.
    """

    model: str = "ae"  # one of MODELS
    architecture: str = "dense"  # one of ARCHITECTURES
    latent_dim: int = 64  # width of the embedding, 1 to 784
    hidden: tuple[int, ...] = (1024, 512)  # dense: units a layer; conv: channels a layer (2); encoder order
    epochs: int | None = None  # passes over the training images, at least 1; None: see `for_images`
    batch_size: int | None = None  # images a step, at least 1; None: see `for_images`
    learning_rate: float = 2e-3  # peak of the one-cycle schedule, above 0
    weight_decay: float = 1e-4  # of AdamW, at least 0
    noise: float = 1.0  # scale of the corruption: 1 as tuned, 0 = plain autoencoder with L2 loss
    score: str | None = None  # rule by which images are judged; None: `smooth` of an ae, `elbo` of a vae
    likelihood: str | None = None  # vae: one of LIKELIHOODS; None: the first of them
    beta: float | None = None  # vae: weight of the KL term in training, at least 0; None: 1
    samples: int | None = None  # vae: draws of z by which an image is scored, at least 1; None: 16
    passes: int | None = None  # successive rebuilds, averaged; at least 1; None: 2 of a denoising ae, else 1
    views: tuple[str, ...] = ("pixels",)  # names of VIEWS, none twice: what the networks of an ensemble see
    members: int = 1  # networks a view, at least 1
    seed: int = 0  # of the initial weights, the order of images and the noise; at least 0

    def __post_init__(self) -> None:
        _choice("model", self.model, MODELS)
        _choice("architecture", self.architecture, ARCHITECTURES)
        _integer("latent_dim", self.latent_dim, 1, PIXELS)
        for name in ("epochs", "batch_size"):
            if getattr(self, name) is not None:
                _integer(name, getattr(self, name), 1)
        _integer("seed", self.seed, 0, 2**63 - 1)
        _number("learning_rate", self.learning_rate, above=0.0)
        _number("weight_decay", self.weight_decay, least=0.0)
        _number("noise", self.noise, least=0.0)
        if self.passes is None:
            object.__setattr__(self, "passes", 2 if self.model == "ae" and self.noise > 0 else 1)
        _integer("passes", self.passes, 1)
        _integer("members", self.members, 1)
        self._check_views()
        if self.model == "vae":
            self._complete_vae()
        else:
            for name in ("likelihood", "beta", "samples"):
                if getattr(self, name) is not None:
                    raise ConfigError(
                        f"{name} {getattr(self, name)!r}: only a vae has one, and model is {self.model!r}"
                    )
        names = score_names(self.model, self.likelihood)
        if self.score is None:
            object.__setattr__(self, "score", "elbo" if self.model == "vae" else "smooth")
        elif self.score not in names:
            raise ConfigError(f"score {self.score!r}: {self._described()} has {', '.join(names)}")
        try:
            object.__setattr__(self, "hidden", tuple(self.hidden))
        except TypeError:
            raise ConfigError(
                f"hidden {self.hidden!r}: must be several whole numbers, as in 1024, 512"
            ) from None
        for width in self.hidden:
            _integer("hidden", width, 1)
        if self.architecture == "conv" and len(self.hidden) != 2:
            raise ConfigError(f"hidden {list(self.hidden)}: the conv architecture has 2 layers")

    def _check_views(self) -> None:
        views = tuple(self.views)
        for name in views:
            if name not in VIEWS:
                raise ConfigError(f"view {name!r}: must be one of {', '.join(VIEWS)}")
            if views.count(name) > 1:
                raise ConfigError(f"view {name!r}: named twice; for several networks of a view see members")
        if not views:
            raise ConfigError("views: at least one is needed")
        object.__setattr__(self, "views", views)

    def _complete_vae(self) -> None:
        for name, default in (("likelihood", LIKELIHOODS[0]), ("beta", 1.0), ("samples", 16)):
            if getattr(self, name) is None:
                object.__setattr__(self, name, default)
        _choice("likelihood", self.likelihood, LIKELIHOODS)
        _number("beta", self.beta, least=0.0)
        _integer("samples", self.samples, 1)

    def _described(self) -> str:
        return f"a vae with likelihood {self.likelihood}" if self.model == "vae" else f"an {self.model}"

    @property
    def n_networks(self) -> int:
        """Number of networks: members of every view."""
        return self.members * len(self.views)

    @property
    def rule(self) -> str:
        """The score by which images are judged."""
        return self.score or self.rules[0]

    @property
    def rules(self) -> tuple[str, ...]:
        """Names of the scores that a model of these settings has."""
        return score_names(self.model, self.likelihood)

    @classmethod
    def of(cls, **given: Any) -> Settings:
        """Settings with the measured defaults of the model and architecture for whatever is not given.

        A value of None counts as not given. Unknown names raise ConfigError.
        """
        given = {key: value for key, value in given.items() if value is not None}
        known = {field.name for field in dataclasses.fields(cls)}
        for key in given:
            if key not in known:
                raise ConfigError(f"unknown setting {key!r}; known: {', '.join(sorted(known))}")
        return cls(**{**_DEFAULTS.get(given.get("architecture", "dense"), {}), **given})

    def for_images(self, n: int) -> Settings:
        """These settings with `batch_size` and `epochs` filled in for n training images where they are None.

        128 images a step and 30 epochs (40 of a vae) are what one MNIST class was tuned with, some 1,200 (1,600)
        steps. Fewer images get smaller batches, down to 32, and as many epochs as make so many steps.
        """
        least, steps = SCHEDULE[self.model]
        batch = self.batch_size or max(LEAST_BATCH, min(BATCH, n // LEAST_BATCH))
        epochs = self.epochs or max(least, math.ceil(steps / math.ceil(n / batch)))
        return dataclasses.replace(self, batch_size=batch, epochs=epochs)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able dict, tuples as lists; `from_dict` reads it back."""
        return {key: _jsonable(value) for key, value in dataclasses.asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any], where: str = "settings") -> Settings:
        """Read what `to_dict` wrote: missing keys take the field's default, unknown ones raise ConfigError."""
        return strict(cls, values, where)


# What differs from the dataclass' defaults where the architecture is not dense.
_DEFAULTS: dict[str, dict[str, Any]] = {"conv": {"hidden": (32, 64)}}


def score_names(model: str, likelihood: str | None = None) -> tuple[str, ...]:
    """Names of the scores that a model of this kind has."""
    if model == "ae":
        return RECONSTRUCTION_SCORES
    excess = ("elbo-excess",) if likelihood == "bernoulli" else ()
    return (*DENSITY_SCORES, *excess, *RECONSTRUCTION_SCORES)


def _jsonable(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_jsonable(item) for item in value]
    return int(value) if isinstance(value, Integral) else value


def strict(cls: type[T], values: Any, where: str) -> T:
    """Build the dataclass `cls` from a dict; `where` (a path) opens the message of the ConfigError otherwise."""
    if not isinstance(values, dict):
        raise ConfigError(f"{where}: expected an object, got {type(values).__name__}")
    known = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            raise ConfigError(f"{where}: unknown key {key!r}")
    try:
        return cls(**values)
    except (TypeError, ConfigError) as error:
        raise ConfigError(f"{where}: {error}") from None


def _choice(name: str, value: Any, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError(f"{name} {value!r}: must be one of {', '.join(allowed)}")


def _integer(name: str, value: Any, least: int, most: int | None = None) -> None:
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise ConfigError(f"{name} {value!r}: must be a whole number")
    value = int(value)
    if value < least or (most is not None and value > most):
        limit = f"at least {least}" if most is None else f"from {least} to {most}"
        raise ConfigError(f"{name} {value}: must be {limit}")


def _number(name: str, value: Any, *, above: float = -math.inf, least: float = -math.inf) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ConfigError(f"{name} {value!r}: must be a finite number")
    if value <= above or value < least:
        raise ConfigError(
            f"{name} {value}: must be {f'above {above:g}' if value <= above else f'at least {least:g}'}"
        )
