"""Training: schedule as PyTorch's, the loss falls, resuming is exact, seeds and only seeds decide."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.optim.lr_scheduler import OneCycleLR

from anomalae.errors import BundleError, TrainingError
from anomalae.models import build, networks
from anomalae.models.training import loop
from anomalae.models.training.schedule import one_cycle
from anomalae.models.training.state import Training, history_lines
from anomalae.settings import Settings

SETTINGS = Settings(hidden=(16,), latent_dim=4, epochs=3, batch_size=8, seed=1)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(20, 1, 28, 28, generator=torch.Generator().manual_seed(0))


def started(settings: Settings, n: int = 20) -> Training:
    return Training.start(networks(settings), settings.schedule(n))


def trained(settings: Settings, images: torch.Tensor, **more) -> Training:
    state = started(settings)
    loop.run(state, images, images[:5], **more)
    return state


def test_one_cycle_equals_pytorchs():
    for total in (10, 37, 400):
        parameter = torch.nn.Parameter(torch.zeros(1))
        optimizer = torch.optim.AdamW([parameter], lr=0.1)
        schedule = OneCycleLR(optimizer, 0.1, total_steps=total)
        for step in range(total):
            group = optimizer.param_groups[0]
            assert one_cycle(step, total, 0.1) == pytest.approx((group["lr"], group["betas"][0]))
            optimizer.step()
            if step + 1 < total:
                schedule.step()


@pytest.mark.parametrize("total", [1, 2, 3, 4])
def test_one_cycle_of_a_few_steps_stays_in_range(total):
    for step in range(total):
        rate, beta = one_cycle(step, total, 0.1)
        assert 0 < rate <= 0.1
        assert 0.85 <= beta <= 0.95


def test_loss_falls_and_history_has_a_line_an_epoch(images):
    settings = Settings(hidden=(64,), latent_dim=16, epochs=30, batch_size=5, noise=0.0)
    state = trained(settings, images)
    assert [line.epoch for line in state.history] == list(range(1, 31))
    assert state.history[-1].loss < 0.7 * state.history[0].loss
    assert state.history[-1].validation_loss is not None


@pytest.mark.parametrize("view", ["pixels", "normalised", "edges"])
def test_what_is_seen_some_at_a_time_trains_the_same(view, images, monkeypatch):
    """With targets that are what is seen, and with others."""
    settings = Settings(**{**SETTINGS.to_dict(), "views": (view,)})
    at_once = trained(settings, images)
    monkeypatch.setattr(loop, "SEEN_AT_ONCE", 7)
    parts = trained(settings, images)
    for one, other in zip(at_once.history, parts.history, strict=True):
        np.testing.assert_allclose(one.loss, other.loss, rtol=1e-5)
        np.testing.assert_allclose(one.validation_loss, other.validation_loss, rtol=1e-5)


def test_same_seed_same_weights_other_seed_others(images):
    one, two = trained(SETTINGS, images), trained(SETTINGS, images)
    other = trained(Settings(**{**SETTINGS.to_dict(), "seed": 2}), images)
    for name, array in one.arrays().items():
        assert np.array_equal(array, two.arrays()[name])
    assert any(not np.array_equal(a, other.arrays()[n]) for n, a in one.arrays().items())


@pytest.mark.parametrize("stop_after", [0, 1, 2])
def test_resumed_training_is_bit_for_bit_the_same(stop_after, images):
    whole = trained(SETTINGS, images)
    first = started(SETTINGS)
    saved: list = [first.arrays(), []]

    def stop(state):
        if state.epoch == stop_after:
            saved[:] = [
                {k: v.copy() for k, v in state.arrays().items()},
                history_lines(state.history),
            ]

    loop.run(first, images, images[:5], on_epoch=stop)
    if stop_after == 0:
        saved = [started(SETTINGS).arrays(), []]
    second = started(SETTINGS)
    second.restore(*saved)
    loop.run(second, images, images[:5])
    for name, array in whole.arrays().items():
        assert np.array_equal(array, second.arrays()[name]), name
    losses = [(line.epoch, line.loss, line.validation_loss, line.learning_rate) for line in whole.history]
    assert losses == [(x.epoch, x.loss, x.validation_loss, x.learning_rate) for x in second.history]


def test_an_interrupted_training_keeps_epochs_that_were_passed_over(tmp_path, images):
    """Checkpoints of short epochs are skipped, but what was done is written when the training breaks off."""
    from anomalae import Detector
    from anomalae.runs.record import read_checkpoint

    def stop(state):
        if state.epoch == 7:
            raise KeyboardInterrupt

    pixels = (images[:, 0].numpy() * 255).astype(np.uint8)
    detector = Detector(hidden=(512,), latent_dim=4, epochs=9, batch_size=32)
    with pytest.raises(KeyboardInterrupt):
        detector.fit(pixels, folder=tmp_path, on_epoch=stop)
    assert len(read_checkpoint(tmp_path)[1]) == 7


def test_a_checkpoint_from_before_there_were_ensembles_goes_on(images):
    arrays = trained(SETTINGS, images).arrays()
    second = started(SETTINGS)
    second.restore({name.removeprefix("0."): array for name, array in arrays.items()}, [])
    for name, array in second.arrays().items():
        assert np.array_equal(array, arrays[name]), name


def test_restore_refuses_what_does_not_fit(images):
    arrays = trained(SETTINGS, images).arrays()
    other = started(Settings(hidden=(8,), latent_dim=4, epochs=1, batch_size=8))
    with pytest.raises(BundleError, match="does not fit"):
        other.restore(arrays, [])


def test_loss_that_is_no_number_names_epoch_and_setting():
    images = torch.rand(8, 1, 28, 28)
    settings = Settings(hidden=(16,), latent_dim=4, epochs=3, batch_size=8)
    state = started(settings)

    def spoil(state):
        with torch.no_grad():
            next(state.learners[0].network.parameters())[0, 0] = float("nan")

    with pytest.raises(
        TrainingError, match=r"became nan in epoch 2: lower learning_rate.*epoch 1 was the last good one"
    ):
        loop.run(state, images, None, on_epoch=spoil)


@pytest.mark.parametrize("architecture", ["dense", "conv"])
def test_models_map_images_to_images_and_codes(architecture):
    model = build(Settings.of(architecture=architecture, latent_dim=7).network("pixels"))
    x = torch.rand(3, 1, 28, 28)
    assert model(x).shape == x.shape
    assert model.encode(x).shape == (3, 7)
    assert model.loss(x, x, torch.Generator(), 1.0).shape == (3,)
    assert ((model(x) > 0) & (model(x) < 1)).all()


def test_loss_is_the_squared_error_summed_over_pixels():
    model = build(Settings(hidden=(16,), latent_dim=4).network("pixels"))
    noisy, clean = torch.rand(3, 1, 28, 28), torch.rand(3, 1, 28, 28)
    rebuilt = model(noisy).detach().numpy()
    expected = ((rebuilt - clean.numpy()) ** 2).reshape(3, -1).sum(1)
    np.testing.assert_allclose(
        model.loss(noisy, clean, torch.Generator(), 1.0).detach().numpy(), expected, rtol=1e-5
    )


def test_building_leaves_the_global_random_state_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    build(SETTINGS.network("pixels"))
    assert torch.equal(before, torch.get_rng_state())
