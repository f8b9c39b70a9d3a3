"""Images go to the device and through the networks by batches: a data set as a whole need not fit there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode

from anomalae import Detector
from anomalae.detectors import batches as scoring
from anomalae.detectors import fitting, member
from anomalae.detectors.tabular import TableDetector
from anomalae.models.training import loop

TRAINED, SCORED = 8, 16  # images a step, and a forward pass without gradient
SIZES = {"batch_size": TRAINED, "epochs": 2, "hidden": (16,), "latent_dim": 4}
MOVES = (torch.Tensor.to, torch.Tensor.cuda)


class Moves(TorchFunctionMode):
    """Takes down how many rows, of anything but weights, are brought to a device at once."""

    def __init__(self) -> None:
        super().__init__()
        self.moved: list[int] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        device = [a for a in (*args[1:], *(kwargs or {}).values()) if isinstance(a, str | torch.device)]
        data = func in MOVES and args[0].ndim > 1 and not isinstance(args[0], torch.nn.Parameter)
        if data and (device or func is torch.Tensor.cuda):
            self.moved.append(len(args[0]))
        return func(*args, **(kwargs or {}))


@contextmanager
def taken_down() -> Iterator[dict[str, list[int]]]:
    """How many rows are `moved` to a device at once, and how many are `seen` by a network's layers."""
    seen: list[int] = []

    def look(module: torch.nn.Module, inputs: tuple[Any, ...]) -> None:
        seen.extend(len(part) for part in inputs if isinstance(part, torch.Tensor) and part.ndim > 1)

    hook = register_module_forward_pre_hook(look)
    try:
        with Moves() as moves:
            yield {"moved": moves.moved, "seen": seen}
    finally:
        hook.remove()


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "SCORING_BATCH", SCORED)
    monkeypatch.setattr(scoring, "BLOCKS", (4, SCORED))
    monkeypatch.setattr(loop, "VALIDATION_BATCH", SCORED)
    monkeypatch.setattr(member, "LEARNED_FROM", SCORED)


@pytest.mark.parametrize("validated", [True, False])
@pytest.mark.parametrize(
    "settings",
    [
        {"score": "nap"},
        {"architecture": "conv", "hidden": (4, 8), "views": ("normalised",)},
        {"model": "vae", "samples": 2, "views": ("pixels", "edges"), "neighbours": 2},
        {"model": "ladder-vae", "samples": 2},
        {"model": "adgm", "samples": 2, "members": 2},
    ],
    ids=str,
)
def test_images_go_to_the_device_by_batches(settings, validated, digits, images, monkeypatch):
    split = digits.one_class(normal=[0], seed=0)
    parts = split.train.images[:40], split.train.images[40:60], split.calibration.images
    assert min(map(len, (*parts, images))) > SCORED
    given = parts[0], parts[1] if validated else None, parts[2]
    detector = Detector(**{**SIZES, **settings})
    with monkeypatch.context() as patched, taken_down() as training:
        patched.setattr(fitting, "_finish", lambda *arguments: None)
        detector.fit(*given)
    most = SCORED if validated else TRAINED
    assert {kind: max(sizes) for kind, sizes in training.items()} == {"moved": most, "seen": most}
    with taken_down() as whole:
        detector.fit(*given)
        detector.score_all(images)
        detector.heatmap(images)
        detector.reconstruct(images)
        detector.encode(images)
        if detector.settings.kind.density:
            detector.unit_activity(images)
    assert {kind: max(sizes) for kind, sizes in whole.items()} == {"moved": SCORED, "seen": SCORED}


@pytest.mark.parametrize("model", ["ae", "vae"])
def test_so_do_rows_of_a_table(model):
    rows = np.random.default_rng(0).normal(size=(200, 3))
    with taken_down() as done:
        TableDetector(model=model, **SIZES).fit(rows).score(rows)
    assert {kind: max(sizes) for kind, sizes in done.items()} == {"moved": TRAINED, "seen": SCORED}
