"""The one place where seeds become generators."""

from __future__ import annotations

import numpy as np
import torch

# Streams of randomness within one training. A stream's generator depends on the seed, the stream and its index
# alone, so that a resumed epoch draws what it would have drawn.
WEIGHTS, EPOCH, VALIDATION, SCORING, PRIOR, MEMBERS = range(6)


def generator(seed: int, stream: int, index: int = 0) -> torch.Generator:
    """A CPU generator for one stream of one training; equal arguments give equal draws."""
    state = np.random.SeedSequence([seed, stream, index]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))  # torch takes 63 bits on every platform


def member_seed(seed: int, index: int) -> int:
    """The seed of one network of an ensemble: the first has the ensemble's own, the others are spawned from it."""
    if index == 0:
        return seed
    state = np.random.SeedSequence([seed, MEMBERS, index]).generate_state(1, np.uint64)[0]
    return int(state >> np.uint64(1))
