"""Settings of a detector: a frozen dataclass, JSON in and out, unknown keys refused. Imports nothing heavy."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from numbers import Integral
from typing import Any, TypeVar

from anomalae.errors import ConfigError

T = TypeVar("T")

FORMAT_VERSION = 2  # of a run folder; raised when an older anomalae could no longer read a newer run
PIXELS = 28 * 28

MODELS = ("ae", "vae", "ladder-vae", "adgm")
DENSITIES = MODELS[1:]  # models with an explicit density
ARCHITECTURES = ("dense", "conv")
DEVICES = ("auto", "cpu", "cuda", "mps")
RECONSTRUCTION_SCORES = ("mse", "relative", "smooth")
DENSITY_SCORES = ("elbo", "iwae", "reconstruction-probability", "kl")
LIKELIHOODS = ("smooth-direction", "smooth-gaussian", "gaussian", "bernoulli")
HIDDEN_SCORES = ("sap", "nap")  # of hidden activations, see `anomalae.scores.hidden`
MOST_LAYERS = 6  # of a ladder; a seventh would have a unit or two
RATIOS = tuple(f"llr-{k}" for k in range(1, MOST_LAYERS))
SCORES = (*RECONSTRUCTION_SCORES, *HIDDEN_SCORES, *DENSITY_SCORES, "elbo-excess", *RATIOS)
PREPROCESSES = ("auto", "mnist", "resize", "none")
POLARITIES = ("auto", "light", "dark")
VIEWS = ("pixels", "deskewed", "normalised", "edges")  # described in `anomalae.models.views`
MAPS = (
    "edges",
)  # those of which other maps are rebuilt than are seen: no second pass, no hidden-layer scores
DEFAULT_ALPHA = 0.05

# Named sets of settings; a setting given beside a preset wins.
PRESETS: dict[str, dict[str, Any]] = {
    "accurate": {"views": ("normalised",), "neighbours": 5},
    "fast": {
        "views": ("normalised",),
        "hidden": (256, 128),
        "latent_dim": 32,
        "epochs": 10,
        "passes": 1,
        "score": "nap",
    },
}
# What each gives: ROC-AUC of the tables in reports/, and training time as benchmarks/presets.py measures it.
PRESET_LINES = {
    "accurate": "mean ROC-AUC 0.997 on MNIST against the default's 0.990, 1.1 times its training time, scores slower",
    "fast": "0.993 in a tenth of it",
}

BATCH, LEAST_BATCH = 128, 32  # images a step, of many and of few training images
SCHEDULE = {"ae": (30, 1200), **dict.fromkeys(DENSITIES, (40, 1600))}  # at least so many epochs, and steps


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
    score: str | None = None  # rule by which images are judged; None: `smooth` of an ae, `elbo` of the others
    likelihood: str | None = None  # not of an ae: one of LIKELIHOODS; None: the first of them
    beta: float | None = None  # not of an ae: weight of the KL term in training, at least 0; None: 1
    samples: int | None = None  # not of an ae: draws of z by which an image is scored, at least 1; None: 16
    layers: int | None = None  # ladder-vae: layers of latents, each half as wide, 1 to MOST_LAYERS; None: 2
    auxiliary_dim: int | None = None  # adgm: width of the auxiliary variable, at least 1; None: 32
    passes: int | None = None  # successive rebuilds, averaged; at least 1; None: 2 of a denoising ae, else 1
    views: tuple[str, ...] = ("pixels",)  # names of VIEWS, none twice: what the networks of an ensemble see
    members: int = 1  # networks a view, at least 1
    neighbours: int = 0  # nearest training images that an image is set against beside the networks; 0: none
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
        _integer("neighbours", self.neighbours, 0)
        self._check_views()
        self._complete_model()
        names = self.rules
        if self.score is None:
            object.__setattr__(self, "score", "elbo" if self.model in DENSITIES else "smooth")
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
        given: Any = self.views
        if isinstance(given, str) or not hasattr(given, "__iter__"):
            raise ConfigError(f"views {given!r}: must be several names, as in ('pixels', 'edges')")
        views = tuple(self.views)
        for name in views:
            if name not in VIEWS:
                raise ConfigError(f"view {name!r}: must be one of {', '.join(VIEWS)}")
            if views.count(name) > 1:
                raise ConfigError(f"view {name!r}: named twice; for several networks of a view see members")
        if not views:
            raise ConfigError("views: at least one is needed")
        object.__setattr__(self, "views", views)

    def _complete_model(self) -> None:
        """Fill in what some models have and others do not; ConfigError where it is given to one that has it not."""
        for name, (models, default) in _OF_MODELS.items():
            given = getattr(self, name)
            if self.model in models and given is None:
                object.__setattr__(self, name, default)
            elif self.model not in models and given is not None:
                owners = " or ".join([", ".join(models[:-1]), models[-1]] if models[1:] else models)
                article = "an" if owners[0] == "a" else "a"
                raise ConfigError(
                    f"{name} {given!r}: only {article} {owners} has one, and model is {self.model!r}"
                )
        if self.model in DENSITIES:
            _choice("likelihood", self.likelihood, LIKELIHOODS)
            _number("beta", self.beta, least=0.0)
            _integer("samples", self.samples, 1)
        if self.layers is not None:
            _integer("layers", self.layers, 1, MOST_LAYERS)
        if self.auxiliary_dim is not None:
            _integer("auxiliary_dim", self.auxiliary_dim, 1, PIXELS)

    def _described(self) -> str:
        kind = f"{'an' if self.model[0] == 'a' else 'a'} {self.model}"
        kind += f" of {self.layers} layers" if self.layers else ""
        kind += f" with likelihood {self.likelihood}" if self.likelihood else ""
        return kind if self.views == ("pixels",) else f"{kind} that sees {', '.join(self.views)}"

    @property
    def n_networks(self) -> int:
        """Number of networks: members of every view."""
        return self.members * len(self.views)

    @property
    def short(self) -> str:
        """The model in a few words, for tables: `dense ae`, `dense ae of pixels,edges x2 + 5 neighbours`."""
        views = "" if self.views == ("pixels",) else f" of {','.join(self.views)}"
        members = "" if self.members == 1 else f" x{self.members}"
        neighbours = f" + {self.neighbours} neighbour{'s' * (self.neighbours > 1)}" if self.neighbours else ""
        return f"{self.architecture} {self.model}{views}{members}{neighbours}"

    @property
    def rule(self) -> str:
        """The score by which images are judged."""
        return self.score or self.rules[0]

    @property
    def rules(self) -> tuple[str, ...]:
        """Names of the scores that a model of these settings has."""
        errors: tuple[str, ...] = RECONSTRUCTION_SCORES
        if not set(self.views) & set(MAPS):
            errors += HIDDEN_SCORES
        if self.model not in DENSITIES:
            return errors
        excess = ("elbo-excess",) if self.likelihood == "bernoulli" else ()
        return (*DENSITY_SCORES, *excess, *RATIOS[: (self.layers or 1) - 1], *errors)

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


# Settings of some models only: which, and the default.
_OF_MODELS: dict[str, tuple[tuple[str, ...], Any]] = {
    "likelihood": (DENSITIES, LIKELIHOODS[0]),
    "beta": (DENSITIES, 1.0),
    "samples": (DENSITIES, 16),
    "layers": (("ladder-vae",), 2),
    "auxiliary_dim": (("adgm",), 32),
}

# What differs from the dataclass' defaults where the architecture is not dense.
_DEFAULTS: dict[str, dict[str, Any]] = {"conv": {"hidden": (32, 64)}}


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
