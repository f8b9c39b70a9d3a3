"""What a network is to the rest: two contracts, and the one way to get a network.

By contract, not by inheritance: whatever has these methods is trained, scored, saved and reported like our own.
"""

from __future__ import annotations

import threading
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from anomalae import seeds
from anomalae.errors import PartError
from anomalae.models.layers import initialise
from anomalae.network_kinds import MODELS
from anomalae.plugins import VIEWS
from anomalae.settings import NetworkSettings, Settings

Inferred = Any  # what a posterior needs of images, as the network itself likes it


class Network(Protocol):
    """A network of one kind, an `nn.Module` besides (`state_dict`, `parameters`, `train`, `to` and so on).

    Images are float32 (N, 1, 28, 28) in [0, 1]; what is rebuilt has as many maps as the view asks for, C.

    >>> network: Network = build(Settings.of(hidden=(8,), latent_dim=2).network("edges"))
    >>> images = torch.zeros(5, 1, 28, 28)
    >>> network.encode(images).shape, network.reconstruct(images).shape
    (torch.Size([5, 2]), torch.Size([5, 4, 28, 28]))
    """

    def loss(self, corrupted: Tensor, clean: Tensor, source: torch.Generator, warmth: float) -> Tensor:
        """The loss of each image, (N,), that training brings down.

        corrupted: what the network is shown, (N, 1, 28, 28), disturbed and not clipped.
        clean: what it should make of it, (N, C, 28, 28).
        source: of all randomness; nothing else may be drawn from.
        warmth: rises from 0 to 1 in the first part of a training; a KL term may be weighted by it.
        """
        ...

    def reconstruct(self, images: Tensor) -> Tensor:
        """Images (N, 1, 28, 28) -> what is made of them, (N, C, 28, 28) in [0, 1]; the same each time."""
        ...

    def encode(self, images: Tensor) -> Tensor:
        """Images (N, 1, 28, 28) -> codes (N, latent_dim)."""
        ...

    def decode(self, codes: Tensor) -> Tensor:
        """Codes (N, latent_dim) -> images (N, C, 28, 28) in [0, 1]."""
        ...

    def hidden(self, images: Tensor) -> list[Tensor]:
        """What is compared for `sap` and `nap`, flat (N, ...): the pixels, hidden activations, the code.

        Only networks of a kind with `hidden=True` need it.
        """
        ...

    # Of nn.Module.
    def parameters(self) -> Any: ...
    def state_dict(self) -> dict[str, Tensor]: ...
    def load_state_dict(self, state: dict[str, Tensor]) -> Any: ...
    def buffers(self) -> Any: ...
    def named_modules(self) -> Any: ...
    def train(self) -> Any: ...
    def eval(self) -> Any: ...
    def to(self, device: Any) -> Any: ...


class LogTerms(NamedTuple):
    """Of one sample of z an image, in nats, float64 (N,) each: log p(x | z), log p(z) and log q(z | x)."""

    likelihood: Tensor
    prior: Tensor
    posterior: Tensor


class DensityNetwork(Network, Protocol):
    """A network with an explicit density: of a kind with `density=True`.

    `bank` (samples, width) holds the standard normal draws by which every image is scored, so that neither order nor
    the images beside it matter; it is saved with the weights. `likelihood(x, logits)` is log p(x | z).

    Where the network has `drawn_logits(inferred, draw)` too, logits (N, C * 784) of the mean that a draw leads to, and
    its likelihood `best` and `terms` as ours, a heatmap shows the score's own terms; else those of `smooth`.

    >>> settings = Settings.of(model="vae", hidden=(8,), latent_dim=2, samples=4)
    >>> network: DensityNetwork = build(settings.network("pixels"))
    >>> network.bank.shape, network.width
    (torch.Size([4, 2]), 2)
    """

    bank: Tensor
    likelihood: Any
    # Units of each layer of latents, the lowest first; only hierarchies have it, for the scores `llr-k`.
    latent_dims: tuple[int, ...]

    @property
    def width(self) -> int:
        """Number of units in all layers of latents: what a draw is made of."""
        ...

    def infer(self, images: Tensor) -> Inferred:
        """All that the posterior needs of the images: found once, then used for every draw."""
        ...

    def log_terms(self, target: Tensor, inferred: Inferred, draw: Tensor, prior_below: int = 0) -> LogTerms:
        """The three log-densities of `target` (N, C, 28, 28) by one draw (width,) for all images.

        inferred: of the images, by `infer`.
        prior_below: of a hierarchy, how many of its lowest layers are drawn from the prior instead.
        """
        ...

    def kl_units(self, inferred: Inferred) -> Tensor:
        """KL(q(z | x) || p(z)) of each latent unit, in nats, float64 (N, width)."""
        ...

    def unit_means(self, images: Tensor) -> Tensor:
        """Posterior means of the units that `kl_units` counts, (N, width)."""
        ...

    def sample(self, draws: Tensor) -> Tensor:
        """Standard normal draws (N, width) -> new images, (N, C, 28, 28) in [0, 1]."""
        ...


# The global generator is one for all threads.
_BUILDING = threading.Lock()


def networks(settings: Settings) -> list[NetworkSettings]:
    """Return the settings of each network of an ensemble: one view and a seed of its own each, view by view.

    settings: of the ensemble.

    >>> [network.view for network in networks(Settings.of(views=("pixels", "edges"), members=2))]
    ['pixels', 'pixels', 'edges', 'edges']
    """
    views = [view for view in settings.views for _ in range(settings.members)]
    return [
        settings.network(view, seeds.member_seed(settings.seed, index)) for index, view in enumerate(views)
    ]


def build(settings: NetworkSettings) -> Any:
    """Return the network of these settings, freshly initialised; its weights depend on the settings' seed alone.

    settings: of one network, see `networks`.

    Linear and convolutional layers are drawn by `initialise`; whatever else a kind of one's own draws as it is made
    comes from the global generator, which is seeded for it and put back.

    Raises PartError for a kind of one's own that fails, or makes something else than a network.

    >>> network = build(Settings.of(hidden=(8,), latent_dim=2).network("pixels"))
    >>> sum(weight.numel() for weight in network.parameters())
    13378
    """
    with _BUILDING, torch.random.fork_rng(devices=[]):
        torch.set_rng_state(seeds.generator(settings.seed, seeds.WEIGHTS).get_state())
        try:
            network: Any = settings.kind.make(settings, VIEWS[settings.view].channels)
        except Exception as error:
            if MODELS.is_ours(settings.model):
                raise
            raise MODELS.failure(settings.model, error, "cannot be made") from error
    if not isinstance(network, nn.Module) or not any(weight.requires_grad for weight in network.parameters()):
        fault = f"makes a {type(network).__name__}, which is no torch.nn.Module with weights to train"
        raise PartError(f"model {settings.model!r}: {fault}")
    initialise(network, seeds.generator(settings.seed, seeds.WEIGHTS))
    return network
