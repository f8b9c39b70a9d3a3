"""Settings of a detector, each described once: default, range, a sentence of help, which models have it.

Checks, the command line's options, keys of a TOML file and the estimators' checks follow from these descriptions. JSON
goes in and out, unknown keys are refused. Imports nothing heavy.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, TypedDict, TypeVar, Unpack

from anomalae.errors import ConfigError
from anomalae.network_kinds import LIKELIHOODS, MODELS, Kind, owners
from anomalae.plugins import SCORES, VIEWS
from anomalae.ranges import Choice, Range, Real, Rule, Views, Whole, Widths
from anomalae.text import shown

T = TypeVar("T")
Function = TypeVar("Function", bound=Callable[..., Any])

PIXELS = 28 * 28
MOST_LAYERS = 6  # of a ladder; a seventh would have a unit or two
# Limits no use comes near: beyond them time or memory runs out long before a result.
MOST_MEMBERS, MOST_PASSES, MOST_SAMPLES = 100, 100, 10_000
MOST_WIDTH, MOST_WIDTHS, MOST_EPOCHS, MOST_IMAGES = 16_384, 20, 100_000, 1_000_000

ARCHITECTURES = ("dense", "conv")
DEVICES = ("auto", "cpu", "cuda", "mps")
PREPROCESSES = ("auto", "mnist", "resize", "none")
POLARITIES = ("auto", "light", "dark")
DISTANCES = ("rms", "sum")
DEFAULT_ALPHA = 0.05
VIEWS_SEEN = ("settled",)

# Named sets of settings; a setting given beside a preset wins.
PRESETS: dict[str, dict[str, Any]] = {
    "accurate": {"neighbours": 8},
    "textbook": {"views": ("pixels",), "noise": 0.0, "score": "mse"},
}
# What each is for. Figures of each stand in reports/README.md.
PRESET_LINES = {
    "accurate": "the best; also compares with the training images, and scores more slowly",
    "textbook": "the plain autoencoder of a lecture, which everything else is measured against",
}

# What settings stand for where a file does not name them: it is older than the setting.
BEFORE: dict[str, Any] = {"views": ("pixels",), "distance": "sum"}

BATCH, LEAST_BATCH = 128, 32  # images a step, of many and of few training images
ROWS_SCHEDULE = (30, 1200)  # at least so many epochs and steps on a table's rows
CONV_HIDDEN = (32, 64)  # default of `hidden` where the architecture is conv


@dataclass(frozen=True)
class Description:
    """What is said of a setting, once.

    help: a sentence on what it is.
    range: what a value may be.
    shown: the default in words, where the dataclass' own does not tell.
    optional: whether None stands for a default that depends on the other settings or on the images.
    """

    help: str
    range: Range
    shown: str = ""
    optional: bool = False


def setting(default: Any, help: str, range: Range, shown: str = "") -> Any:
    """A field of Settings with its description; a default of None makes it optional."""
    description = Description(help, range, shown, optional=default is None)
    return dataclasses.field(default=default, metadata={"description": description})


def _schedules() -> str:
    """The default epochs of our kinds, in words."""
    ours = [kind for name in MODELS.names() if MODELS.is_ours(name) for kind in [MODELS[name]]]
    return "; ".join(
        f"{kind.name} {kind.schedule[0]}, more where {kind.schedule[1]:,} steps need them" for kind in ours
    )


def _of(name: str, help: str) -> str:
    """Help of a setting that not all kinds have."""
    names = owners(name)
    whose = "all but the ae" if len(names) > 1 else f"{'an' if names[0][0] == 'a' else 'a'} {names[0]}"
    return f"Of {whose}: {help}"


def _own(name: str) -> str:
    """The default of a setting that not all kinds have, in words."""
    value = MODELS[owners(name)[0]].own[name]
    return f"{value:g}" if isinstance(value, float) else str(value)


class SettingArguments(TypedDict, total=False):
    """The settings as keyword arguments, each with the type of its field in Settings; sequences may be of any kind.

    Editors and type checkers read it.
    """

    model: str
    architecture: str
    latent_dim: int
    hidden: Sequence[int]
    epochs: int | None
    batch_size: int | None
    learning_rate: float
    weight_decay: float
    noise: float
    score: str | None
    likelihood: str | None
    beta: float | None
    samples: int | None
    layers: int | None
    auxiliary_dim: int | None
    passes: int | None
    views: Sequence[str]
    members: int
    neighbours: int
    distance: str
    seed: int


@dataclass(frozen=True)
class Schedule:
    """How long a training takes, resolved for the images it has."""

    epochs: int  # passes over the training images
    batch_size: int  # images a step


@dataclass(frozen=True)
class NetworkSettings:
    """What decides the weights of one network but for the schedule: one view, one seed.

    Fields are as in Settings; those that its kind does not have are None.
    """

    model: str
    architecture: str
    latent_dim: int
    hidden: tuple[int, ...]
    learning_rate: float
    weight_decay: float
    noise: float
    likelihood: str | None
    beta: float | None
    samples: int | None
    layers: int | None
    auxiliary_dim: int | None
    passes: int
    view: str = "pixels"
    seed: int = 0

    @property
    def kind(self) -> Kind:
        """The kind of network."""
        return MODELS[self.model]


@dataclass(frozen=True)
class Settings:
    """Everything that decides which weights a training ends with, and the score it is judged by.

    Raises ConfigError, naming the value and the limit, for any value out of its range. `DESCRIPTIONS` has the range
    and the meaning of each.

    >>> Settings(model="vae", latent_dim=16).score
    'elbo'
    """

    model: str = setting("ae", "Kind of model.", Choice(MODELS.names))
    architecture: str = setting("dense", "Kind of layers.", Choice(lambda: ARCHITECTURES))
    latent_dim: int = setting(16, "Width of the embedding.", Whole(1, PIXELS))
    hidden: tuple[int, ...] = setting(
        (512, 256),
        "Units of the encoder's dense layers, or channels of its two conv layers; the decoder mirrors them.",
        Widths(MOST_WIDTH, MOST_WIDTHS),
        f"512,256; conv: {','.join(map(str, CONV_HIDDEN))}",
    )
    epochs: int | None = setting(
        None, "Passes over the training images.", Whole(1, MOST_EPOCHS), _schedules()
    )
    batch_size: int | None = setting(
        None, "Images a step.", Whole(1, MOST_IMAGES), f"{BATCH}, down to {LEAST_BATCH} for few images"
    )
    learning_rate: float = setting(2e-3, "Peak of the one-cycle schedule.", Real(0, open=True))
    weight_decay: float = setting(1e-4, "Share of AdamW's step by which weights shrink.", Real(0))
    noise: float = setting(
        1.0,
        "Scale of the coarse and the pixel noise added in training; 0 is a plain autoencoder with L2 loss.",
        Real(0),
    )
    score: str | None = setting(
        None,
        "Rule that judges images, as in bent, mse, smooth or elbo.",
        Rule(),
        f"ae {MODELS['ae'].score}, the others {MODELS['vae'].score}",
    )
    likelihood: str | None = setting(
        None,
        _of("likelihood", "the density of an image given its code."),
        Choice(lambda: LIKELIHOODS),
        _own("likelihood"),
    )
    beta: float | None = setting(
        None, _of("beta", "weight of the KL term in training; scores use 1."), Real(0), _own("beta")
    )
    samples: int | None = setting(
        None,
        _of("samples", "draws of the code by which an image is scored, the same for all."),
        Whole(1, MOST_SAMPLES),
        _own("samples"),
    )
    layers: int | None = setting(
        None,
        _of("layers", "layers of latents, each half as wide as the one below."),
        Whole(1, MOST_LAYERS),
        _own("layers"),
    )
    auxiliary_dim: int | None = setting(
        None,
        _of("auxiliary_dim", "width of the auxiliary variable."),
        Whole(1, PIXELS),
        _own("auxiliary_dim"),
    )
    passes: int | None = setting(
        None,
        "Times an image is rebuilt, the reconstruction rebuilt again; their mean is compared.",
        Whole(1, MOST_PASSES),
        "1",
    )
    views: tuple[str, ...] = setting(
        VIEWS_SEEN,
        f"What the networks of an ensemble see, one a view and scored together: {', '.join(VIEWS.ours())}.",
        Views(),
    )
    members: int = setting(1, "Networks a view, of different seeds.", Whole(1, MOST_MEMBERS))
    neighbours: int = setting(
        0,
        "Beside the networks, set an image against so many training images most like it, and let them count twice as "
        "much as all networks.",
        Whole(0, MOST_IMAGES),
        "0, none",
    )
    distance: str = setting(
        "rms",
        "How neighbours are set against an image: by the root mean square of what pixels differ by, or its sum.",
        Choice(lambda: DISTANCES),
    )
    seed: int = setting(0, "Of the initial weights, the order of images and the noise.", Whole(0, 2**63 - 1))

    def __post_init__(self) -> None:
        DESCRIPTIONS["model"].range.check("model", self.model)
        self._complete()
        for name, description in DESCRIPTIONS.items():
            value = getattr(self, name)
            if value is not None or not description.optional:
                object.__setattr__(self, name, description.range.check(name, value))
        if self.architecture == "conv" and len(self.hidden) != len(CONV_HIDDEN):
            raise ConfigError(f"hidden {list(self.hidden)}: the conv architecture has 2 layers")
        if self.score is None:
            object.__setattr__(self, "score", self.kind.score)
        # What our kinds judge by is known to fit; to find out would load PyTorch.
        if self.score != self.kind.score or not MODELS.is_ours(self.model):
            self._check_score()

    def _check_score(self) -> None:
        """Raise PartError for a score that its package cannot give, ConfigError for one that the networks lack."""
        if self.rule in SCORES:
            SCORES[self.rule]
        if self.rule not in self.rules:
            raise ConfigError(
                f"score {shown(self.rule)}: {self._described()} has {', '.join(self.rules)}",
                setting="score",
                unknown=self.rule,
                known=self.rules,
            )

    def _complete(self) -> None:
        """Fill in what depends on the kind; ConfigError for what a kind does not have."""
        for name in _OWN:
            value = getattr(self, name)
            if name in self.kind.own and value is None:
                object.__setattr__(self, name, self.kind.own[name])
            elif name not in self.kind.own and value is not None:
                *names, last = owners(name)
                whose = f"{', '.join(names)} or {last}" if names else last
                article = "an" if whose[0] == "a" else "a"
                raise ConfigError(
                    f"{name} {shown(value)}: only {article} {whose} has one, and model is {self.model!r}"
                )
        if self.passes is None:
            noisy = Real(0).check("noise", self.noise) > 0
            object.__setattr__(self, "passes", self.kind.denoising_passes if noisy else 1)

    def _described(self) -> str:
        words = f"{'an' if self.model[0] == 'a' else 'a'} {self.model}"
        words += f" of {self.layers} layers" if self.layers else ""
        words += f" with likelihood {self.likelihood}" if self.likelihood else ""
        return words if self.views == VIEWS_SEEN else f"{words} that sees {', '.join(self.views)}"

    @property
    def kind(self) -> Kind:
        """The kind of network."""
        return MODELS[self.model]

    @property
    def n_networks(self) -> int:
        """Number of networks: members of every view."""
        return self.members * len(self.views)

    @property
    def short(self) -> str:
        """The model in a few words, for tables: `dense ae`, `dense ae of pixels,edges x2 + 5 neighbours`."""
        views = "" if self.views == VIEWS_SEEN else f" of {','.join(self.views)}"
        members = "" if self.members == 1 else f" x{self.members}"
        neighbours = f" + {self.neighbours} neighbour{'s' * (self.neighbours > 1)}" if self.neighbours else ""
        return f"{self.architecture} {self.model}{views}{members}{neighbours}"

    @property
    def rule(self) -> str:
        """The score by which images are judged."""
        return self.kind.score if self.score is None else self.score

    @property
    def rules(self) -> tuple[str, ...]:
        """Names of the scores that all networks of these settings have.

        One of a package that fails is left out, and a PartWarning says so.
        """
        networks = [self.network(view) for view in self.views]
        fitting = SCORES.usable(lambda score: all(score.fits(network) for network in networks))
        return tuple(score.name for score in fitting)

    @classmethod
    def of(cls, **settings: Unpack[SettingArguments]) -> Settings:
        """Settings with the measured defaults of the model and architecture for whatever is not asked for.

        A value of None counts as not asked for. Raises ConfigError for an unknown name.
        """
        asked: dict[str, Any] = {key: value for key, value in settings.items() if value is not None}
        for key in asked:
            if key not in DESCRIPTIONS:
                raise ConfigError(
                    f"unknown setting {key!r}; known: {', '.join(sorted(DESCRIPTIONS))}",
                    unknown=key,
                    known=DESCRIPTIONS,
                )
        if asked.get("architecture") == "conv":
            asked.setdefault("hidden", CONV_HIDDEN)
        return cls(**asked)

    def network(self, view: str, seed: int | None = None) -> NetworkSettings:
        """The settings of one network that sees this view; `seed` is the settings' own where none is named."""
        shared = {field.name for field in dataclasses.fields(NetworkSettings)} - {"view", "seed"}
        values = {name: getattr(self, name) for name in shared}
        return NetworkSettings(**values, view=view, seed=self.seed if seed is None else seed)

    def schedule(self, n: int) -> Schedule:
        """How long a training on n images takes, where epochs and batch size are not asked for.

        128 images a step and 20 epochs (40 of a vae) are what one MNIST class was tuned with, some 800 (1,600)
        steps. Fewer images get smaller batches, down to 32, and as many epochs as make so many steps.
        """
        least, steps = self.kind.schedule
        return self._schedule(n, least, steps)

    def _schedule(self, n: int, least: int, steps: int) -> Schedule:
        batch = self.batch_size or max(LEAST_BATCH, min(BATCH, n // LEAST_BATCH))
        epochs = self.epochs or max(least, math.ceil(steps / math.ceil(n / batch)))
        return Schedule(epochs, batch)

    def for_images(self, n: int) -> Settings:
        """These settings with the epochs and the batch size of `schedule(n)`."""
        return dataclasses.replace(self, **dataclasses.asdict(self.schedule(n)))

    def for_rows(self, n: int) -> Settings:
        """These settings, of a table, with the epochs and the batch size for n rows.

        There is no view to make rows alike: they take at least 30 epochs and 1,200 steps, of a vae 40 and 1,600.
        """
        least, steps = (max(pair) for pair in zip(self.kind.schedule, ROWS_SCHEDULE, strict=True))
        return dataclasses.replace(self, **dataclasses.asdict(self._schedule(n, least, steps)))

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able dict, tuples as lists; `from_dict` reads it back."""
        return {key: _jsonable(value) for key, value in dataclasses.asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any], where: str = "settings") -> Settings:
        """Read the values that `to_dict` wrote; unknown keys raise ConfigError.

        A missing key takes what it stood for when it was not written yet, or the field's default.

        where: opens the error's message, as the path of their file.
        """
        return strict(cls, {**BEFORE, **values} if isinstance(values, dict) else values, where)


# The description of each setting, by name.
DESCRIPTIONS: dict[str, Description] = {
    field.name: field.metadata["description"] for field in dataclasses.fields(Settings)
}
# Settings that not all kinds have.
_OWN = tuple(name for name in DESCRIPTIONS if owners(name))


def takes_settings(function: Function) -> Function:
    """Write out the settings of a function with `**settings`, in its signature and after its docstring.

    So `help` lists them, and notebooks complete them.
    """
    signature = inspect.signature(function)
    kept = [one for one in signature.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
    written = [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=field.type
        )
        for field in dataclasses.fields(Settings)
    ]
    vars(function)["__signature__"] = signature.replace(parameters=[*kept, *written])
    # There is no docstring under `python -OO`.
    if function.__doc__:
        function.__doc__ = f"{inspect.cleandoc(function.__doc__)}\n\n{describe_settings()}\n"
    return function


def describe_settings() -> str:
    """Return a line a setting: its name, what it is, what it may be and its default."""
    lines = []
    for field in dataclasses.fields(Settings):
        description = DESCRIPTIONS[field.name]
        default = description.shown or field.default
        default = ", ".join(default) if isinstance(default, tuple) else default
        text = f"{field.name}: {description.help} [{description.range}; default {default}]"
        lines.append(textwrap.fill(text, 110, subsequent_indent="    "))
    return "\n".join(lines)


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
            raise ConfigError(f"{where}: unknown key {shown(key)}")
    try:
        return cls(**values)
    except (TypeError, ConfigError) as error:
        raise ConfigError(f"{where}: {error}") from None
