"""What every kind of network must do, a check a property: see `anomalae.models.base.Network`."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anomalae import files, runs
from anomalae.contract.toys import (
    LEAST_AUC,
    Trial,
    blank,
    fit,
    mixed,
    require,
    require_alike,
    require_each_by_itself,
    require_finite,
    require_tensor,
    small,
    strokes,
    untouched,
)
from anomalae.detectors.detector import Detector
from anomalae.network_kinds import MODELS
from anomalae.settings import Settings

CHANNELS = {"pixels": 1, "edges": 4}  # views, and the maps that networks of theirs rebuild
SAMPLES = 64  # draws by which a KL divergence is estimated


def trial(name: str) -> Trial:
    """What the checks of a kind share."""
    return Trial(lambda: small(model=name))


def _source(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _loss(network: Any, images: Tensor, seed: int = 0) -> Tensor:
    loss: Tensor = network.loss(images, images, _source(seed), 1.0)
    return loss


def name_works(trial: Trial) -> None:
    settings = trial.settings
    require(Settings.from_dict(settings.to_dict()) == settings, "its settings are not read back as written")
    require(settings.rule in settings.rules, f"Kind.score {settings.rule!r} does not fit its networks")
    epochs, steps = settings.kind.schedule
    require(epochs >= 1 and steps >= 1, f"Kind.schedule {settings.kind.schedule}: must be at least 1 each")


def same_seed(trial: Trial) -> None:
    first, second = (trial.network(seed=1).state_dict() for _ in range(2))
    same = first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
    require(same, "weights of one seed differ: draw them in the maker, from nothing but torch's generator")


def other_seed(trial: Trial) -> None:
    first, second = (list(trial.network(seed=seed).parameters()) for seed in (1, 2))
    same = all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    require(not same, "weights of two seeds are the same: draw them from torch's generator, and seed nothing")


def shapes(trial: Trial) -> None:
    images, width = mixed(), trial.settings.latent_dim
    n = len(images)
    for view, channels in CHANNELS.items():
        network, maps = trial.network(view=view), images.expand(-1, channels, -1, -1)
        where = f"with {channels} maps to rebuild "
        with torch.no_grad():
            loss = network.loss(images, maps, _source(), 1.0)
            require_tensor(f"{where}loss", loss, (n,), torch.float32)
            require_tensor(f"{where}encode", network.encode(images), (n, width), torch.float32)
            for what in (network.reconstruct(images), network.decode(torch.zeros(n, width))):
                require_tensor(f"{where}reconstruct or decode", what, (n, channels, 28, 28), torch.float32)


def in_range(trial: Trial) -> None:
    network, shape = trial.network(), (8, 1, 28, 28)
    codes = 3 * torch.randn(8, trial.settings.latent_dim, generator=_source())
    with torch.no_grad():
        require_tensor("reconstruct", network.reconstruct(mixed()), shape, torch.float32, low=0)
        require_tensor("decode", network.decode(codes), shape, torch.float32, low=0)


def blank_images(trial: Trial) -> None:
    network, images = trial.network(), blank()
    with torch.no_grad():
        for name, value in (
            ("loss", _loss(network, images)),
            ("reconstruct", network.reconstruct(images)),
            ("encode", network.encode(images)),
        ):
            require_finite(f"{name} of a blank and of a full image", value)


def one_image(trial: Trial) -> None:
    network = trial.network()
    network.train()
    try:
        loss = _loss(network, mixed()[:1])
    except ValueError as error:
        require(False, f"loss of a single image in training raises {error}: the last batch may hold one")
    require_tensor("loss of a single image in training", loss, (1,), torch.float32)


def same_each_time(trial: Trial) -> None:
    network, images = trial.network(), mixed()
    with torch.no_grad():
        for name in ("reconstruct", "encode"):
            same = torch.equal(getattr(network, name)(images), getattr(network, name)(images))
            require(same, f"{name} of the same images differs from call to call")
        require(
            torch.equal(_loss(network, images), _loss(network, images)),
            "loss differs from call to call though its generator is the same",
        )


def images_by_themselves(trial: Trial) -> None:
    network, images = trial.network(), mixed()
    codes = torch.randn(8, trial.settings.latent_dim, generator=_source())
    with torch.no_grad():
        require_each_by_itself("reconstruct", network.reconstruct, images)
        require_each_by_itself("encode", network.encode, images)
        require_each_by_itself("decode", network.decode, codes)


def loss_by_itself(trial: Trial) -> None:
    network, images = trial.network(), mixed()
    others = images.clone()
    others[1:] = 1 - others[1:]
    with torch.no_grad():
        first, second = _loss(network, images), _loss(network, others)
    require(
        first.ndim == 1,
        f"loss gives shape {tuple(first.shape)}: must be (N,), one an image, see Network.loss",
    )
    require_alike(
        "loss", second[:1], first[:1], "of an image with the images beside it: average nothing over them"
    )


def left_as_they_were(trial: Trial) -> None:
    network, images, clean = trial.network(), mixed(), mixed()
    network.train()
    with untouched("loss", images, clean):
        network.loss(images, clean, _source(), 1.0)
    network.eval()
    codes = torch.zeros(8, trial.settings.latent_dim)
    with torch.no_grad(), untouched("reconstruct, encode or decode", images, codes):
        network.reconstruct(images), network.encode(images), network.decode(codes)


def trains(trial: Trial) -> None:
    network = trial.network()
    network.train()
    loss = _loss(network, mixed()).mean()
    require(loss.requires_grad, "loss has no gradient: it must depend on the weights, without torch.no_grad")
    loss.backward()
    gradients = [weight.grad for weight in network.parameters() if weight.grad is not None]
    require(all(bool(torch.isfinite(g).all()) for g in gradients), "the gradient of loss is not finite")
    require(any(bool(g.any()) for g in gradients), "the gradient of loss is 0 everywhere")
    history = trial.detector.history
    require(history[-1].loss < history[0].loss, f"training does not bring loss down ({history[-1].loss:.3g})")


def saved_and_loaded(trial: Trial) -> None:
    """Raise ContractError unless the trial's detector scores and rebuilds the same, saved and loaded."""
    images = strokes(4, 5, crossed=True)
    with tempfile.TemporaryDirectory() as place:
        trial.detector.save(Path(place) / "run")
        again = Detector.load(Path(place) / "run", device="cpu")
    for name in ("score", "reconstruct", "encode"):
        first, second = (getattr(detector, name)(images) for detector in (trial.detector, again))
        require(
            bool((first == second).all()),
            f"{name} differs once saved and loaded: what matters must be in state_dict, see register_buffer",
        )


