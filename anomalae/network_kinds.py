"""The kinds of network: what each is called, which settings it has, how long it trains, and what makes one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from anomalae.errors import ConfigError
from anomalae.plugins import SCORES, VIEWS, Registry, imported

LIKELIHOODS = ("gaussian", "smooth-direction", "smooth-gaussian", "bernoulli")

# Settings that only models with an explicit density have, and their defaults.
_OF_DENSITIES = {"likelihood": LIKELIHOODS[0], "beta": 1.0, "samples": 16}


@dataclass(frozen=True)
class Kind:
    """One kind of network.

    name: by which it is asked for, as in `model="vae"`.
    title: what a report calls it.
    maker: called with `(settings, channels)`, a NetworkSettings and the number of maps to rebuild; returns the network
        (see `anomalae.models.base.Network`). Or "module:NAME" of it, imported on use.
    score: name of the score by which it judges unless told otherwise.
    schedule: at least so many epochs, and at least so many steps in all.
    loss_unit: of the loss it is trained on.
    own: settings that not all kinds have (likelihood, beta, samples, layers, auxiliary_dim), and their defaults.
    denoising_passes: rebuilds that are averaged, unless told otherwise, where it is trained with noise.
    density: whether it has an explicit density (see `anomalae.models.base.DensityNetwork`).
    hidden: whether it shows its hidden activations, for the scores `sap` and `nap`.

    Raises ConfigError for a setting of its own that Settings does not have.

    >>> kind = Kind("convnet", "small convolutional net", "my_package:make", schedule=(20, 800))
    >>> kind.score, kind.density
    ('smooth', False)
    """

    name: str
    title: str
    maker: Callable[[Any, int], Any] | str = field(repr=False)
    score: str = "smooth"
    schedule: tuple[int, int] = (30, 1200)
    loss_unit: str = "squared error"
    own: Mapping[str, Any] = field(default_factory=dict)
    denoising_passes: int = 1
    density: bool = False
    hidden: bool = False

    def __post_init__(self) -> None:
        unknown = set(self.own) - {*_OF_DENSITIES, "layers", "auxiliary_dim"}
        if unknown:
            raise ConfigError(
                f"own {sorted(unknown)}: must be of {', '.join(_OF_DENSITIES)}, layers, auxiliary_dim"
            )

    def make(self, settings: Any, channels: int) -> Any:
        """A network of this kind for these NetworkSettings, its weights not drawn yet.

        settings: NetworkSettings of this kind.
        channels: number of maps that it rebuilds.
        """
        maker: Callable[[Any, int], Any] = imported(self.maker)
        return maker(settings, channels)


def _density(name: str, title: str, maker: str, **own: Any) -> Kind:
    """A kind with an explicit density, trained and judged by its ELBO."""
    return Kind(
        name, title, maker, "elbo", (40, 1600), "nats", {**_OF_DENSITIES, **own}, density=True, hidden=True
    )


_OURS = (
    Kind("ae", "autoencoder", "anomalae.models.autoencoder:make", "bent", (20, 800), hidden=True),
    _density("vae", "variational autoencoder", "anomalae.models.vae:make"),
    _density("ladder-vae", "ladder variational autoencoder", "anomalae.models.ladder:make", layers=2),
    _density("adgm", "auxiliary deep generative model", "anomalae.models.auxiliary:make", auxiliary_dim=32),
)

MODELS: Registry[Kind] = Registry(
    "model",
    {kind.name: kind for kind in _OURS},
    (
        "title",
        "maker",
        "make",
        "score",
        "schedule",
        "loss_unit",
        "own",
        "denoising_passes",
        "density",
        "hidden",
    ),
)

# All that is known by a name, by sort.
REGISTRIES: dict[str, Registry[Any]] = {registry.sort: registry for registry in (MODELS, SCORES, VIEWS)}


def owners(setting: str) -> tuple[str, ...]:
    """Names of our kinds that have a setting which not all kinds have."""
    return tuple(kind.name for kind in _OURS if setting in kind.own)


def register_model(kind: Kind) -> Kind:
    """Make a kind of network of one's own known by its name.

    kind: its name must be no other kind's; one that was registered here before is replaced.

    Returns it. Raises ConfigError for a name that is taken and for a kind that lacks something.

    >>> kind = register_model(Kind("convnet", "small convolutional net", "my_package:make"))
    >>> MODELS["convnet"] is kind
    True
    """
    return MODELS.register(kind)
