"""Checked images as tensors, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

SCORING_BATCH = 1024  # images a forward pass


def to_tensor(images: np.ndarray) -> Tensor:
    """Return checked images (N, 28, 28) as float32 (N, 1, 28, 28) in [0, 1], on the CPU."""
    floats = images.astype(np.float32) / np.float32(255) if images.dtype == np.uint8 else images
    return torch.from_numpy(floats)[:, None]


def batches(images: np.ndarray | Iterable[np.ndarray]) -> Iterator[Tensor]:
    """Give checked images (N, 28, 28), or parts of such, as tensors, a batch at a time; members choose the device."""
    for part in [images] if isinstance(images, np.ndarray) else images:
        for start in range(0, len(part), SCORING_BATCH):
            yield to_tensor(part[start : start + SCORING_BATCH])