class _StopError(Exception):
    pass


def resumed(trial: Trial) -> None:
    settings = trial.settings.to_dict() | {"epochs": 3}

    def stop(state: Any) -> None:
        if state.epoch == 1:
            raise _StopError

    with tempfile.TemporaryDirectory() as place:
        weights = []
        for name in ("whole", "resumed"):
            folder = Path(place) / name
            folder.mkdir()
            if name == "resumed":
                with contextlib.suppress(_StopError):
                    fit(Detector(device="cpu", **settings), folder=folder, on_epoch=stop)
            detector = fit(Detector(device="cpu", **settings), folder=folder, resume=name == "resumed")
            detector.write(folder)
            weights.append(files.read_arrays(folder / runs.WEIGHTS)[0])
    first, second = weights
    same = all((first[name] == second[name]).all() for name in first)
    require(same, "a training that was interrupted ends with other weights: keep all state in state_dict")


def density(trial: Trial) -> None:
    # Of a trained network: before, its posterior is next to the prior, and any KL divergence next to 0.
    member, images = trial.fitted(samples=SAMPLES)._ensemble.first, mixed()
    network: Any = member.network
    n, width = len(images), network.width
    bank = network.bank
    require("bank" in network.state_dict(), "bank is not in state_dict: register_buffer('bank', ...)")
    require_tensor("bank", bank, (SAMPLES, width), torch.float32)
    with torch.no_grad():
        inferred = network.infer(images)
        units = network.kl_units(inferred)
        require_tensor("kl_units", units, (n, width), torch.float64)
        all_terms = [network.log_terms(images, inferred, draw) for draw in bank]
        for name, value in zip(("likelihood", "prior", "posterior"), all_terms[0], strict=True):
            require_tensor(f"log_terms' {name}", value, (n,), torch.float64)
        require_tensor("unit_means", network.unit_means(images), (n, width), torch.float32)
        drawn = network.sample(torch.randn(3, width, generator=_source()))
        require_tensor("sample", drawn, (3, 1, 28, 28), torch.float32, low=0)
    ratios = torch.stack([terms.posterior - terms.prior for terms in all_terms])
    apart = (units.sum(1) - ratios.mean(0)).abs()
    limit = 6 * ratios.std(0) / SAMPLES**0.5 + 1e-3 * (1 + units.sum(1).abs())
    require(
        bool((apart <= limit).all()),
        f"kl_units sum to {float(units.sum(1)[0]):.4g}, but log q(z | x) - log p(z) is {float(ratios.mean(0)[0]):.4g} "
        "on average: see DensityNetwork.kl_units",
    )


