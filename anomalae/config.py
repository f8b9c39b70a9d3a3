"""Settings of a detector: a frozen dataclass, JSON in and out, unknown keys refused. Imports nothing heavy."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, TypeVar

from anomalae.errors import ConfigError

T = TypeVar("T")

FORMAT_VERSION = 1  # of a run folder; raised when an older anomalae could no longer read a newer run
PIXELS = 28 * 28

MODELS = ("ae",)
ARCHITECTURES = ("dense", "conv")
DEVICES = ("auto", "cpu", "cuda", "mps")
RECONSTRUCTION_SCORES = ("mse", "relative", "smooth")
PREPROCESSES = ("auto", "mnist", "resize", "none")
POLARITIES = ("auto", "light", "dark")
DEFAULT_ALPHA = 0.05

BATCH, LEAST_BATCH = 128, 32  # images a step, of many and of few training images
EPOCHS, STEPS = 30, 1200  # at least so many of both


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
    score: str = "smooth"  # rule by which images are judged unless another is asked for
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
        _choice("score", self.score, score_names(self.model))
        object.__setattr__(self, "hidden", tuple(self.hidden))
        for width in self.hidden:
            _integer("hidden", width, 1)
        if self.architecture == "conv" and len(self.hidden) != 2:
            raise ConfigError(f"hidden {list(self.hidden)}: the conv architecture has 2 layers")

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

        128 images a step and 30 epochs are what one MNIST class was tuned with, some 1,200 steps. Fewer images get
        smaller batches, down to 32, and as many epochs as make 1,200 steps.
        """
        batch = self.batch_size or max(LEAST_BATCH, min(BATCH, n // LEAST_BATCH))
        epochs = self.epochs or max(EPOCHS, math.ceil(STEPS / math.ceil(n / batch)))
        return dataclasses.replace(self, batch_size=batch, epochs=epochs)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able dict, tuples as lists; `from_dict` reads it back."""
        return {key: list(v) if isinstance(v, tuple) else v for key, v in dataclasses.asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any], where: str = "settings") -> Settings:
        """Read what `to_dict` wrote: missing keys take the field's default, unknown ones raise ConfigError."""
        return strict(cls, values, where)


# What differs from the dataclass' defaults where the architecture is not dense.
_DEFAULTS: dict[str, dict[str, Any]] = {"conv": {"hidden": (32, 64)}}


def score_names(model: str) -> tuple[str, ...]:
    """Names of the scores that a model of this kind has."""
    _choice("model", model, MODELS)
    return RECONSTRUCTION_SCORES


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
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(f"{name} {value!r}: must be a whole number")
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
