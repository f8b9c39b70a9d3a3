"""Checked images as tensors: batches to score at a time, and the blocks of fixed sizes that a network is shown.

A matrix product of one row is computed by other code than one of a hundred, and its last bits differ. So that a score
is the same bits alone and in a batch of any size, networks see blocks of few sizes, filled up where images are lacking.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

# Images that all members of an ensemble score before the next ones are looked at.
SCORING_BATCH = 1024
# Images a forward pass: as many as are fastest, fewer so that few images do not cost as much as many.
BLOCKS = (4, 32, 256)
# Places by which rows are moved to see whether their place matters. Threads whose number is no power of two part the
# numbers of a block unevenly, and where their shares meet other code computes a few of them: the difference shows in
# few rows, and in these not always.
ROLLS, ROLLS_OF_UNEVEN = (101,), tuple(range(2, 256, 11))
# Sizes found in this process, by what the functions have in common that compute alike.
_FOUND: dict[Hashable, tuple[int, ...]] = {}


def to_tensor(images: np.ndarray) -> Tensor:
    """Return checked images (N, 28, 28) as float32 (N, 1, 28, 28) in [0, 1], on the CPU."""
    floats = images.astype(np.float32) / np.float32(255) if images.dtype == np.uint8 else images
    return torch.from_numpy(floats)[:, None]


def batches(images: np.ndarray | Iterable[np.ndarray]) -> Iterator[Tensor]:
    """Give checked images (N, 28, 28), or parts of such, as tensors, a batch at a time; members choose the device."""
    for part in [images] if isinstance(images, np.ndarray) else images:
        for start in range(0, len(part), SCORING_BATCH):
            yield to_tensor(part[start : start + SCORING_BATCH])


def blocks(rows: Tensor, sizes: tuple[int, ...]) -> Iterator[tuple[Tensor, int]]:
    """Cut rows (N, ...) into blocks whose number of rows is one of these sizes; each with how many of them count.

    sizes: ascending. As many blocks as can be are of the largest; the rest goes into one filled up with its last row if
        that is at least half full, and into smaller ones otherwise.

    >>> [(len(block), count) for block, count in blocks(torch.zeros(311, 2), (4, 32, 256))]
    [(256, 256), (32, 32), (32, 23)]
    """
    while len(rows):
        size = next((size for size in sizes if size >= len(rows)), sizes[-1])
        if 2 * len(rows) < size and size > sizes[0]:
            size = sizes[sizes.index(size) - 1]
        block, rows = rows[:size], rows[size:]
        count = len(block)
        filling = block[-1:].expand(size - count, *block.shape[1:])
        yield torch.cat([block, filling]) if size > count else block, count


def noise(*shape: int) -> Tensor:
    """Return rows unlike each other, as many as the largest of BLOCKS has: float32 (256, *shape) in [0, 1)."""
    return torch.from_numpy(np.random.default_rng(0).random((BLOCKS[-1], *shape), dtype=np.float32) ** 4)


def agreeing(function: Callable[[Tensor], Tensor], sample: Tensor, alike: Hashable = None) -> tuple[int, ...]:
    """Return sizes of block in which a function of rows gives a row the same bits, at whatever place it stands.

    function: gives a number or more for each row, (N, ...).
    sample: as many rows as the largest of BLOCKS has, unlike each other.
    alike: what functions have in common whose products are of the same shapes and computed by the same code, whatever
        the numbers in them: sizes are found once for all of them, as it takes longer than to train a small network.
        None, and threads that share a block unevenly, have it tried each time.

    Which they are is a matter of the machine's arithmetic and of how threads share a block, so it is tried. The largest
    size in which the place does not matter counts, and the smaller ones that agree with it; at worst only the least.
    """
    if alike is not None and not _uneven():
        if alike not in _FOUND:
            _FOUND[alike] = agreeing(function, sample)
        return _FOUND[alike]
    largest = next((size for size in reversed(BLOCKS) if _is_placeless(function, sample[:size])), BLOCKS[0])
    whole = function(sample[:largest])
    smaller = [
        size
        for size in BLOCKS
        if size < largest
        and all(
            torch.equal(function(sample[start : start + size]), whole[start : start + size])
            for start in range(0, largest, size)
        )
    ]
    return (*smaller, largest)


def _is_placeless(function: Callable[[Tensor], Tensor], block: Tensor) -> bool:
    """Tell whether rows have the same bits where they change places."""
    whole, rolls = function(block), ROLLS_OF_UNEVEN if _uneven() else ROLLS
    return all(torch.equal(function(block.roll(by, 0)), whole.roll(by, 0)) for by in rolls)


def _uneven() -> bool:
    """Whether the number of threads is no power of two."""
    threads = torch.get_num_threads()
    return bool(threads & (threads - 1))