def hidden(trial: Trial) -> None:
    network, images = trial.network(), mixed()
    with torch.no_grad():
        layers = network.hidden(images)
    require(
        isinstance(layers, list) and len(layers) > 1, "hidden must give a list: pixels, activations, the code"
    )
    for place, layer in enumerate(layers):
        flat = isinstance(layer, Tensor) and layer.ndim == 2 and len(layer) == len(images)
        require(flat, f"hidden's layer {place} is not flat (N, ...): flatten(1)")
        require_finite(f"hidden's layer {place}", layer)
    require(torch.equal(layers[0], images.flatten(1)), "hidden's first layer must be the pixels, flat")
    with torch.no_grad():
        require_each_by_itself("hidden", lambda batch: torch.cat(network.hidden(batch), 1), images)


def tells_crosses_from_bars(trial: Trial) -> None:
    """Raise ContractError unless the trial's detector tells crosses from bars better than chance."""
    value, rule = trial.roc_auc(), trial.settings.rule
    require(
        value > LEAST_AUC,
        f"by score {rule!r} crosses are told from bars with a ROC-AUC of {value:.3f}: must be above {LEAST_AUC}; "
        "higher must mean more anomalous",
    )


_ALWAYS: tuple[tuple[str, Callable[[Trial], None]], ...] = (
    ("its name works in Settings, and its score fits it", name_works),
    ("the same seed gives the same weights, bit for bit", same_seed),
    ("another seed gives other weights", other_seed),
    ("loss is (N,), codes are (N, latent_dim), images (N, C, 28, 28), all float32", shapes),
    ("images are in [0, 1]", in_range),
    ("blank and full images give finite numbers", blank_images),
    ("a training step may see a single image", one_image),
    ("the same images give the same, bit for bit", same_each_time),
    ("each image is rebuilt by itself: neither batch nor order matters", images_by_themselves),
    ("the loss of an image does not depend on the images beside it", loss_by_itself),
    ("images are left as they were, and only the generator given is drawn from", left_as_they_were),
    ("training brings the loss down", trains),
    ("saved and loaded it is the same, bit for bit", saved_and_loaded),
    ("a resumed training ends with the same weights, bit for bit", resumed),
    ("it tells crosses from bars", tells_crosses_from_bars),
)
_DENSITY = ("its density has terms, units and samples that fit each other", density)
_HIDDEN = ("its hidden layers go from the pixels to the code", hidden)


def checks(name: str) -> tuple[tuple[str, Callable[[Trial], None]], ...]:
    """The checks of a kind, by label: all, and those of what the kind says it has."""
    kind = MODELS[name]
    more = (*([_DENSITY] if kind.density else []), *([_HIDDEN] if kind.hidden else []))
    return (*_ALWAYS, *more)
